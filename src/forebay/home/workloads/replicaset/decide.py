"""Keep `spec.replicas` pods of a ReplicaSet (kubernetes pkg/controller/replicaset)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forebay.api.kinds import Pod, ReplicaSet
from forebay.api.meta import Json
from forebay.api.selectors import match_expressions
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Note, Update, changed_status

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True)
class Seen:
    """`pods` are all pods of the namespace: names are shared with strangers, and orphans may be adopted."""

    replica_set: ReplicaSet
    pods: tuple[Pod, ...]
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """Adopt, create and delete pods until as many are active as asked for, and count them."""
    owner = seen.replica_set
    claims = _claims(seen)
    mine = [pod for pod in seen.pods if pod.controller_uid() == owner.uid and _selected(owner, pod)]
    mine += [adopted.item for adopted in claims if adopted.item.controller_uid() == owner.uid]  # type: ignore[misc]
    working = [pod for pod in mine if p.active(pod)]
    actions: list[Action] = list(claims)
    if not owner.deleting:
        actions += _scaled(seen, working)
    actions += changed_status(owner, _status(seen, working))
    least = int(owner.spec.get("minReadySeconds") or 0)
    return Decision(tuple(actions), p.soonest(p.available_in_s(pod, least, seen.now) for pod in working))


def _selected(owner: ReplicaSet, pod: Pod) -> bool:
    return match_expressions(owner.spec.get("selector"), pod.labels)


def _claims(seen: Seen) -> list[Update]:
    """Orphans that match are adopted; own pods that no longer match are let go."""
    owner, changes = seen.replica_set, []
    if owner.deleting:
        return []
    for pod in seen.pods:
        if not pod.controller_uid() and _selected(owner, pod) and p.active(pod):
            changes.append(_owned(pod, [*pod.owners, owner.owner_reference()]))
        elif pod.controller_uid() == owner.uid and not _selected(owner, pod):
            changes.append(_owned(pod, [o for o in pod.owners if o.get("uid") != owner.uid]))
    return changes


def _owned(pod: Pod, owners: list[Json]) -> Update:
    new = pod.copy()
    new.meta["ownerReferences"] = owners
    return Update(new)


def _scaled(seen: Seen, working: list[Pod]) -> list[Action]:
    owner = seen.replica_set
    surplus = len(working) - int(owner.spec.get("replicas", 1))
    actions: list[Action] = []
    mine = [pod for pod in seen.pods if pod.controller_uid() == owner.uid]
    for name in p.free_names(owner, (pod.name for pod in seen.pods), -surplus, seen=mine):
        actions.append(Create(p.from_template(owner, owner.spec["template"], name), owner))
        actions.append(Note(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}"))
    for pod in sorted(working, key=_worth)[: max(0, surplus)]:
        actions.append(Delete(pod))
        actions.append(Note(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}"))
    return actions


def _worth(pod: Pod) -> tuple[object, ...]:
    """What may go first sorts first: unbound, pending, not ready, cheap, young (ActivePodsWithRanks)."""
    since = p.ready_since(pod)
    return (
        bool(pod.spec.get("nodeName")),
        _PHASES.get(pod.status.get("phase", "Pending"), 0),
        since is not None,
        _cost(pod),
        -(since.timestamp() if since else 0.0),
        -p.restarts(pod),
        _Later(p.created(pod)),
        pod.name,
    )


class _Later(str):
    """A text that sorts the other way round: the younger first."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _cost(pod: Pod) -> int:
    try:
        return int(pod.annotations.get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        return 0


def _status(seen: Seen, working: list[Pod]) -> dict[str, object]:
    owner = seen.replica_set
    least = int(owner.spec.get("minReadySeconds") or 0)
    labels = ((owner.spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    counts = {
        "fullyLabeledReplicas": sum(labels.items() <= pod.labels.items() for pod in working),
        "readyReplicas": sum(p.ready(pod) for pod in working),
        "availableReplicas": sum(p.available(pod, least, seen.now) for pod in working),
    }
    status: dict[str, object] = {"observedGeneration": owner.generation, "replicas": len(working)}
    status.update({name: count for name, count in counts.items() if count})
    if owner.status.get("conditions"):
        status["conditions"] = owner.status["conditions"]
    return status
