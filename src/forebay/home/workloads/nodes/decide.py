"""Nodes that stop reporting, and the pods on them (Kubernetes' nodelifecycle and tainteviction); pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.api import affinity
from forebay.api.kinds import Node, Pod
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Delete, Note, Update, changed_status
from forebay.kit.clock import parse_rfc3339, rfc3339

LOST_AFTER_S = 40.0
LOOK_S = 10.0
PATIENCE_S = 300.0  # what admission gives every pod that does not say how long it stays on a lost node
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_TYPES = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True)
class Seen:
    """A node, how long it has been silent, and the pods bound to it.

    Silence is measured by our own steady clock from the moment a lease was seen to change: a laptop that
    slept for an hour has not lost its nodes.
    """

    node: Node
    silent_s: float
    pods: tuple[Pod, ...]
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """Mark a silent node, taint it by its readiness, mark its pods, evict those whose patience is over."""
    lost = seen.silent_s >= LOST_AFTER_S
    node = _marked(seen) if lost else seen.node.copy()
    ready = (p.condition(node, "Ready") or {}).get("status")
    actions: list[Action] = []
    if lost and node.status != seen.node.status:
        actions += changed_status(seen.node, node.status, shared=True)
        message = f"Node {node.name} status is now: NodeNotReady"
        actions.append(Note(node, "Normal", "NodeNotReady", message))
    taints = _taints(seen, ready)
    if taints != (seen.node.spec.get("taints") or []):
        actions.append(Update(_tainted(seen.node, taints)))
    if lost:
        actions += [action for pod in seen.pods for action in _unready(pod, seen.now)]
    waits: list[float | None] = [LOOK_S]
    for pod in seen.pods:
        stay_s = _stays_s(pod, taints, seen.now)
        waits.append(stay_s)
        if stay_s is not None and stay_s <= 0 and p.active(pod):
            actions.append(Note(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.key}"))
            actions.append(Delete(pod))
    return Decision(tuple(actions), p.soonest(waits))


def _marked(seen: Seen) -> Node:
    node = seen.node.copy()
    never = "NodeStatusNeverUpdated", "Kubelet never posted node status."
    stopped = "NodeStatusUnknown", "Kubelet stopped posting node status."
    conditions = node.status.get("conditions") or []
    for type_ in _TYPES:
        old = p.condition(seen.node, type_)
        if old is not None and old.get("status") == "Unknown":
            continue
        reason, message = stopped if old is not None else never
        new = {"type": type_, "status": "Unknown", "reason": reason, "message": message}
        conditions = p.with_condition(conditions, new, seen.now)
    node.raw["status"] = {**node.status, "conditions": conditions}
    return node


def _taints(seen: Seen, ready: str | None) -> list[Json]:
    """Taints as readiness wants them; others stay as they are, and times of those that stay are kept."""
    before = copy.deepcopy(seen.node.spec.get("taints") or [])
    wanted = {"True": "", "False": NOT_READY, None: NOT_READY}.get(ready, UNREACHABLE)
    for taint in before:
        if taint.get("effect") == "NoExecute":  # who tolerates it for a while is given that long from here on
            taint.setdefault("timeAdded", rfc3339(seen.now))
    kept = [t for t in before if t.get("key") not in (NOT_READY, UNREACHABLE) or t.get("key") == wanted]
    for effect in ("NoSchedule", "NoExecute"):
        if wanted and not any(t.get("key") == wanted and t.get("effect") == effect for t in kept):
            kept.append({"key": wanted, "effect": effect, "timeAdded": rfc3339(seen.now)})
    wanted_unschedulable = bool(seen.node.spec.get("unschedulable"))
    return _cordoned(kept, wanted_unschedulable, seen.now)


def _cordoned(taints: list[Json], unschedulable: bool, now: datetime) -> list[Json]:
    key = "node.kubernetes.io/unschedulable"
    have = any(t.get("key") == key for t in taints)
    if unschedulable and not have:
        return [*taints, {"key": key, "effect": "NoSchedule", "timeAdded": rfc3339(now)}]
    return taints if unschedulable else [t for t in taints if t.get("key") != key]


def _tainted(node: Node, taints: list[Json]) -> Node:
    new = node.copy()
    new.raw["spec"] = {**node.spec, "taints": taints}
    if not taints:
        new.raw["spec"].pop("taints")
    new.meta.pop("resourceVersion", None)
    return new


def _unready(pod: Pod, now: datetime) -> Iterable[Action]:
    """Traffic must not go to a node that nobody hears of."""
    before = p.condition(pod, "Ready")
    if before is None or before.get("status") != "True" or p.finished(pod):
        return ()
    new = {
        "type": "Ready",
        "status": "False",
        "reason": "NodeNotReady",
        "message": "the node stopped reporting",
    }
    conditions = p.with_condition(pod.status.get("conditions"), new, now)
    return changed_status(pod, {**pod.status, "conditions": conditions}, shared=True)


def _stays_s(pod: Pod, taints: list[Json], now: datetime) -> float | None:
    """Seconds the pod may stay on the node; None = for ever."""
    stays: float | None = None
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        patience = _patience_s(pod, taint)
        if patience is None:
            continue
        added = parse_rfc3339(str(taint["timeAdded"])) if taint.get("timeAdded") else now
        left = max(0.0, (added + timedelta(seconds=patience) - now).total_seconds())
        stays = left if stays is None else min(stays, left)
    return stays


def _patience_s(pod: Pod, taint: Json) -> float | None:
    """tolerationSeconds for this taint; None = tolerated for ever, 0 = not at all."""
    covering = [t for t in pod.spec.get("tolerations") or [] if affinity.tolerates([t], taint)]
    if not covering:
        return PATIENCE_S if taint.get("key") in (NOT_READY, UNREACHABLE) else 0.0
    limits = [float(t["tolerationSeconds"]) for t in covering if t.get("tolerationSeconds") is not None]
    return max(0.0, min(limits)) if limits else None
