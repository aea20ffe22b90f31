"""One pod of a DaemonSet on every node that fits (kubernetes pkg/controller/daemon)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.api import affinity
from forebay.api.kinds import ControllerRevision, DaemonSet, Node, Pod
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Note, changed_status
from forebay.home.workloads.daemonset import revisions
from forebay.home.workloads.job.counting import finished_at

RETRY_S = 1.0  # a pod that failed is replaced no sooner than this
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass(frozen=True)
class Seen:
    """The DaemonSet, all nodes, its own pods and revisions, and the names of all pods of the namespace."""

    daemon_set: DaemonSet
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    revisions: tuple[ControllerRevision, ...]
    taken: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """Create what is missing, delete what is surplus or failed, roll what is old, and count."""
    owner = seen.daemon_set
    if owner.deleting:
        return Decision(())
    history, current = revisions.decide(owner, seen.revisions)
    placed = _by_node(seen)
    actions: list[Action] = list(history)
    going, again_s = _misplaced(seen, placed)
    kept = {node: [pod for pod in pods if pod.uid not in going] for node, pods in placed.items()}
    actions += _deleted(owner, [pod for pods in placed.values() for pod in pods if pod.uid in going])
    actions += _created(
        seen, [n.name for n in seen.nodes if should_run(owner, n) and not placed.get(n.name)], current
    )
    if (owner.spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate":
        actions += _deleted(owner, _outdated(seen, kept, current))
    actions += changed_status(owner, _status(seen, placed, current))
    least = int(owner.spec.get("minReadySeconds") or 0)
    waits = [p.available_in_s(pod, least, seen.now) for pod in seen.pods]
    return Decision(tuple(actions), p.soonest([again_s, *waits]))


def should_run(owner: DaemonSet, node: Node) -> bool:
    """Whether the node fits: selector, affinity and taints (the node's readiness does not count)."""
    spec = _pod_spec(owner)
    return affinity.pod_allows(spec, node) and not affinity.untolerated(
        spec, node, ("NoSchedule", "NoExecute")
    )


def may_stay(owner: DaemonSet, node: Node) -> bool:
    """Whether a pod that is there may stay: only a taint that evicts drives it away."""
    spec = _pod_spec(owner)
    return affinity.pod_allows(spec, node) and not affinity.untolerated(spec, node, ("NoExecute",))


def _pod_spec(owner: DaemonSet) -> Json:
    spec = copy.deepcopy((owner.spec.get("template") or {}).get("spec") or {})
    have = spec.setdefault("tolerations", [])
    for key, effect in _TOLERATED:
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        if wanted not in have:
            have.append(wanted)
    return spec


def _pinned(spec: Json, node: str) -> Json:
    """The pod spec with its required node affinity narrowed to one node, as Kubernetes does it."""
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {}).setdefault(
        "requiredDuringSchedulingIgnoredDuringExecution", {}
    )  # fmt: skip
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**term, "matchFields": fields} for term in terms]
    return spec


def target(pod: Pod) -> str:
    """The node that a pod runs on or is pinned to."""
    if pod.spec.get("nodeName"):
        return str(pod.spec["nodeName"])
    node_affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def _by_node(seen: Seen) -> dict[str, list[Pod]]:
    placed: dict[str, list[Pod]] = {}
    for pod in sorted(seen.pods, key=lambda pod: (p.created(pod), pod.name)):
        placed.setdefault(target(pod), []).append(pod)
    return placed


def _misplaced(seen: Seen, placed: dict[str, list[Pod]]) -> tuple[set[str], float | None]:
    """uids of pods to delete: on a node that does not fit, more than one on a node, or failed a while ago."""
    nodes = {node.name: node for node in seen.nodes}
    going: set[str] = set()
    waits: list[float | None] = []
    for name, pods in placed.items():
        living = [pod for pod in pods if not pod.deleting]
        working = [pod for pod in living if not p.finished(pod)]
        if name not in nodes or not may_stay(seen.daemon_set, nodes[name]):
            going |= {pod.uid for pod in living}
            continue
        going |= {pod.uid for pod in working[1:]}
        for pod in living:
            if p.finished(pod):
                left_s = (finished_at(pod) + timedelta(seconds=RETRY_S) - seen.now).total_seconds()
                going |= {pod.uid} if left_s <= 0 else set()
                waits.append(max(0.0, left_s))
    return going, p.soonest(waits)


def _created(seen: Seen, nodes: list[str], current: str) -> list[Action]:
    owner = seen.daemon_set
    actions: list[Action] = []
    for node, name in zip(nodes, p.free_names(owner, seen.taken, len(nodes), seen=seen.pods), strict=True):
        pod = p.from_template(owner, owner.spec["template"], name)
        pod.raw["spec"] = _pinned(_pod_spec(owner), node)
        pod.meta["labels"] = {
            **pod.labels,
            revisions.HASH: current,
            "pod-template-generation": _generation(owner),
        }
        actions.append(Create(pod, owner))
        actions.append(Note(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}"))
    return actions


def _generation(owner: DaemonSet) -> str:
    return str(owner.annotations.get("deprecated.daemonset.template.generation") or owner.generation)


def _deleted(owner: DaemonSet, pods: list[Pod]) -> list[Action]:
    actions: list[Action] = []
    for pod in pods:
        failed = pod.status.get("phase") == "Failed"
        if failed:
            name = f"{pod.namespace}/{pod.name}"
            message = f"Found failed daemon pod {name} on node {target(pod)}, will try to kill it"
            actions.append(Note(owner, "Warning", "FailedDaemonPod", message))
        actions.append(Delete(pod))
        actions.append(Note(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}"))
    return actions


def _outdated(seen: Seen, kept: dict[str, list[Pod]], current: str) -> list[Pod]:
    """Old pods that may go now: silent ones always, answering ones as far as maxUnavailable allows."""
    owner = seen.daemon_set
    wanted = [node.name for node in seen.nodes if should_run(owner, node)]
    rolling = (owner.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    budget = max(1, p.count_of(rolling.get("maxUnavailable"), len(wanted), up=True, default=1))
    least = int(owner.spec.get("minReadySeconds") or 0)
    silent: list[Pod] = []
    answering: list[Pod] = []
    for name in wanted:
        pod = next((pod for pod in kept.get(name, []) if p.active(pod)), None)
        answers = pod is not None and p.available(pod, least, seen.now)
        budget -= not answers
        if pod is not None and pod.labels.get(revisions.HASH) != current:
            (answering if answers else silent).append(pod)
    return [*silent, *answering[: max(0, budget)]]


def _status(seen: Seen, placed: dict[str, list[Pod]], current: str) -> Json:
    owner = seen.daemon_set
    least = int(owner.spec.get("minReadySeconds") or 0)
    wanted = {node.name for node in seen.nodes if should_run(owner, node)}
    first = {name: pods[0] for name, pods in placed.items() if name in wanted and pods}
    counts = {
        "desiredNumberScheduled": len(wanted),
        "currentNumberScheduled": len(first),
        "numberMisscheduled": sum(bool(name) and name not in wanted for name in placed),
        "numberReady": sum(p.ready(pod) for pod in first.values()),
        "updatedNumberScheduled": sum(pod.labels.get(revisions.HASH) == current for pod in first.values()),
        "numberAvailable": sum(p.available(pod, least, seen.now) for pod in first.values()),
    }
    counts["numberUnavailable"] = len(wanted) - counts["numberAvailable"]
    always = ("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady")
    status: Json = {"observedGeneration": owner.generation}
    status.update({name: number for name, number in counts.items() if number or name in always})
    return status
