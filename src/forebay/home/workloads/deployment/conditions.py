"""Status of a Deployment with Kubernetes' reasons and sentences; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from forebay.api.kinds import Deployment, Pod, ReplicaSet
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.deployment import sets
from forebay.kit.clock import parse_rfc3339, rfc3339

_FOREVER_S = 2**31 - 1  # the value that means "no deadline"


def status(
    owner: Deployment, new: ReplicaSet | None, pods: Sequence[Pod], every: Sequence[ReplicaSet], now: datetime
) -> tuple[Json, float | None]:
    """The status, and seconds until the progress deadline if one is running."""
    counts = _counts(owner, new, pods, now)
    wanted = sum(sets.size(rs) for rs in every)
    unavailable = max(0, wanted - counts["availableReplicas"])
    out: Json = {"observedGeneration": owner.generation}
    out.update(
        {name: number for name, number in {**counts, "unavailableReplicas": unavailable}.items() if number}
    )
    found = with_available(owner, counts, now)
    found, again_s = _with_progress(owner, out, found, new, now)
    if found:
        out["conditions"] = found
    return out, again_s


def created(status_: Json, name: str, now: datetime) -> Json:
    """The status with the word that a new ReplicaSet was just made."""
    message = f'Created new replica set "{name}"'
    conditions = _put(
        status_.get("conditions") or [], "Progressing", "True", "NewReplicaSetCreated", message, now
    )
    return {**status_, "conditions": conditions}


def complete(owner: Deployment, status_: Mapping[str, Any]) -> bool:
    """Whether every pod is of the current template and available, and no other is left."""
    wanted = int(owner.spec.get("replicas", 1))
    fields = ("updatedReplicas", "replicas", "availableReplicas")
    return all(int(status_.get(field) or 0) == wanted for field in fields)


def _counts(owner: Deployment, new: ReplicaSet | None, pods: Sequence[Pod], now: datetime) -> dict[str, int]:
    least = int(owner.spec.get("minReadySeconds") or 0)
    working = [pod for pod in pods if p.active(pod)]
    return {
        "replicas": len(working),
        "updatedReplicas": sum(new is not None and pod.controller_uid() == new.uid for pod in working),
        "readyReplicas": sum(p.ready(pod) for pod in working),
        "availableReplicas": sum(p.available(pod, least, now) for pod in working),
    }


def with_available(owner: Deployment, counts: Mapping[str, int], now: datetime) -> list[Json]:
    """The conditions with Available: enough pods for the promise of the strategy."""
    wanted = int(owner.spec.get("replicas", 1))
    strategy = owner.spec.get("strategy") or {}
    spare = 0
    if strategy.get("type") != "Recreate":
        rolling = strategy.get("rollingUpdate") or {}
        spare = p.count_of(rolling.get("maxUnavailable"), wanted, up=False, default="25%")
        if not spare and not p.count_of(rolling.get("maxSurge"), wanted, up=True, default="25%"):
            spare = 1
    before = owner.status.get("conditions") or []
    if counts["availableReplicas"] >= wanted - min(spare, wanted):
        message = "Deployment has minimum availability."
        return _put(before, "Available", "True", "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return _put(before, "Available", "False", "MinimumReplicasUnavailable", message, now)


def _with_progress(
    owner: Deployment, new_status: Json, found: list[Json], new: ReplicaSet | None, now: datetime
) -> tuple[list[Json], float | None]:
    deadline_s = int(owner.spec.get("progressDeadlineSeconds", 600))
    before = p.condition(owner, "Progressing")
    reason = (before or {}).get("reason")
    if owner.spec.get("paused"):
        if reason == "ProgressDeadlineExceeded":
            return found, None
        return _put(found, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now), None
    if reason == "DeploymentPaused":
        found = _put(found, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        before = next(c for c in found if c["type"] == "Progressing")
    if new is None or deadline_s >= _FOREVER_S:
        return found, None
    if complete(owner, new_status):
        message = f'ReplicaSet "{new.name}" has successfully progressed.'
        return _put(found, "Progressing", "True", "NewReplicaSetAvailable", message, now), None
    if reason == "NewReplicaSetAvailable" and int(new_status.get("replicas") or 0) == int(
        new_status.get("updatedReplicas") or 0
    ):
        return found, None  # complete before: pods that fail later are no rollout
    if before is None:
        message = f'Found new replica set "{new.name}"'
        return _put(found, "Progressing", "True", "FoundNewReplicaSet", message, now), float(deadline_s)
    if _moved(owner.status, new_status):
        message = f'ReplicaSet "{new.name}" is progressing.'
        return _put(found, "Progressing", "True", "ReplicaSetUpdated", message, now, fresh=True), float(
            deadline_s
        )
    return _with_deadline(found, before, deadline_s, new.name, now)


def _with_deadline(
    found: list[Json], before: Json, deadline_s: int, name: str, now: datetime
) -> tuple[list[Json], float | None]:
    if before.get("reason") in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return found, None
    since = parse_rfc3339(str(before.get("lastUpdateTime") or before.get("lastTransitionTime")))
    left_s = (since + timedelta(seconds=deadline_s) - now).total_seconds()
    if left_s > 0:
        return found, left_s
    message = f'ReplicaSet "{name}" has timed out progressing.'
    return _put(found, "Progressing", "False", "ProgressDeadlineExceeded", message, now), None


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether more is updated, ready or available, or less of the old is left."""

    def of(status_: Mapping[str, Any], field: str) -> int:
        return int(status_.get(field) or 0)

    def left(status_: Mapping[str, Any]) -> int:
        return of(status_, "replicas") - of(status_, "updatedReplicas")

    fields = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return left(after) < left(before) or any(of(after, field) > of(before, field) for field in fields)


def _put(
    conditions: Sequence[Json],
    type_: str,
    value: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    fresh: bool = False,
) -> list[Json]:
    """Set a condition; the same status and reason leave it as it is, unless `fresh` moves its update time."""
    old = next((c for c in conditions if c.get("type") == type_), None)
    if old is not None and (old.get("status"), old.get("reason")) == (value, reason) and not fresh:
        return list(conditions)
    new = {
        "type": type_,
        "status": value,
        "reason": reason,
        "message": message,
        "lastUpdateTime": rfc3339(now),
    }
    return p.with_condition(list(conditions), new, now)
