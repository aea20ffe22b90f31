"""What the controllers say, in Kubernetes' own words, and the small tables behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forebay.api.kinds import (
    DaemonSet,
    Event,
    Job,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicaSet,
    StorageClass,
)
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Create, Delete, Note, Status, Update
from forebay.home.workloads.daemonset import decide as daemons
from forebay.home.workloads.expiry.decide import decide as expire
from forebay.home.workloads.job import decide as jobs
from forebay.home.workloads.nodes import decide as nodes
from forebay.home.workloads.podgc import decide as podgc
from forebay.home.workloads.replicaset import decide as replicas
from forebay.home.workloads.scheduler import decide as scheduler
from forebay.home.workloads.volumes import decide as volumes
from forebay.kit.clock import rfc3339

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
READY = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - timedelta(minutes=1))}


def node(
    name: str, *, cpu: str = "4", taints: list[dict[str, str]] | None = None, ready: bool = True, **spec: Any
) -> Node:
    conditions = [READY] if ready else [{"type": "Ready", "status": "False"}]
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}, "conditions": conditions}
    return Node.new(
        name, labels={"kubernetes.io/hostname": name}, spec={"taints": taints or [], **spec}, status=status
    )


def pod(name: str = "p", cpu: str = "1", **spec: Any) -> Pod:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return Pod.new(name, "default", spec={"containers": [container], **spec})


def told(one: Pod, every: tuple[Node, ...], **more: Any) -> str:
    fields: dict[str, Any] = {"volumes": (), "claims": (), "classes": (), **more}
    for action in scheduler.decide(scheduler.Seen((one,), every, now=NOW, **fields)):
        if isinstance(action, Note):
            return action.message
    return ""


NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("one", "every", "message"),
    [
        (pod(), (), "no nodes available to schedule pods"),
        (pod(cpu="5"), (node("a"), node("b", cpu="2")), "0/2 nodes are available: 2 Insufficient cpu."),
        (pod(cpu="5", nodeSelector={"kubernetes.io/hostname": "a"}), (node("a"), node("b"), node("c")),
         "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector."),
        (pod(), (node("a", unschedulable=True),), "0/1 nodes are available: 1 node(s) were unschedulable."),
        (pod(), (node("a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),),
         "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."),
        (pod(), (node("a", ready=False),),
         "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."),
        (pod(), (node("a"),), "Successfully assigned default/p to a"),
        (pod(tolerations=[{"key": "gpu", "operator": "Exists"}]),
         (node("a", taints=[{"key": "gpu", "effect": "NoSchedule"}]),),
         "Successfully assigned default/p to a"),
        (pod(volumes=[{"persistentVolumeClaim": {"claimName": "m"}}]), (node("a"),),
         '0/1 nodes are available: persistentvolumeclaim "m" not found.'),
    ],
)  # fmt: skip
def test_the_scheduler_says_what_kubernetes_says(one: Pod, every: tuple[Node, ...], message: str) -> None:
    assert told(one, every) == message


def test_a_bound_volume_and_an_unbound_claim_hold_a_pod_back() -> None:
    one = pod(volumes=[{"persistentVolumeClaim": {"claimName": "m"}}])
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]
    volume = PersistentVolume.new("v", spec={"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}})
    claim = PersistentVolumeClaim.new("m", "default", spec={"volumeName": "v"})
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    assert told(one, (node("a"),), claims=(claim,)) == message
    claim.meta["annotations"] = {volumes.COMPLETED: "yes"}
    message = "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    assert told(one, (node("a"),), claims=(claim,), volumes=(volume,)) == message
    assert (
        told(one, (node("a"), node("b")), claims=(claim,), volumes=(volume,))
        == "Successfully assigned default/p to b"
    )
    lazy = StorageClass.new("lazy", volumeBindingMode="WaitForFirstConsumer")
    waiting = PersistentVolumeClaim.new("m", "default", spec={"storageClassName": "lazy"})
    message = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."
    assert told(one, (node("a"),), claims=(waiting,), classes=(lazy,)) == message


def test_a_message_that_stands_already_is_not_written_again() -> None:
    one = pod()
    first = next(
        a for a in scheduler.decide(scheduler.Seen((one,), (), (), (), (), NOW)) if isinstance(a, Status)
    )
    assert scheduler.decide(scheduler.Seen((first.item,), (), (), (), (), NOW)) == ()  # type: ignore[arg-type]


def test_preferred_nodes_come_first_and_equal_ones_share_the_load() -> None:
    weighs = [{"weight": 50, "preference": {"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}}]  # fmt: skip
    likes = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighs}}
    every = (node("a"), node("b"))
    assert told(pod(affinity=likes), every) == "Successfully assigned default/p to b"
    busy = pod("busy", nodeName="a")
    actions = scheduler.decide(scheduler.Seen((busy, pod()), every, (), (), (), NOW))
    assert [a.message for a in actions if isinstance(a, Note)] == ["Successfully assigned default/p to b"]


def test_a_gated_pod_is_left_alone_with_its_reason() -> None:
    actions = scheduler.decide(
        scheduler.Seen((pod(schedulingGates=[{"name": "x"}]),), (node("a"),), (), (), (), NOW)
    )
    assert [a.item.status["conditions"][0]["reason"] for a in actions if isinstance(a, Status)] == [
        "SchedulingGated"
    ]


def ended(name: str, code: int, *, job: Job) -> Pod:
    one = Pod.new(name, "default", spec={"containers": [{"name": "main"}]})
    one.meta.update(uid=name, finalizers=[jobs.TRACKING], ownerReferences=[job.owner_reference()])
    state = {"terminated": {"exitCode": code, "finishedAt": rfc3339(NOW)}}
    one.raw["status"] = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{"name": "main", "state": state}],
    }
    return one


def a_job(**spec: Any) -> Job:
    job = Job.new("j", "default", spec={"completions": 1, "template": {"spec": {"containers": []}}, **spec})
    job.meta["uid"] = "u"
    return job


def conditions(decision: jobs.Decision) -> dict[str, tuple[str, str]]:
    status = next(a.item.status for a in decision.actions if isinstance(a, Status))
    return {c["type"]: (c["reason"], c["message"]) for c in status.get("conditions", [])}


def test_a_failure_policy_ends_a_job_at_once_or_overlooks_a_failure() -> None:
    def policy(action: str) -> dict[str, Any]:
        codes = {"operator": "In", "values": [3]}
        return {"podFailurePolicy": {"rules": [{"action": action, "onExitCodes": codes}]}}

    job = a_job(**policy("FailJob"))
    decision = jobs.decide(jobs.Seen(job, (ended("p", 3, job=job),), frozenset(), NOW))
    why = "Container main for pod default/p failed with exit code 3 matching FailJob rule at index 0"
    assert conditions(decision) == {"FailureTarget": ("PodFailurePolicy", why)}
    job = a_job(backoffLimit=0, **policy("Ignore"))
    decision = jobs.decide(jobs.Seen(job, (ended("p", 3, job=job),), frozenset(), NOW + timedelta(minutes=1)))
    assert conditions(decision) == {}
    assert sum(isinstance(a, Create) for a in decision.actions) == 1


def test_a_job_over_its_deadline_fails_and_its_pods_go() -> None:
    job = a_job(activeDeadlineSeconds=60)
    job.raw["status"] = {"startTime": rfc3339(NOW - timedelta(seconds=61))}
    one = Pod.new("p", "default", spec={})
    one.meta.update(uid="p", finalizers=[jobs.TRACKING])
    decision = jobs.decide(jobs.Seen(job, (one,), frozenset(), NOW))
    assert conditions(decision) == {
        "FailureTarget": ("DeadlineExceeded", "Job was active longer than specified deadline")
    }
    assert [a.item.name for a in decision.actions if isinstance(a, Delete)] == ["p"]


def test_a_daemon_pod_is_pinned_to_its_node_and_tolerates_its_troubles() -> None:
    owner = DaemonSet.new(
        "agent", "kserve", spec={"selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}}
    )
    owner.meta["uid"] = "u"
    lost = node("a", ready=False, taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}])
    decision = daemons.decide(daemons.Seen(owner, (lost,), (), (), frozenset(), NOW))
    made = next(a.item for a in decision.actions if isinstance(a, Create) and isinstance(a.item, Pod))
    terms = made.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]
    assert {t["key"].removeprefix("node.kubernetes.io/") for t in made.spec["tolerations"]} == {
        "not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable",
    }  # fmt: skip
    assert daemons.target(made) == "a"


def test_replica_sets_delete_the_cheapest_pod_first() -> None:
    def one(name: str, **status: Any) -> Pod:
        made = Pod.new(name, "default", labels={"app": "x"}, spec={"nodeName": "n", "containers": []})
        made.meta.update(uid=name, ownerReferences=[owner.owner_reference()], creationTimestamp=rfc3339(NOW))
        made.raw["status"] = {"phase": "Running", "conditions": [READY], **status}
        return made

    owner = ReplicaSet.new("r", "default", spec={"replicas": 3, "selector": {"matchLabels": {"app": "x"}}})
    owner.meta["uid"] = "r"
    unbound = one("unbound")
    unbound.raw["spec"].pop("nodeName")
    cheap = one("cheap")
    cheap.meta["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    young = one("young", conditions=[{**READY, "lastTransitionTime": rfc3339(NOW)}])
    every = [
        one("steady"),
        young,
        cheap,
        one("silent", conditions=[]),
        one("pending", phase="Pending"),
        unbound,
    ]
    left, order = every, []
    for wanted in range(5, -1, -1):
        owner.raw["spec"]["replicas"] = wanted
        seen = replicas.Seen(owner, tuple(left), NOW)
        gone = [a.item.name for a in replicas.decide(seen).actions if isinstance(a, Delete)]
        order += gone
        left = [pod for pod in left if pod.name not in gone]
    assert order == ["unbound", "pending", "silent", "cheap", "young", "steady"]


@pytest.mark.parametrize(
    ("claim", "volume", "reason", "message"),
    [
        ({"volumeName": "v", "resources": {"requests": {"storage": "9Gi"}}}, {}, "VolumeMismatch",
         'Cannot bind to requested volume "v": requested PV is too small'),
        ({"volumeName": "v", "storageClassName": "x"}, {}, "VolumeMismatch",
         'Cannot bind to requested volume "v": storageClassName does not match'),
        ({"volumeName": "v", "accessModes": ["ReadWriteMany"]}, {}, "VolumeMismatch",
         'Cannot bind to requested volume "v": incompatible accessMode'),
        ({"volumeName": "v"}, {"claimRef": {"namespace": "other", "name": "m"}}, "FailedBinding",
         'volume "v" already bound to a different claim.'),
        ({"storageClassName": "x"}, {}, "ProvisioningFailed", 'storageclass.storage.k8s.io "x" not found'),
        ({"accessModes": ["ReadWriteMany"]}, {}, "FailedBinding",
         "no persistent volumes available for this claim and no storage class is set"),
    ],
)  # fmt: skip
def test_why_a_claim_waits(claim: dict[str, Any], volume: dict[str, Any], reason: str, message: str) -> None:
    spec = {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], **volume}
    one = PersistentVolumeClaim.new("m", "default", spec={"accessModes": ["ReadWriteOnce"], **claim})
    one.meta["uid"] = "m"
    one.raw["status"] = {"phase": "Pending"}  # as every new claim has it
    actions = volumes.decide(volumes.Seen((PersistentVolume.new("v", spec=spec),), (one,), (), (), ()))
    assert [(a.reason, a.message) for a in actions if isinstance(a, Note)] == [(reason, message)]


@pytest.mark.parametrize(
    ("tolerations", "stays"),
    [
        ([], 300.0),
        ([{"key": nodes.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}], 30.0),
        ([{"operator": "Exists"}], None),
        ([{"key": nodes.UNREACHABLE, "operator": "Exists"}], None),
    ],
)  # fmt: skip
def test_how_long_a_pod_stays_on_a_lost_node(tolerations: list[dict[str, Any]], stays: float | None) -> None:
    taint = {"key": nodes.UNREACHABLE, "effect": "NoExecute", "timeAdded": rfc3339(NOW)}
    lost = node("a", taints=[taint, {"key": nodes.UNREACHABLE, "effect": "NoSchedule"}])
    lost.raw["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    one = pod(nodeName="a", tolerations=tolerations)

    def evicted(after_s: float) -> bool:
        decision = nodes.decide(nodes.Seen(lost, 99.0, (one,), NOW + timedelta(seconds=after_s)))
        return any(isinstance(a, Delete) for a in decision.actions)

    assert not evicted((stays or 10_000) - 1)
    assert evicted((stays or 10_000) + 1) is (stays is not None)


def test_pods_of_nodes_that_are_gone_are_removed_after_a_while() -> None:
    one = pod(nodeName="gone")
    for ago_s, gone in ((10, 0), (41, 1)):
        seen = podgc.Seen((one,), frozenset({"a"}), {"gone": NOW - timedelta(seconds=ago_s)}, NOW)
        assert [a.grace_s for a in podgc.decide(seen) if isinstance(a, Delete)] == [0] * gone


def test_only_the_oldest_finished_pods_beyond_the_limit_are_removed() -> None:
    every = []
    for number in range(podgc.FINISHED_MAX + 2):
        one = Pod.new(f"p{number}", "default", spec={}, status={"phase": "Succeeded"})
        one.meta["creationTimestamp"] = rfc3339(NOW + timedelta(seconds=number))
        every.append(one)
    actions = podgc.decide(podgc.Seen(tuple(reversed(every)), frozenset(), {}, NOW))
    assert [a.item.name for a in actions if isinstance(a, Delete)] == ["p0", "p1"]


def test_events_go_an_hour_after_they_were_last_seen() -> None:
    old = Event.new("old", "default", lastTimestamp=rfc3339(NOW - timedelta(minutes=61)))
    again = Event.new(
        "again", "default", firstTimestamp=rfc3339(NOW - timedelta(hours=9)), lastTimestamp=rfc3339(NOW)
    )
    assert [a.item.name for a in expire([old, again], NOW)] == ["old"]


@pytest.mark.parametrize(
    ("value", "up", "expected"), [(2, True, 2), ("25%", True, 2), ("25%", False, 1), ("100%", False, 5),
    (None, True, 2),
                                  ("3", True, 3), ("junk", False, 1)]
)  # fmt: skip
def test_counts_and_percentages(value: int | str | None, up: bool, expected: int) -> None:
    assert p.count_of(value, 5, up=up, default="25%") == expected


def test_an_index_that_fails_is_tried_again_whatever_its_own_limit_says() -> None:
    per_index = {"completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 0}
    job = a_job(backoffLimit=2**31 - 1, **per_index)
    failed = ended("p", 1, job=job)
    failed.meta["annotations"] = {"batch.kubernetes.io/job-completion-index": "0"}
    decision = jobs.decide(jobs.Seen(job, (failed,), frozenset(), NOW + timedelta(minutes=1)))
    assert conditions(decision) == {}
    assert sum(isinstance(a, Create) for a in decision.actions) == 1


def test_a_pod_that_tolerates_a_taint_for_a_while_goes_when_it_is_over_whoever_set_the_taint() -> None:
    taint = {"key": "only", "effect": "NoExecute"}  # kubectl tells no time
    for_a_while = {"key": "only", "operator": "Exists", "tolerationSeconds": 30}
    one = pod("p", tolerations=[for_a_while], nodeName="a")
    first = nodes.decide(nodes.Seen(node("a", taints=[taint]), 0.0, (one,), NOW))
    [written] = [a.item for a in first.actions if isinstance(a, Update)]
    assert written.spec["taints"] == [{**taint, "timeAdded": rfc3339(NOW)}]
    for after_s, goes in ((29, False), (30, True)):
        later = nodes.decide(nodes.Seen(written, 0.0, (one,), NOW + timedelta(seconds=after_s)))
        assert any(isinstance(a, Delete) for a in later.actions) is goes
        assert not any(isinstance(a, Update) for a in later.actions)
        assert goes or later.look_again_s == 1.0
