"""What the pods of a predictor tell: how far the model is, and what went wrong; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.kinds import Deployment, Pod
from forebay.api.meta import Json
from forebay.api.states import FailureReason, ServedState
from forebay.control.held import NOT_STARTED, unplaced
from forebay.control.inferenceservice.storage import INITIALIZER

_TROUBLED = ("CrashLoopBackOff", *NOT_STARTED)


@dataclass(frozen=True)
class PodFailure:
    """The newest trouble of a pod."""

    pod: str
    kind: str
    message: str
    exit_code: int | None
    time: str
    reason: FailureReason

    def as_json(self) -> Json:
        """modelStatus.lastFailureInfo"""
        found: Json = {"reason": str(self.reason), "message": self.message, "location": self.pod}
        if self.exit_code is not None:
            found["exitCode"] = self.exit_code
        if self.time:
            found["time"] = self.time
        return found


@dataclass(frozen=True)
class PodsView:
    """All pods together: ready and failed ones counted, the newest one's state as the target."""

    ready: int
    failed: int
    target: ServedState
    failure: PodFailure | None
    phase: str = ""
    message: str = ""


def pods_view(pods: Sequence[Pod], deployment: Deployment | None) -> PodsView:
    """The sight of a predictor's pods."""
    alive = sorted(
        (p for p in pods if not p.deleting), key=lambda p: (str(p.meta.get("creationTimestamp")), p.name)
    )
    failures = {p.name: f for p in alive if (f := _failure(p)) is not None}
    ready = sum(_ready(p) for p in alive)
    wanted = int(deployment.spec.get("replicas") or 0) if deployment is not None else 0
    newest = alive[-1] if alive else None
    rolled = deployment is not None and _rolled_out(deployment)
    if ready and rolled and ready >= wanted:
        target = ServedState.LOADED
    else:
        target = _state(newest, failures) if newest is not None else ServedState.PENDING
    shown = failures.get(newest.name) if newest is not None else None
    phase, message = _waiting(newest) if newest is not None else ("", "")
    return PodsView(
        ready=ready, failed=len(failures), target=target, failure=shown, phase=phase, message=message
    )


def begun(pod: Pod) -> bool:
    """Whether a container of the pod has ever started: from then on there is something to lose."""
    statuses = [
        *(pod.status.get("initContainerStatuses") or []),
        *(pod.status.get("containerStatuses") or []),
    ]
    states = [s.get(part) or {} for s in statuses for part in ("state", "lastState")]
    return not pod.deleting and any(state.get("running") or state.get("terminated") for state in states)


def _rolled_out(deployment: Deployment) -> bool:
    told = deployment.status
    return int(told.get("observedGeneration") or 0) >= deployment.generation and int(
        told.get("updatedReplicas") or 0
    ) >= int(deployment.spec.get("replicas") or 0)


def _state(pod: Pod, failures: dict[str, PodFailure]) -> ServedState:
    if _ready(pod):
        return ServedState.LOADED
    if pod.name in failures:
        return ServedState.FAILED_TO_LOAD
    statuses = [
        *(pod.status.get("initContainerStatuses") or []),
        *(pod.status.get("containerStatuses") or []),
    ]
    started = any((s.get("state") or {}).get("running") for s in statuses)
    return ServedState.LOADING if started else ServedState.PENDING


def _ready(pod: Pod) -> bool:
    return any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in pod.status.get("conditions") or ()
    )


def _waiting(pod: Pod) -> tuple[str, str]:
    if said := unplaced(pod):
        return "Unschedulable", f"pod {pod.name}: {said}"
    for container in pod.status.get("initContainerStatuses") or ():
        if (container.get("state") or {}).get("running"):
            return "ModelLoading", f"pod {pod.name}: init container {container.get('name')} is running"
    for container in pod.status.get("containerStatuses") or ():
        if (container.get("state") or {}).get("running") and not container.get("ready"):
            return "ModelLoading", f"pod {pod.name}: {container.get('name')} is started and not ready yet"
    return "", ""


def _failure(pod: Pod) -> PodFailure | None:
    """Trouble of a pod that is not ready: a container that keeps failing or cannot start."""
    if _ready(pod):
        return None
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in pod.status.get(kind) or ():
            found = _container_failure(pod, container)
            if found is not None:
                return found
    return None


def _container_failure(pod: Pod, container: Json) -> PodFailure | None:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = ended or (container.get("lastState") or {}).get("terminated") or {}
    model = container.get("name") == INITIALIZER
    again = model and "running" in state and last.get("exitCode")  # it loops: this is no progress yet
    if not (again or waiting.get("reason") in _TROUBLED or (ended and ended.get("exitCode"))):
        return None
    looping = waiting.get("reason") == "CrashLoopBackOff"  # whose message only counts the seconds
    message = str(
        last.get("message") or ("" if looping else waiting.get("message")) or _ended(container, last)
    )
    return PodFailure(
        pod=pod.name,
        kind=str(waiting.get("reason") or last.get("reason") or "Error"),
        message=_sentence(message)[:1024],
        exit_code=int(last["exitCode"]) if "exitCode" in last else None,
        time=str(last.get("finishedAt") or ""),
        reason=FailureReason.MODEL_LOAD_FAILED if model or last else FailureReason.RUNTIME_UNHEALTHY,
    )


def _ended(container: Json, last: Json) -> str:
    what = f"container {container.get('name')} ended with exit code {last.get('exitCode', 'unknown')}"
    return f"{what}; `kubectl logs --previous` has what it said"


def _sentence(message: str) -> str:
    """The sentence of a termination message: our programs end with a JSON line that holds it."""
    lines = message.strip().splitlines() or [""]
    try:
        told = json.loads(lines[-1])
    except ValueError:
        return message.strip()
    return str(told["message"]) if isinstance(told, dict) and told.get("message") else message.strip()
