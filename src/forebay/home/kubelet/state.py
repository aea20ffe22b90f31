"""What the kubelet knows of one pod: plain values, changed by replacing them.

Times are seconds since the epoch. `runs` counts the starts of a container; Kubernetes' restartCount is one
less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from forebay.api.meta import Json

Role = Literal["init", "sidecar", "main"]
CREATING = "ContainerCreating"
LOST = "ContainerStatusUnknown"


@dataclass(frozen=True)
class Waiting:
    """Not running; the next attempt to start it is due at `retry_at`."""

    reason: str = CREATING
    message: str = ""
    retry_at: float = 0.0


@dataclass(frozen=True)
class Running:
    """Running since `started_at`."""

    started_at: float


@dataclass(frozen=True)
class Ended:
    """A finished run."""

    code: int
    started_at: float
    finished_at: float
    reason: str = ""
    message: str = ""
    signal: int = 0


State = Waiting | Running | Ended


@dataclass(frozen=True)
class ContainerSeen:
    """One container as observed. `failures` counts failed attempts to start it, `crashes` ends in a row."""

    state: State = Waiting()
    last: Ended | None = None
    runs: int = 0
    crashes: int = 0
    failures: int = 0
    started: bool = False  # its startup probe passed, or it has none
    ready: bool = False
    passed: bool = False  # a sidecar that was started once no longer holds up those after it
    unhealthy: str = ""  # why its probe wants it restarted
    stop_at: float | None = None  # when it was asked to stop
    stop_grace_s: float = 30.0
    killed: bool = False


@dataclass(frozen=True)
class ContainerPlan:
    """What the spec asks of one container."""

    name: str
    role: Role
    restart: str  # Always, OnFailure, Never: as it applies to this container
    spec: Json = field(default_factory=dict, hash=False)

    def has(self, probe: str) -> bool:
        """True if the container has the probe (startupProbe, readinessProbe, livenessProbe)."""
        return bool(self.spec.get(probe))


@dataclass(frozen=True)
class PodPlan:
    """What the spec asks: init containers and sidecars in order, then the containers."""

    containers: tuple[ContainerPlan, ...]
    deadline_s: float | None = None
    grace_s: float = 30.0
    backoff_first_s: float = 10.0
    backoff_most_s: float = 300.0


@dataclass(frozen=True)
class Outcome:
    """A terminal phase: Succeeded or Failed."""

    phase: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class PodSeen:
    """One pod as observed."""

    containers: Mapping[str, ContainerSeen]
    started_at: float
    mounted: bool = False
    mount_at: float = 0.0
    deleting_grace_s: float | None = None
    outcome: Outcome | None = None


def pod_plan(spec: Json, *, backoff_first_s: float = 10.0, backoff_most_s: float = 300.0) -> PodPlan:
    """The plan of a PodSpec."""
    policy = spec.get("restartPolicy") or "Always"
    containers = []
    for item in spec.get("initContainers") or []:
        sidecar = item.get("restartPolicy") == "Always"
        restart = "Always" if sidecar else ("Never" if policy == "Never" else "OnFailure")
        containers.append(ContainerPlan(item["name"], "sidecar" if sidecar else "init", restart, item))
    containers += [ContainerPlan(item["name"], "main", policy, item) for item in spec.get("containers") or []]
    grace = spec.get("terminationGracePeriodSeconds")
    return PodPlan(
        tuple(containers),
        deadline_s=spec.get("activeDeadlineSeconds"),
        grace_s=30.0 if grace is None else float(grace),
        backoff_first_s=backoff_first_s,
        backoff_most_s=backoff_most_s,
    )


def recovered(plan: PodPlan, status: Json, now: float) -> PodSeen:
    """What is known when the home starts: nothing runs any more, whatever the status says.

    A run that the status calls running was lost with the home and is started anew, whatever the restart
    policy: an interrupted Job goes on. What had ended and would not be restarted stays ended; init
    containers run again.
    """
    listed = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    known = {item["name"]: item for item in listed}
    outcome = None
    if status.get("phase") in ("Succeeded", "Failed"):
        outcome = Outcome(status["phase"], status.get("reason", ""), status.get("message", ""))
    containers = {
        item.name: _recovered(item, known.get(item.name, {}), now, finished=outcome is not None)
        for item in plan.containers
    }
    started = moment(status.get("startTime")) or now
    return PodSeen(containers, started, outcome=outcome)


def _recovered(plan: ContainerPlan, status: Json, now: float, *, finished: bool) -> ContainerSeen:
    state, last = status.get("state") or {}, _ended((status.get("lastState") or {}).get("terminated"))
    ended = _ended(state.get("terminated"))
    runs = int(status.get("restartCount") or 0) + (1 if state.get("running") or ended or last else 0)
    if ended is not None:
        keep = finished or (plan.role == "main" and not restarts(plan, ended))
        return ContainerSeen(ended if keep else Waiting(), None if keep else ended, runs)
    if state.get("running"):
        message = "The container ended with the home that ran it"
        began = moment(state["running"].get("startedAt")) or now
        last = Ended(137, began, now, LOST, message, 9)
        if finished:
            return ContainerSeen(last, None, runs)
    return ContainerSeen(Waiting(), last, runs)


def earlier(seen: PodSeen, by: float) -> PodSeen:
    """The same with every moment `by` seconds earlier: the wall clock was set back by so much."""

    def end(ended: Ended) -> Ended:
        return replace(ended, started_at=ended.started_at - by, finished_at=ended.finished_at - by)

    def state(now: State) -> State:
        match now:
            case Waiting():
                return replace(now, retry_at=now.retry_at - by)
            case Running():
                return replace(now, started_at=now.started_at - by)
        return end(now)

    containers = {
        name: replace(
            one,
            state=state(one.state),
            last=one.last and end(one.last),
            stop_at=None if one.stop_at is None else one.stop_at - by,
        )
        for name, one in seen.containers.items()
    }
    started, mount = seen.started_at - by, seen.mount_at - by
    return replace(seen, containers=containers, started_at=started, mount_at=mount)


def restarts(plan: ContainerPlan, ended: Ended) -> bool:
    """Whether the policy wants another run after this end."""
    if plan.role == "init" and ended.code == 0:
        return False
    return plan.restart == "Always" or (plan.restart == "OnFailure" and ended.code != 0)


def _ended(item: Json | None) -> Ended | None:
    if not item:
        return None
    finished = moment(item.get("finishedAt")) or 0.0
    return Ended(
        int(item.get("exitCode") or 0), moment(item.get("startedAt")) or finished, finished,
        item.get("reason", ""), item.get("message", ""), int(item.get("signal") or 0),
    )  # fmt: skip


def moment(text: str | None) -> float | None:
    """RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
