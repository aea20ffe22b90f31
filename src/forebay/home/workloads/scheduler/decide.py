"""A node for every pending pod, or the reason why there is none (kubernetes kube-scheduler)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from forebay.api.meta import Key
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Both, Note, Status, Update
from forebay.home.workloads.scheduler import fit
from forebay.home.workloads.volumes.decide import COMPLETED, SELECTED_NODE, claims_of, waits_for_pod

SCHEDULER = "default-scheduler"


@dataclass(frozen=True)
class Seen:
    """The whole cluster, as far as placing is concerned."""

    pods: tuple[Pod, ...]
    nodes: tuple[Node, ...]
    volumes: tuple[PersistentVolume, ...]
    claims: tuple[PersistentVolumeClaim, ...]
    classes: tuple[StorageClass, ...]
    now: datetime


def pending(pod: Pod) -> bool:
    """Whether the pod is ours to place."""
    ours = pod.spec.get("schedulerName") in (None, "", SCHEDULER)
    return ours and not pod.spec.get("nodeName") and not pod.deleting and not p.finished(pod)


def decide(seen: Seen) -> tuple[Action, ...]:
    """Place pods one after the other, the important and the old first; each takes room from the next."""
    bound = [pod for pod in seen.pods if pod.spec.get("nodeName") and fit.is_active(pod)]
    rooms = {
        n.name: fit.room(n, [pod for pod in bound if pod.spec["nodeName"] == n.name]) for n in seen.nodes
    }
    ports = frozenset(port for pod in bound for port in fit.host_ports(pod))
    actions: list[Action] = []
    waiting = [pod for pod in seen.pods if pending(pod)]
    for pod in sorted(
        waiting, key=lambda pod: (-int(pod.spec.get("priority") or 0), p.created(pod), pod.key)
    ):
        if pod.spec.get("schedulingGates"):
            message = "Scheduling is blocked due to non-empty scheduling gates"
            actions += _unplaced(seen, pod, "SchedulingGated", message, note=False)
            continue
        volumes, why = _volumes(seen, pod)
        chosen, refusal = (None, why) if why else _choose(pod, list(rooms.values()), volumes, ports)
        if chosen is None:
            actions += _unplaced(seen, pod, "Unschedulable", refusal)
            continue
        rooms[chosen.node.name] = _taken(chosen, pod)
        ports |= fit.host_ports(pod)
        actions += _reserved(volumes, chosen.node) if volumes.waiting else _placed(seen, pod, chosen.node)
    return tuple(actions)


def _taken(where: fit.Room, pod: Pod) -> fit.Room:
    free = dict(where.free)
    for name, amount in fit.requests(pod).items():
        free[name] = free.get(name, Fraction(0)) - amount
    owner = pod.controller_uid()
    return replace(where, free=free, siblings={**where.siblings, owner: where.siblings.get(owner, 0) + 1})


def _choose(
    pod: Pod, rooms: Sequence[fit.Room], volumes: fit.Volumes, ports: frozenset[tuple[str, int]]
) -> tuple[fit.Room | None, str]:
    if not rooms:
        return None, "no nodes available to schedule pods"
    reasons: Counter[str] = Counter()
    fitting = []
    for where in rooms:
        found = fit.obstacles(pod, where, volumes, ports)
        reasons.update(found)
        if not found:
            fitting.append(where)
    if fitting:
        return min(fitting, key=lambda where: (-fit.score(pod, where), where.node.name)), ""
    told = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return None, f"0/{len(rooms)} nodes are available: {told}."


def _volumes(seen: Seen, pod: Pod) -> tuple[fit.Volumes, str]:
    """The pod's volumes, or why it cannot go anywhere yet."""
    claims = {claim.key: claim for claim in seen.claims}
    by_name = {volume.name: volume for volume in seen.volumes}
    bound, waiting = [], []
    for name in claims_of(pod):
        claim = claims.get(Key(pod.namespace, name))
        if claim is None:
            return fit.Volumes(), _nowhere(seen, f'persistentvolumeclaim "{name}" not found')
        if claim.deleting:
            return fit.Volumes(), _nowhere(seen, f'persistentvolumeclaim "{name}" is being deleted')
        if COMPLETED in claim.annotations:
            volume = by_name.get(claim.spec.get("volumeName") or "")
            if volume is None:
                return fit.Volumes(), _nowhere(
                    seen, f'persistentvolumeclaim "{name}" bound to non-existent volume'
                )
            bound.append(volume)
        elif waits_for_pod(claim, seen.classes) and not claim.spec.get("volumeName"):
            waiting.append(claim)
        else:
            return fit.Volumes(), _nowhere(seen, "pod has unbound immediate PersistentVolumeClaims")
    return fit.Volumes(tuple(bound), tuple(waiting), seen.volumes), ""


def _nowhere(seen: Seen, why: str) -> str:
    return f"0/{len(seen.nodes)} nodes are available: {why}."


def _placed(seen: Seen, pod: Pod, node: Node) -> list[Action]:
    new = pod.copy()
    new.raw.setdefault("spec", {})["nodeName"] = node.name
    condition = {"type": "PodScheduled", "status": "True"}
    kept = [c for c in pod.status.get("conditions") or [] if c.get("type") != "PodScheduled"]
    new.raw["status"] = {**pod.status, "phase": pod.status.get("phase") or "Pending",
                            "conditions": p.with_condition(kept, condition, seen.now)}  # fmt: skip
    message = f"Successfully assigned {pod.namespace}/{pod.name} to {node.name}"
    return [Both(new), Note(pod, "Normal", "Scheduled", message)]


def _reserved(volumes: fit.Volumes, node: Node) -> list[Action]:
    """Tell the volume controller where; the pod is placed when its claims are bound."""
    actions: list[Action] = []
    for claim in volumes.waiting:
        if claim.annotations.get(SELECTED_NODE) != node.name:
            new = claim.copy()
            new.meta["annotations"] = {**claim.annotations, SELECTED_NODE: node.name}
            actions.append(Update(new))
    return actions


def _unplaced(seen: Seen, pod: Pod, reason: str, message: str, *, note: bool = True) -> list[Action]:
    before = p.condition(pod, "PodScheduled") or {}
    if (before.get("status"), before.get("reason"), before.get("message")) == ("False", reason, message):
        return []
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    new = pod.copy()
    conditions = p.with_condition(pod.status.get("conditions"), condition, seen.now)
    phase = pod.status.get("phase") or "Pending"
    new.raw["status"] = {**pod.status, "phase": phase, "conditions": conditions}
    actions: list[Action] = [Status(new)]
    if note:
        actions.append(Note(pod, "Warning", "FailedScheduling", message))
    return actions
