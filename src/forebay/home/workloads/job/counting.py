"""Which pods of a Job ended how, counted exactly once; pure.

A finished pod keeps the finalizer until its uid is in `status.uncountedTerminatedPods`, and leaves that list
(and enters the counter) in one write after the finalizer is gone: no pod is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forebay.api.kinds import Job, Pod
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.job import policy
from forebay.kit.clock import parse_rfc3339

TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True)
class Tally:
    """Counts with what this look added; `release` are pods whose finalizer may go after the status write."""

    succeeded: int
    failed: int
    active: tuple[Pod, ...]
    ready: int
    terminating: int
    uncounted: Json
    counters: Mapping[str, int]
    release: tuple[Pod, ...]
    last_failure: datetime | None
    failures_in_row: int


def tally(job: Job, pods: Sequence[Pod]) -> Tally:
    """Count the Job's pods."""
    counters = {way: int(job.status.get(way) or 0) for way in ("succeeded", "failed")}
    noted = job.status.get("uncountedTerminatedPods") or {}
    tracked = {pod.uid for pod in pods if TRACKING in pod.finalizers}
    uncounted: dict[str, list[str]] = {}
    for way in ("succeeded", "failed"):
        uids = list(noted.get(way) or [])
        uncounted[way] = [uid for uid in uids if uid in tracked]
        counters[way] += len(uids) - len(uncounted[way])
    known = {uid for uids in noted.values() for uid in uids}
    release = []
    for pod in sorted(pods, key=lambda pod: (p.created(pod), pod.name)):
        end = _ended(pod)
        if pod.uid not in tracked or end is None:
            continue
        release.append(pod)
        if pod.uid not in known and not (end == "failed" and policy.ignores(job, pod)):
            uncounted[end].append(pod.uid)
    active = tuple(pod for pod in pods if _ended(pod) is None)
    last, in_row = _failures(pods)
    return Tally(
        counters["succeeded"] + len(uncounted["succeeded"]),
        counters["failed"] + len(uncounted["failed"]),
        active,
        sum(p.ready(pod) for pod in active),
        sum(pod.deleting and not p.finished(pod) for pod in pods),
        {way: uids for way, uids in uncounted.items() if uids},
        counters,
        tuple(release),
        last,
        in_row,
    )


def _ended(pod: Pod) -> str | None:
    """succeeded, failed (a pod that someone deletes has failed), or None."""
    phase = pod.status.get("phase")
    if phase == "Succeeded":
        return "succeeded"
    return "failed" if phase == "Failed" or pod.deleting else None


def _failures(pods: Sequence[Pod]) -> tuple[datetime | None, int]:
    """When the last pod failed, and how many failed since the last success (times are whole seconds: the
    success of the same second is the later one)."""
    over = [pod for pod in pods if p.finished(pod)]
    ended = sorted((finished_at(pod), pod.status["phase"] == "Succeeded") for pod in over)
    in_row = 0
    for _, succeeded in reversed(ended):
        if succeeded:
            break
        in_row += 1
    return (ended[-1][0], in_row) if in_row else (None, 0)


def finished_at(pod: Pod) -> datetime:
    """When the last container ended; otherwise when the pod was deleted or last changed its readiness."""
    times = [
        str(at)
        for status in _container_statuses(pod)
        if (at := ((status.get("state") or {}).get("terminated") or {}).get("finishedAt"))
    ]
    ready = p.condition(pod, "Ready") or {}
    times = times or [
        str(pod.meta.get("deletionTimestamp") or ready.get("lastTransitionTime") or p.created(pod))
    ]
    return max(parse_rfc3339(text) for text in times)


def _container_statuses(pod: Pod) -> list[dict[str, Any]]:
    return [*(pod.status.get("initContainerStatuses") or []), *(pod.status.get("containerStatuses") or [])]
