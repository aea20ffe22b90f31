"""Run pods of a Job until enough of them succeeded, or too many failed (kubernetes pkg/controller/job)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.api.kinds import Job, Pod
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Note, Update, changed_status
from forebay.home.workloads.job import indexed, policy
from forebay.home.workloads.job.counting import TRACKING, Tally, tally
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import parse_rfc3339, rfc3339

BACKOFF_FIRST_S, BACKOFF_MOST_S = 10.0, 600.0


@dataclass(frozen=True)
class Seen:
    """The Job, its own pods, and the names of all pods of the namespace."""

    job: Job
    pods: tuple[Pod, ...]
    taken: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


@dataclass(frozen=True)
class _End:
    """How a Job ends: Complete or Failed, why, in words."""

    type: str
    reason: str
    message: str


def decide(seen: Seen) -> Decision:
    """Count what ended, start what is missing, and say when it is over."""
    job, counts = seen.job, tally(seen.job, seen.pods)
    if _over(job) or job.deleting:
        return _after(seen, counts)
    end, suspended = _end(seen, counts), bool(job.spec.get("suspend"))
    kept, again_s = counts.active, None
    actions: list[Action] = []
    if end:
        actions += [Delete(pod) for pod in kept]
        kept = ()
    elif suspended:
        actions += _let_go(kept)
        kept = ()
    else:
        started, again_s = _started(seen, counts)
        actions += started
        actions += _surplus(seen, counts)
    status = _status(seen, counts, len(kept) + sum(isinstance(a, Create) for a in actions))
    status, notes = _with_conditions(seen, counts, status, end)
    released = [_without_finalizer(pod) for pod in counts.release]
    done = [*changed_status(job, status), *released, *notes, *actions]
    return Decision(tuple(done), p.soonest([again_s, _deadline_s(seen), _ttl_s(seen, status)]))


def _over(job: Job) -> bool:
    return any(c.get("status") == "True" for t in ("Complete", "Failed") if (c := p.condition(job, t)))


def _after(seen: Seen, counts: Tally) -> Decision:
    """A Job that is over, or being deleted, only lets its pods go, and goes itself when its time has come."""
    actions = released(seen.pods)
    if seen.job.deleting:
        return Decision(tuple(actions))
    actions += [Delete(pod) for pod in counts.active]
    left_s = _ttl_s(seen, seen.job.status)
    if left_s is not None and left_s <= 0:
        return Decision((*actions, Delete(seen.job, propagation="Foreground")))
    return Decision(tuple(actions), left_s)


def _end(seen: Seen, counts: Tally) -> _End | None:
    """Whether this look finds the Job at its end; once decided (the interim conditions) it stays."""
    for type_, interim in (("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")):
        found = p.condition(seen.job, interim)
        if found is not None and found.get("status") == "True":
            return _End(type_, found.get("reason", ""), found.get("message", ""))
    if (why := policy.fatal(seen.job, seen.pods)) is not None:
        return _End("Failed", "PodFailurePolicy", why)
    if _too_often(seen.job, counts):
        return _End("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if (left_s := _deadline_s(seen)) is not None and left_s <= 0:
        return _End("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = seen.job.spec.get("completions")
    done = _succeeded(seen, counts)
    if done >= completions if completions is not None else done and not counts.active:
        return _End("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _succeeded(seen: Seen, counts: Tally) -> int:
    """Pods that succeeded; in an indexed Job, numbers that did."""
    return len(indexed.completed(seen.job, seen.pods)) if indexed.is_indexed(seen.job) else counts.succeeded


def _too_often(job: Job, counts: Tally) -> bool:
    limit = int(job.spec.get("backoffLimit", 6))
    if counts.failed > limit:
        return True
    if ((job.spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    again = sum(
        int(c.get("restartCount", 0))
        for pod in counts.active
        for c in pod.status.get("containerStatuses") or []
    )
    return again >= limit if limit else again > 0


def _started(seen: Seen, counts: Tally) -> tuple[list[Action], float | None]:
    """New pods, or how long to wait after a failure: 10 s, 20 s, ... up to ten minutes."""
    job = seen.job
    missing = _wanted(seen, counts) - len(counts.active)
    if missing <= 0:
        return [], None
    if counts.last_failure is not None:
        wait_s = backoff_s(counts.failures_in_row - 1, first_s=BACKOFF_FIRST_S, most_s=BACKOFF_MOST_S)
        left_s = p.due_in_s(counts.last_failure, wait_s, seen.now)
        if left_s:
            return [], left_s
    actions: list[Action] = []
    for pod in _pods(seen, counts, missing):
        actions.append(Create(pod, job))
        actions.append(Note(job, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}"))
    return actions, None


def _pods(seen: Seen, counts: Tally, count: int) -> list[Pod]:
    names = _names(seen, counts, count)
    if not indexed.is_indexed(seen.job):
        return [_pod(seen.job, name) for name in names]
    made = []
    for index, name in zip(indexed.missing(seen.job, seen.pods, counts.active, count), names, strict=False):
        end = name.rpartition("-")[2]
        pod = _pod(seen.job, f"{seen.job.name[:50]}-{index}-{end}")
        indexed.number(pod, seen.job, index)
        made.append(pod)
    return made


def _names(seen: Seen, counts: Tally, count: int) -> list[str]:
    """Computed names, a new one after each end, so that a retry is not mistaken for the pod before it."""
    ended = counts.succeeded + counts.failed
    used, slot = set(seen.taken), ended
    found: list[str] = []
    while len(found) < count:
        name = f"{seen.job.name[: p.NAME_MAX - 6]}-{p.suffix(f'{seen.job.uid}/{slot}')}"
        slot += 1
        if name not in used:
            found.append(name)
    return found


def _wanted(seen: Seen, counts: Tally) -> int:
    parallel = int(seen.job.spec.get("parallelism", 1))
    completions = seen.job.spec.get("completions")
    if completions is None:
        return len(counts.active) if counts.succeeded else parallel
    return min(parallel, max(0, int(completions) - _succeeded(seen, counts)))


def _surplus(seen: Seen, counts: Tally) -> list[Action]:
    over = len(counts.active) - _wanted(seen, counts)
    order = sorted(counts.active, key=lambda pod: (p.ready(pod), bool(pod.spec.get("nodeName")), pod.name))
    return _let_go(tuple(order[: max(0, over)]))


def _let_go(pods: tuple[Pod, ...]) -> list[Action]:
    """Pods that we end ourselves lose their finalizer first: they have not failed and are not counted."""
    return [action for pod in pods for action in (_without_finalizer(pod), Delete(pod))]


def _pod(job: Job, name: str) -> Pod:
    pod = p.from_template(job, job.spec["template"], name)
    pod.meta["labels"] = {
        **pod.labels,
        "batch.kubernetes.io/controller-uid": job.uid,
        "batch.kubernetes.io/job-name": job.name,
        "controller-uid": job.uid,
        "job-name": job.name,
    }
    pod.meta["finalizers"] = [*pod.finalizers, TRACKING]
    return pod


def released(pods: Iterable[Pod]) -> list[Action]:
    """Take our finalizer off every pod that has it."""
    return [_without_finalizer(pod) for pod in pods if TRACKING in pod.finalizers]


def _without_finalizer(pod: Pod) -> Update:
    new = pod.copy()
    new.meta["finalizers"] = [f for f in pod.finalizers if f != TRACKING]
    new.meta.pop("resourceVersion", None)  # the kubelet writes the status meanwhile; we touch nothing of it
    return Update(new)


def _status(seen: Seen, counts: Tally, active: int) -> Json:
    status: Json = copy.deepcopy(seen.job.status)
    numbers = {"active": active, **counts.counters}
    for name, number in numbers.items():
        status[name] = number
        if not number:
            del status[name]
    status["terminating"], status["ready"] = counts.terminating, counts.ready if active else 0
    status["uncountedTerminatedPods"] = counts.uncounted
    if indexed.is_indexed(seen.job):
        status["completedIndexes"] = indexed.written(indexed.completed(seen.job, seen.pods))
    if not status.get("startTime") and not seen.job.spec.get("suspend"):
        status["startTime"] = rfc3339(seen.now)
    return status


def _with_conditions(seen: Seen, counts: Tally, status: Json, end: _End | None) -> tuple[Json, list[Action]]:
    job, now, notes = seen.job, seen.now, list[Action]()
    if end is None:
        return _with_suspension(seen, status)
    interim = "SuccessCriteriaMet" if end.type == "Complete" else "FailureTarget"
    _put(status, interim, "True", end.reason, end.message, now)
    if counts.active or counts.uncounted or counts.terminating:
        return status, notes
    _put(status, end.type, "True", end.reason, end.message, now)
    if end.type == "Complete":
        status["completionTime"] = rfc3339(now)
        notes.append(Note(job, "Normal", "Completed", "Job completed"))
    else:
        notes.append(Note(job, "Warning", end.reason, end.message))
    return status, notes


def _with_suspension(seen: Seen, status: Json) -> tuple[Json, list[Action]]:
    job, before = seen.job, p.condition(seen.job, "Suspended")
    was = before is not None and before.get("status") == "True"
    if job.spec.get("suspend"):
        status.pop("startTime", None)
        _put(status, "Suspended", "True", "JobSuspended", "Job suspended", seen.now)
        return status, [] if was else [Note(job, "Normal", "Suspended", "Job suspended")]
    if was:
        status["startTime"] = rfc3339(seen.now)
        _put(status, "Suspended", "False", "JobResumed", "Job resumed", seen.now)
        return status, [Note(job, "Normal", "Resumed", "Job resumed")]
    return status, []


def _put(status: Json, type_: str, value: str, reason: str, message: str, now: datetime) -> None:
    old = next((c for c in status.get("conditions") or [] if c.get("type") == type_), None)
    if old is not None and (old.get("status"), old.get("reason")) == (value, reason):
        return
    new = {
        "type": type_,
        "status": value,
        "reason": reason,
        "message": message,
        "lastProbeTime": rfc3339(now),
    }
    status["conditions"] = p.with_condition(status.get("conditions"), new, now)


def _deadline_s(seen: Seen) -> float | None:
    """Seconds left of activeDeadlineSeconds, or None."""
    limit, start = seen.job.spec.get("activeDeadlineSeconds"), seen.job.status.get("startTime")
    if limit is None or seen.job.spec.get("suspend"):
        return None
    since = parse_rfc3339(start) if start else seen.now
    return (since + timedelta(seconds=int(limit)) - seen.now).total_seconds()


def _ttl_s(seen: Seen, status: Json) -> float | None:
    """Seconds until a Job that is over shall be removed, or None."""
    ttl = seen.job.spec.get("ttlSecondsAfterFinished")
    ends = [
        c
        for c in status.get("conditions") or []
        if c["type"] in ("Complete", "Failed") and c["status"] == "True"
    ]
    if ttl is None or not ends:
        return None
    since = parse_rfc3339(ends[0]["lastTransitionTime"])
    return (since + timedelta(seconds=int(ttl)) - seen.now).total_seconds()
