"""ReplicaSets and Deployments: they settle, stay still, and keep the promise on the way."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.workloads.cluster import SELECTOR, Cluster, pod_status, shape, template, writes

from forebay.api.kinds import Deployment, Pod, ReplicaSet
from forebay.home.workloads.actions import Delete
from forebay.home.workloads.deployment import decide as dep
from forebay.home.workloads.deployment.rollout import Count, Limits, rolling
from forebay.home.workloads.pods import active, count_of, ready
from forebay.home.workloads.replicaset import decide as rs


@st.composite
def replica_worlds(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    spec = {"replicas": draw(st.integers(0, 4)), "selector": SELECTOR, "template": template()}
    owner = cluster.add(ReplicaSet.new("web", "default", spec=spec))
    for number in range(draw(st.integers(0, 5))):
        pod = Pod.new(f"old-{number}", "default", labels=draw(st.sampled_from([{"app": "x"}, {"app": "y"}])),
                      spec={"containers": [{"name": "c"}]})  # fmt: skip
        kind = draw(st.sampled_from(["mine", "orphan", "stranger"]))
        if kind != "orphan":
            reference = owner.owner_reference()
            pod.meta["ownerReferences"] = [reference if kind == "mine" else {**reference, "uid": "other"}]
        does = draw(st.sampled_from(["unbound", "ready", "silent", "fail"]))
        if does != "unbound":
            pod.raw["spec"]["nodeName"] = "n"
            pod.raw["status"] = pod_status(pod, does, cluster.now)
        if draw(st.booleans()) and does != "unbound":
            pod.meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        cluster.add(pod)
    return cluster


def replica_step(cluster: Cluster, name: str = "web", *, shuffled: int | None = None) -> rs.Decision:
    pods = list(cluster.all(Pod))
    if shuffled is not None:
        random.Random(shuffled).shuffle(pods)
    return rs.decide(rs.Seen(cluster.one(ReplicaSet, name), tuple(pods), cluster.now))


def working(cluster: Cluster, owner: ReplicaSet) -> list[Pod]:
    return [p for p in cluster.all(Pod) if p.controller_uid() == owner.uid and active(p)]


@given(replica_worlds())
def test_a_replica_set_settles_and_then_stays_still(cluster: Cluster) -> None:
    for _ in range(6):
        cluster.carry_out(replica_step(cluster).actions)
        cluster.pass_time()
    owner = cluster.one(ReplicaSet, "web")
    assert replica_step(cluster).actions == ()
    assert len(working(cluster, owner)) == owner.spec["replicas"] == owner.status.get("readyReplicas", 0)
    assert all(p.labels == {"app": "x"} for p in working(cluster, owner))


@given(replica_worlds())
def test_a_ready_pod_is_deleted_only_when_no_silent_one_is_left_to_delete(cluster: Cluster) -> None:
    doomed = {a.item.uid for a in replica_step(cluster).actions if isinstance(a, Delete)}
    after = [p for p in cluster.all(Pod) if p.uid not in doomed]
    if any(ready(p) for p in cluster.all(Pod) if p.uid in doomed):
        left = [
            p for p in after if active(p) and p.labels == {"app": "x"} and p.controller_uid() in ("uid-1", "")
        ]
        assert all(ready(p) for p in left)


@given(replica_worlds(), st.integers())
def test_strangers_are_never_touched_and_the_order_of_pods_does_not_matter(
    cluster: Cluster, seed: int
) -> None:
    decision = replica_step(cluster)
    touched = {a.item.uid for a in writes(decision.actions) if isinstance(a.item, Pod) and a.item.uid}
    assert not touched & {p.uid for p in cluster.all(Pod) if p.controller_uid() == "other"}
    assert shape(decision.actions) == shape(replica_step(cluster, shuffled=seed).actions)


counts = st.builds(lambda size, share: Count(size, size * share // 4), st.integers(0, 6), st.integers(0, 4))


@given(counts, st.lists(counts, max_size=3), st.integers(0, 6), st.integers(0, 3), st.integers(0, 3))
def test_a_rolling_step_keeps_the_promise_and_the_surge(
    new: Count, old: list[Count], wanted: int, surge: int, unavailable: int
) -> None:
    if not surge and not unavailable:
        unavailable = 1
    limits = Limits(wanted, surge, min(unavailable, wanted))
    grown, shrunk = rolling(new, old, limits)
    before = new.answering + sum(c.answering for c in old)
    lost = max(0, new.answering - grown) + sum(
        max(0, c.answering - size) for c, size in zip(old, shrunk, strict=True)
    )
    if new.size <= wanted:
        assert before - lost >= min(before, limits.least)
    total = new.size + sum(c.size for c in old)
    assert grown + sum(shrunk) <= max(total, wanted + surge)
    assert all(0 <= size <= c.size for c, size in zip(old, shrunk, strict=True)) and grown >= 0


@st.composite
def rollouts(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    strategy = draw(st.sampled_from(["RollingUpdate", "Recreate"]))
    limits = {"maxSurge": draw(st.sampled_from([0, 1, "25%", "100%"])),
              "maxUnavailable": draw(st.sampled_from([0, 1, "50%"]))}  # fmt: skip
    spec = {
        "replicas": draw(st.integers(0, 5)), "selector": SELECTOR, "template": template(),
        "strategy": {"type": strategy, **({"rollingUpdate": limits} if strategy == "RollingUpdate" else {})},
    }  # fmt: skip
    cluster.add(Deployment.new("web", "default", spec=spec))
    return cluster


def deployment_step(cluster: Cluster) -> dep.Decision:
    owner = cluster.one(Deployment, "web")
    every = cluster.all(ReplicaSet)
    seen = dep.Seen(owner, every, cluster.all(Pod), frozenset(s.name for s in every), cluster.now)
    return dep.decide(seen)


def settle(cluster: Cluster, silent: frozenset[str] = frozenset(), *, rounds: int = 40) -> list[int]:
    """Let both controllers and the pods work; the number that answered after every single write.

    Ends early once three turns in a row have changed nothing: the turns after them would not either.
    """
    answered, still = [], 0

    def act(pod: Pod) -> str:
        return "silent" if pod.spec["containers"][0]["image"] in silent else "ready"

    for _ in range(rounds):
        done = list(deployment_step(cluster).actions)
        cluster.carry_out(done)
        for owner in cluster.all(ReplicaSet):
            done += (step := replica_step(cluster, owner.name)).actions
            cluster.carry_out(step.actions)
            answered.append(sum(active(p) and ready(p) for p in cluster.all(Pod)))
        still = 0 if cluster.pass_time(act=act) or writes(done) else still + 1
        if still == 3:
            break
    return answered


def change(cluster: Cluster, image: str, replicas: int | None = None) -> None:
    item = cluster._items[Deployment, cluster.one(Deployment, "web").key]
    item.raw["spec"]["template"] = template(image)
    item.meta["generation"] += 1
    if replicas is not None:
        item.raw["spec"]["replicas"] = replicas


def promise(owner: Deployment) -> int:
    """Pods that a rolling update must keep."""
    wanted, text = owner.spec["replicas"], owner.spec["strategy"]["rollingUpdate"]["maxUnavailable"]
    spare = {0: 0, 1: 1, "50%": wanted // 2}[text]
    surge = owner.spec["strategy"]["rollingUpdate"]["maxSurge"]
    if not spare and surge == 0:
        spare = 1
    return max(0, wanted - spare)


@given(rollouts(), st.sampled_from(["b", "a"]))
def test_a_deployment_settles_on_its_template_and_then_stays_still(cluster: Cluster, last: str) -> None:
    settle(cluster)
    change(cluster, "b")
    settle(cluster)
    change(cluster, last)
    settle(cluster)
    owner = cluster.one(Deployment, "web")
    assert writes(deployment_step(cluster).actions) == []
    pods = [p for p in cluster.all(Pod) if active(p)]
    assert [p.spec["containers"][0]["image"] for p in pods] == [last] * owner.spec["replicas"]
    assert owner.status.get("availableReplicas", 0) == owner.spec["replicas"]
    reasons = {c["type"]: c["reason"] for c in owner.status["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}


@given(rollouts())
def test_a_rollout_never_has_fewer_answering_than_promised(cluster: Cluster) -> None:
    owner = cluster.one(Deployment, "web")
    settle(cluster)
    change(cluster, "b")
    answered = settle(cluster)
    if owner.spec["strategy"]["type"] == "RollingUpdate":
        assert min(answered, default=0) >= promise(owner)


@given(rollouts())
def test_a_template_that_never_answers_keeps_the_old_pods_and_times_out(cluster: Cluster) -> None:
    owner = cluster.one(Deployment, "web")
    settle(cluster)
    change(cluster, "bad")
    answered = settle(cluster, frozenset({"bad"}))
    if owner.spec["strategy"]["type"] == "RollingUpdate":
        assert min(answered, default=0) >= promise(owner)
    cluster.pass_time(
        601, act=lambda pod: "silent" if pod.spec["containers"][0]["image"] == "bad" else "ready"
    )
    cluster.carry_out(deployment_step(cluster).actions)
    if owner.spec["replicas"]:
        found = {c["type"]: c["reason"] for c in cluster.one(Deployment, "web").status["conditions"]}
        assert found["Progressing"] == "ProgressDeadlineExceeded"
    assert writes(deployment_step(cluster).actions) == []


@given(st.integers(1, 4))
def test_recreate_never_runs_two_templates_at_once(replicas: int) -> None:
    spec = {
        "replicas": replicas,
        "selector": SELECTOR,
        "template": template(),
        "strategy": {"type": "Recreate"},
    }
    cluster = Cluster([Deployment.new("web", "default", spec=spec)])
    settle(cluster)
    change(cluster, "b")
    for turn in range(20):
        cluster.carry_out(deployment_step(cluster).actions)
        for owner in cluster.all(ReplicaSet):
            cluster.carry_out(replica_step(cluster, owner.name).actions)
        assert len({p.spec["containers"][0]["image"] for p in cluster.all(Pod)}) <= 1
        if turn % 2:  # pods take longer to stop than the controllers to look
            cluster.pass_time()
    assert [p.spec["containers"][0]["image"] for p in cluster.all(Pod)] == ["b"] * replicas


def test_a_pod_that_replaces_another_has_a_name_of_its_own() -> None:
    spec = {"replicas": 1, "selector": SELECTOR, "template": template()}
    cluster = Cluster([ReplicaSet.new("web", "default", spec=spec)])
    names = []
    for _ in range(5):
        cluster.carry_out(replica_step(cluster).actions)
        (pod,) = [p for p in cluster.all(Pod) if active(p)]
        names.append(pod.name)
        cluster.pass_time()
        cluster.carry_out([Delete(pod)])
    assert len(set(names)) == 5


@given(rollouts(), st.integers(0, 6))
def test_a_paused_deployment_is_scaled_but_does_not_roll(cluster: Cluster, replicas: int) -> None:
    settle(cluster, rounds=10)
    item = cluster._items[Deployment, cluster.one(Deployment, "web").key]
    item.raw["spec"]["paused"] = True
    change(cluster, "b", replicas)
    settle(cluster, rounds=10)
    pods = [p for p in cluster.all(Pod) if active(p)]
    assert [p.spec["containers"][0]["image"] for p in pods] == ["a"] * replicas
    reasons = {c["type"]: c["reason"] for c in cluster.one(Deployment, "web").status["conditions"]}
    assert reasons["Progressing"] == "DeploymentPaused"
    assert writes(deployment_step(cluster).actions) == []
    item = cluster._items[Deployment, item.key]
    item.raw["spec"]["paused"] = False
    settle(cluster, rounds=20)
    pods = [p for p in cluster.all(Pod) if active(p)]
    assert [p.spec["containers"][0]["image"] for p in pods] == ["b"] * replicas


@pytest.mark.parametrize("surge", [0, 1, 3, "0%", "1%", "33%", "100%", "250%"])
@pytest.mark.parametrize("unavailable", [0, 1, 7, "0%", "1%", "49%", "100%"])
def test_odd_surges_still_roll_and_keep_their_promise(surge: int | str, unavailable: int | str) -> None:
    wanted, limits = 3, {"maxSurge": surge, "maxUnavailable": unavailable}
    spec = {"replicas": wanted, "selector": SELECTOR, "template": template(),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": limits}}  # fmt: skip
    cluster = Cluster([Deployment.new("web", "default", spec=spec)])
    settle(cluster)
    change(cluster, "b")
    most = wanted + count_of(surge, wanted, up=True, default="25%")
    spare = count_of(unavailable, wanted, up=False, default="25%") or (0 if most > wanted else 1)
    for _ in range(30):
        cluster.carry_out(deployment_step(cluster).actions)
        for owner in cluster.all(ReplicaSet):
            cluster.carry_out(replica_step(cluster, owner.name).actions)
        mine = [p for p in cluster.all(Pod) if active(p)]
        assert len(mine) <= most
        assert sum(ready(p) for p in mine) >= max(0, wanted - spare)
        cluster.pass_time()
    assert [p.spec["containers"][0]["image"] for p in cluster.all(Pod) if active(p)] == ["b"] * wanted
