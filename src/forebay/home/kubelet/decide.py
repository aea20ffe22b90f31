"""What to do next for one pod: a pure function of its spec, what was observed, and the time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forebay.home.kubelet.state import (
    ContainerPlan,
    ContainerSeen,
    Ended,
    Outcome,
    PodPlan,
    PodSeen,
    Running,
    Waiting,
    restarts,
)

SIDECAR_S = 2.0
RESET_S = 600.0  # a run this long forgets the crashes before it
DEADLINE = Outcome(
    "Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
)


@dataclass(frozen=True)
class Mount:
    """Prepare folders and volumes."""


@dataclass(frozen=True)
class Start:
    """Start a container's next run."""

    name: str


@dataclass(frozen=True)
class Stop:
    """Ask a container to end within `grace_s`."""

    name: str
    grace_s: float
    why: str = ""


@dataclass(frozen=True)
class Kill:
    """The grace is over."""

    name: str


@dataclass(frozen=True)
class Remove:
    """Nothing runs any more: take the pod out of the store."""


Action = Mount | Start | Stop | Kill | Remove


@dataclass(frozen=True)
class Decision:
    """Actions in order, when to look again (None: when something happens), who waits out a crash."""

    actions: tuple[Action, ...] = ()
    look_at: float | None = None
    backing_off: tuple[tuple[str, float], ...] = ()
    outcome: Outcome | None = None


def decide(plan: PodPlan, seen: PodSeen, now: float) -> Decision:
    """The next step. Carrying it out and asking again leads to a pod that runs, ended, or is gone."""
    outcome = seen.outcome or _outcome(plan, seen, now)
    if seen.deleting_grace_s is not None or outcome is not None:
        return _stopping(plan, seen, outcome, now)
    if not seen.mounted:
        due = seen.mount_at <= now
        return Decision(
            (Mount(),) if due else (), None if due else _soonest([seen.mount_at, _deadline(plan, seen)])
        )
    wanted = [c for c in plan.containers if _may_run(plan, seen, c)]
    starts: list[Action] = []
    waits: list[tuple[str, float]] = []
    for container in wanted:
        due_at = _due(plan, container, seen.containers[container.name])
        if due_at is not None and due_at <= now:
            starts.append(Start(container.name))
        elif due_at is not None:
            waits.append((container.name, due_at))
    stops, stop_times = _unhealthy(plan, seen, now)
    crashed = tuple(w for w in waits if isinstance(seen.containers[w[0]].state, Ended))
    times = [*(at for _, at in waits), *stop_times, _deadline(plan, seen)]
    return Decision((*starts, *stops), _soonest(times), crashed)


def _outcome(plan: PodPlan, seen: PodSeen, now: float) -> Outcome | None:
    """How the pod ended, if it did."""
    deadline = _deadline(plan, seen)
    if deadline is not None and now >= deadline:
        return DEADLINE
    for container in plan.containers:
        state = seen.containers[container.name].state
        if (
            container.role == "init"
            and isinstance(state, Ended)
            and state.code
            and not restarts(container, state)
        ):
            return Outcome("Failed")
    mains = [(c, seen.containers[c.name].state) for c in plan.containers if c.role == "main"]
    ends = [state for c, state in mains if isinstance(state, Ended) and not restarts(c, state)]
    if not mains or len(ends) < len(mains):
        return None
    return Outcome("Failed" if any(end.code for end in ends) else "Succeeded")


def _stopping(plan: PodPlan, seen: PodSeen, outcome: Outcome | None, now: float) -> Decision:
    """End what runs: containers first, sidecars when those are gone; then the pod itself if it is deleted."""
    running = [c for c in plan.containers if isinstance(seen.containers[c.name].state, Running)]
    if not running:
        return Decision((Remove(),) if seen.deleting_grace_s is not None else (), None, (), outcome)
    first = [c for c in running if c.role != "sidecar"] or list(reversed(running))
    grace = plan.grace_s if seen.deleting_grace_s is None else seen.deleting_grace_s
    if first[0].role == "sidecar":
        grace = _rest_of(grace, seen, now)
    actions: list[Action] = []
    times: list[float | None] = []
    for container in first:
        action, at = _stop(container, seen.containers[container.name], grace, now)
        actions += [action] if action else []
        times.append(at)
    return Decision(tuple(actions), _soonest(times), (), outcome)


def _rest_of(grace_s: float, seen: PodSeen, now: float) -> float:
    """Sidecars get what the containers left of the grace, and two seconds at least (if there is any)."""
    begun = min((c.stop_at for c in seen.containers.values() if c.stop_at is not None), default=now)
    return max(min(SIDECAR_S, grace_s), grace_s - (now - begun))


def _stop(
    plan: ContainerPlan, seen: ContainerSeen, grace_s: float, now: float
) -> tuple[Action | None, float | None]:
    """Stop once, kill once, at the right time."""
    if seen.stop_at is None:
        return Stop(plan.name, grace_s), now + grace_s
    kill_at = seen.stop_at + min(grace_s, seen.stop_grace_s)
    if seen.killed:
        return None, None
    return (Kill(plan.name), None) if now >= kill_at else (None, kill_at)


def _unhealthy(plan: PodPlan, seen: PodSeen, now: float) -> tuple[list[Action], list[float | None]]:
    actions: list[Action] = []
    times: list[float | None] = []
    for container in plan.containers:
        one = seen.containers[container.name]
        if one.unhealthy and isinstance(one.state, Running):
            action, at = _stop(container, one, _probe_grace(plan, container), now)
            if isinstance(action, Stop):
                action = Stop(action.name, action.grace_s, one.unhealthy)
            actions += [action] if action else []
            times.append(at)
    return actions, times


def _probe_grace(plan: PodPlan, container: ContainerPlan) -> float:
    for probe in ("livenessProbe", "startupProbe"):
        grace = (container.spec.get(probe) or {}).get("terminationGracePeriodSeconds")
        if grace is not None:
            return float(grace)
    return plan.grace_s


def _may_run(plan: PodPlan, seen: PodSeen, container: ContainerPlan) -> bool:
    """True if everything before the container in the init order is done; containers wait for all of it."""
    for earlier in plan.containers:
        if earlier is container:
            return True
        one = seen.containers[earlier.name]
        if earlier.role == "sidecar" and not one.passed:
            return False
        if earlier.role == "init" and not (isinstance(one.state, Ended) and one.state.code == 0):
            return False
    return True


def _due(plan: PodPlan, container: ContainerPlan, seen: ContainerSeen) -> float | None:
    """When the next run may start; None if it runs or is over."""
    if isinstance(seen.state, Waiting):
        return seen.state.retry_at
    if isinstance(seen.state, Running) or not restarts(container, seen.state):
        return None
    return seen.state.finished_at + delay_s(plan, seen.crashes)


def delay_s(plan: PodPlan, crashes: int) -> float:
    """The wait after the n-th end in a row: none after the first, then doubling up to the most."""
    if crashes <= 1:
        return 0.0
    return min(plan.backoff_most_s, plan.backoff_first_s * 2.0 ** min(crashes - 2, 30))


def _deadline(plan: PodPlan, seen: PodSeen) -> float | None:
    return None if plan.deadline_s is None else seen.started_at + plan.deadline_s


def _soonest(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)
