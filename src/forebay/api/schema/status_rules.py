"""What kube-apiserver refuses about a status that is written by hand.

Source: Kubernetes' validation of apps, batch and core (paths, order and wording; v1.34).
"""

from __future__ import annotations

from collections.abc import Iterator

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause
from forebay.api.schema.workload_rules import NOT_NEGATIVE

_COUNTS: dict[type[Resource], tuple[str, ...]] = {
    kinds.Deployment: (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
        "unavailableReplicas", "collisionCount",
    ),
    kinds.ReplicaSet: (
        "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
    ),
    kinds.DaemonSet: (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
        "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
        "collisionCount",
    ),
    kinds.Job: ("active", "succeeded", "failed", "ready", "terminating"),
}  # fmt: skip


def status(raw: Json, old: Json, kind: type[Resource]) -> Iterator[Cause]:
    """What is wrong with a status that differs from the old one."""
    found = raw.get("status") or {}
    if found == (old.get("status") or {}):
        return
    for name in _COUNTS.get(kind, ()):
        value = found.get(name)
        if isinstance(value, int) and value < 0:
            yield causes.invalid(f"status.{name}", value, NOT_NEGATIVE)
    if kind is kinds.Namespace:
        yield from _phase(str(found.get("phase") or ""), bool(raw["metadata"].get("deletionTimestamp")))


def _phase(phase: str, leaves: bool) -> Iterator[Cause]:
    told = {False: ("Active", "is empty"), True: ("Terminating", "is not empty")}[leaves]
    if phase != told[0]:
        said = f"may only be '{told[0]}' if `deletionTimestamp` {told[1]}"
        yield causes.invalid("status.Phase", phase, said)
