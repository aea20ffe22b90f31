"""Jobs end, count every pod once and keep within their limits; DaemonSets cover the nodes that fit."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.workloads.cluster import SELECTOR, Cluster, shape, template, writes

from forebay.api.kinds import ControllerRevision, DaemonSet, Job, Node, Pod
from forebay.home.workloads.actions import Create, Delete
from forebay.home.workloads.daemonset import decide as ds
from forebay.home.workloads.job import decide as job
from forebay.home.workloads.job import indexed
from forebay.home.workloads.pods import active, available, condition


def job_step(cluster: Cluster, *, shuffled: int | None = None) -> job.Decision:
    pods = list(cluster.all(Pod))
    if shuffled is not None:
        random.Random(shuffled).shuffle(pods)
    seen = job.Seen(cluster.one(Job, "j"), tuple(pods), frozenset(p.name for p in pods), cluster.now)
    return job.decide(seen)


def a_job(**spec: Any) -> Cluster:
    return Cluster([Job.new("j", "default", spec={"template": template(restartPolicy="Never"), **spec})])


@given(st.sets(st.integers(0, 40)))
def test_completed_indexes_are_read_as_they_are_written(indexes: set[int]) -> None:
    assert indexed.read(indexed.written(indexes)) == indexes


def test_completed_indexes_look_like_kubernetes_ones() -> None:
    assert indexed.written({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8"


@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.booleans(), max_size=6))
def test_every_index_of_a_job_succeeds_once(completions: int, parallelism: int, fails: list[bool]) -> None:
    cluster = a_job(
        completions=completions, parallelism=parallelism, completionMode="Indexed", backoffLimit=9
    )
    turn, won = iter(fails), list[int | None]()

    def act(pod: Pod) -> str:
        if next(turn, False):
            return "fail"
        won.append(indexed.index_of(pod))
        return "succeed"

    for _ in range(30):
        cluster.carry_out(job_step(cluster).actions)
        cluster.pass_time(700.0, act=act)
    status = cluster.one(Job, "j").status
    assert sorted(won, key=str) == sorted(range(completions), key=str)
    assert status["completedIndexes"] == indexed.written(range(completions))
    assert condition(cluster.one(Job, "j"), "Complete") is not None
    assert writes(job_step(cluster).actions) == []


fates = st.lists(st.sampled_from(["ready", "succeed", "fail", "deleted"]), min_size=60, max_size=60)


@given(fates, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_a_job_counts_every_pod_once_and_ends(
    fate: list[str], completions: int, parallelism: int, backoff: int
) -> None:
    cluster = a_job(completions=completions, parallelism=parallelism, backoffLimit=backoff)
    ends: dict[str, str] = {}
    turn = iter(fate)
    for _ in range(100):  # more rounds than fates, so that every Job comes to its end
        decision = job_step(cluster)
        assert sum(isinstance(a, Create) for a in decision.actions) <= parallelism
        for action in decision.actions:  # a kill may fall between any two writes
            cluster.carry_out([action])
            if next(turn, "ready") == "deleted":
                break

        def act(pod: Pod) -> str:
            does = next(turn, "succeed")
            if does in ("succeed", "fail"):
                ends.setdefault(pod.uid, does)
            return "ready" if does == "deleted" else does

        cluster.pass_time(700.0, act=act)
        assert sum(active(p) for p in cluster.all(Pod)) <= parallelism
    item = cluster.one(Job, "j")
    won, lost = condition(item, "Complete"), condition(item, "Failed")
    assert (won is None) != (lost is None)
    assert item.status.get("succeeded", 0) == list(ends.values()).count("succeed")
    assert (won is not None) == (item.status.get("succeeded", 0) == completions)
    if lost is not None:
        assert item.status["failed"] > backoff
    assert writes(job_step(cluster).actions) == []
    assert not any(p.finalizers for p in cluster.all(Pod))


@given(st.lists(st.sampled_from(["ready", "succeed", "fail"]), min_size=1, max_size=6), st.integers())
def test_the_order_of_pods_does_not_matter_to_a_job(fate: list[str], seed: int) -> None:
    cluster = a_job(completions=5, parallelism=3, backoffLimit=9)
    turn = iter(fate)
    for _ in range(3):
        assert shape(job_step(cluster).actions) == shape(job_step(cluster, shuffled=seed).actions)
        cluster.carry_out(job_step(cluster).actions)
        cluster.pass_time(30.0, act=lambda pod: next(turn, "ready"))


@given(st.integers(1, 3))
def test_a_suspended_job_has_no_pods_counts_none_as_failed_and_goes_on_when_resumed(parallelism: int) -> None:
    cluster = a_job(completions=3, parallelism=parallelism)
    for suspend in (False, True, False):
        cluster._items[Job, cluster.one(Job, "j").key].raw["spec"]["suspend"] = suspend
        for _ in range(4):
            cluster.carry_out(job_step(cluster).actions)
            cluster.pass_time()
        item = cluster.one(Job, "j")
        assert sum(active(p) for p in cluster.all(Pod)) == (0 if suspend else parallelism)
        assert ("startTime" in item.status) is not suspend
        assert not item.status.get("failed")
    assert (condition(cluster.one(Job, "j"), "Suspended") or {})["status"] == "False"


EFFECTS = st.sampled_from(["NoSchedule", "NoExecute"])


@st.composite
def node_worlds(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    rolling = {"maxUnavailable": draw(st.sampled_from([1, "50%"]))}
    spec = {"selector": SELECTOR, "template": template(nodeSelector={"gpu": "yes"}),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}  # fmt: skip
    cluster.add(DaemonSet.new("agent", "default", spec=spec))
    for number in range(draw(st.integers(0, 5))):
        node = Node.new(f"n{number}", labels={"gpu": draw(st.sampled_from(["yes", "yes", "no"]))}, spec={})
        key = draw(st.sampled_from(["", "", "node.kubernetes.io/not-ready", "mine"]))
        if key:
            node.raw["spec"]["taints"] = [{"key": key, "effect": draw(EFFECTS)}]
        cluster.add(node)
    return cluster


def daemon_step(cluster: Cluster, *, shuffled: int | None = None) -> ds.Decision:
    pods, nodes = list(cluster.all(Pod)), list(cluster.all(Node))
    if shuffled is not None:
        random.Random(shuffled).shuffle(pods)
        random.Random(shuffled).shuffle(nodes)
    taken, history = frozenset(p.name for p in pods), cluster.all(ControllerRevision)
    owner = cluster.one(DaemonSet, "agent")
    return ds.decide(ds.Seen(owner, tuple(nodes), tuple(pods), history, taken, cluster.now))


def run_daemons(cluster: Cluster, act: Any = lambda pod: "ready") -> list[int]:
    answered = []
    for _ in range(25):
        cluster.carry_out(daemon_step(cluster).actions)
        answered.append(sum(active(p) and available(p, 0, cluster.now) for p in cluster.all(Pod)))
        for pod in cluster._items.values():
            if isinstance(pod, Pod):
                pod.raw["spec"].setdefault("nodeName", ds.target(pod))
        cluster.pass_time(5.0, act=act)
    return answered


@given(node_worlds(), st.booleans())
def test_a_daemon_set_covers_what_fits_and_then_stays_still(cluster: Cluster, fails_once: bool) -> None:
    failed: set[str] = set()

    def act(pod: Pod) -> str:
        if fails_once and len(failed) < 2 and pod.uid not in failed:
            failed.add(pod.uid)
            return "fail"
        return "ready"

    run_daemons(cluster, act)
    owner = cluster.one(DaemonSet, "agent")
    fitting = sorted(n.name for n in cluster.all(Node) if ds.should_run(owner, n))
    assert sorted(ds.target(p) for p in cluster.all(Pod)) == fitting
    assert writes(daemon_step(cluster).actions) == []
    assert owner.status["numberReady"] == owner.status["desiredNumberScheduled"] == len(fitting)


@given(node_worlds())
def test_of_two_pods_on_a_node_the_younger_goes(cluster: Cluster) -> None:
    run_daemons(cluster)
    before = {p.name for p in cluster.all(Pod)}
    for pod in cluster.all(Pod):
        twin = pod.copy()
        twin.meta.update(
            name=f"{pod.name}-twin", uid=f"{pod.uid}-twin", creationTimestamp="2027-01-01T00:00:00Z"
        )
        cluster.add(twin)
    run_daemons(cluster)
    assert {p.name for p in cluster.all(Pod)} == before


@given(node_worlds())
def test_a_daemon_rollout_takes_no_more_than_allowed(cluster: Cluster) -> None:
    run_daemons(cluster)
    owner = cluster._items[DaemonSet, cluster.one(DaemonSet, "agent").key]
    owner.raw["spec"]["template"] = template("b", nodeSelector={"gpu": "yes"})
    owner.meta["generation"] += 1
    wanted = owner.status["desiredNumberScheduled"]
    spare = {1: 1, "50%": max(1, -(-wanted // 2))}[
        owner.spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"]
    ]
    answered = run_daemons(cluster)
    assert min(answered) >= max(0, wanted - spare)
    assert {p.spec["containers"][0]["image"] for p in cluster.all(Pod)} <= {"b"}
    assert cluster.one(DaemonSet, "agent").status.get("updatedNumberScheduled", 0) == wanted


@given(node_worlds(), st.integers())
def test_a_daemon_set_deletes_nothing_that_fits_and_order_does_not_matter(
    cluster: Cluster, seed: int
) -> None:
    run_daemons(cluster)
    for node in cluster._items.values():
        if isinstance(node, Node) and node.name == "n0":
            node.meta["labels"] = {}
    decision = daemon_step(cluster)
    doomed = {a.item.name for a in decision.actions if isinstance(a, Delete)}
    assert doomed == {p.name for p in cluster.all(Pod) if ds.target(p) == "n0"}
    fresh = {(a.item.name, ds.target(a.item)) for a in decision.actions if isinstance(a, Create)}  # type: ignore[arg-type]
    other = daemon_step(cluster, shuffled=seed).actions
    assert {(a.item.name, ds.target(a.item)) for a in other if isinstance(a, Create)} == fresh  # type: ignore[arg-type]
