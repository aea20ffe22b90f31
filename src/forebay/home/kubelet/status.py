"""The PodStatus that clients see: a pure function of spec, observation and decision.

Source: core/v1 PodStatus and the wording of Kubernetes' kubelet (reasons and messages that people and tools
look for).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forebay.api import quantity
from forebay.api.meta import Json
from forebay.home.kubelet.decide import Decision, delay_s
from forebay.home.kubelet.state import (
    CREATING,
    ContainerPlan,
    ContainerSeen,
    Ended,
    PodPlan,
    PodSeen,
    Running,
)

ADDRESS = "127.0.0.1"
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True)
class About:
    """The pod beside its plan: the object as stored, and where the images of its containers come from."""

    raw: Json
    image_ids: Mapping[str, str]

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return str(self.raw["metadata"].get("uid", ""))

    @property
    def full_name(self) -> str:
        """NAME_NAMESPACE(UID), as the kubelet names a pod in messages."""
        meta = self.raw["metadata"]
        return f"{meta['name']}_{meta.get('namespace', '')}({self.uid})"


def pod_status(about: About, plan: PodPlan, seen: PodSeen, decision: Decision, now: float) -> Json:
    """The status to store; conditions of other writers and transition times come from the object."""
    before = about.raw.get("status") or {}
    phase = _phase(plan, seen)
    status: Json = {
        k: v for k, v in before.items() if k in ("nominatedNodeName", "resize", "observedGeneration")
    }
    status["phase"] = phase
    outcome = seen.outcome
    if outcome is not None and phase in ("Succeeded", "Failed"):
        status |= {k: v for k, v in (("reason", outcome.reason), ("message", outcome.message)) if v}
    status |= {
        "hostIP": ADDRESS, "hostIPs": [{"ip": ADDRESS}], "startTime": stamp(seen.started_at),
        "qosClass": before.get("qosClass") or qos_class(about.raw.get("spec") or {}),
    }  # fmt: skip
    if seen.mounted:
        status |= {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
    waits = dict(decision.backing_off)
    groups: dict[str, list[Json]] = {"initContainerStatuses": [], "containerStatuses": []}
    for container in plan.containers:
        group = "containerStatuses" if container.role == "main" else "initContainerStatuses"
        groups[group].append(_container(about, plan, container, seen.containers[container.name], waits))
    status |= {name: items for name, items in groups.items() if items}
    status["conditions"] = _conditions(about, plan, seen, phase, now)
    return status


def _phase(plan: PodPlan, seen: PodSeen) -> str:
    states = [seen.containers[c.name].state for c in plan.containers]
    if seen.outcome is not None and not any(isinstance(state, Running) for state in states):
        return seen.outcome.phase
    if seen.deleting_grace_s is not None and not any(isinstance(state, Running) for state in states):
        mains = [seen.containers[c.name].state for c in plan.containers if c.role == "main"]
        if all(isinstance(state, Ended) for state in mains):
            return "Failed" if any(isinstance(s, Ended) and s.code for s in mains) else "Succeeded"
    mains_begun = [seen.containers[c.name].runs > 0 for c in plan.containers if c.role == "main"]
    return "Running" if mains_begun and all(mains_begun) and initialized(plan, seen) else "Pending"


def initialized(plan: PodPlan, seen: PodSeen) -> bool:
    """True when every init container is done and every sidecar was started."""
    for container in plan.containers:
        one = seen.containers[container.name]
        if container.role == "init" and not (isinstance(one.state, Ended) and one.state.code == 0):
            return False
        if container.role == "sidecar" and not one.passed:
            return False
    return True


def _container(
    about: About, plan: PodPlan, container: ContainerPlan, seen: ContainerSeen, waits: Mapping[str, float]
) -> Json:
    running = isinstance(seen.state, Running)
    status: Json = {
        "name": container.name,
        "state": _state(about, plan, container, seen, waits),
        "lastState": {},
        "ready": seen.ready and running if container.role != "init" else _done(seen),
        "restartCount": max(0, seen.runs - 1),
        "image": container.spec.get("image", ""),
        "imageID": about.image_ids.get(container.name, "") if seen.runs else "",
        "started": running and seen.started,
    }
    last = seen.last
    if container.name in waits and isinstance(seen.state, Ended):
        last = seen.state
    if last is not None:
        status["lastState"] = {"terminated": _terminated(about, container, seen, last)}
    if seen.runs:
        status["containerID"] = _id(about, container, seen.runs)
    return status


def _done(seen: ContainerSeen) -> bool:
    return isinstance(seen.state, Ended) and seen.state.code == 0


def _state(
    about: About, plan: PodPlan, container: ContainerPlan, seen: ContainerSeen, waits: Mapping[str, float]
) -> Json:
    state = seen.state
    if isinstance(state, Running):
        return {"running": {"startedAt": stamp(state.started_at)}}
    if isinstance(state, Ended):
        if container.name not in waits:
            return {"terminated": _terminated(about, container, seen, state)}
        message = (
            f"back-off {_duration(delay_s(plan, seen.crashes))} restarting failed container={container.name}"
        )
        return {"waiting": {"reason": "CrashLoopBackOff", "message": f"{message} pod={about.full_name}"}}
    reason = state.reason
    if reason == CREATING and any(c.role != "main" for c in plan.containers) and not seen.runs:
        reason = "PodInitializing"
    return {"waiting": {"reason": reason} | ({"message": state.message} if state.message else {})}


def _terminated(about: About, container: ContainerPlan, seen: ContainerSeen, ended: Ended) -> Json:
    runs = (
        seen.runs
        if ended is seen.state
        else max(1, seen.runs - (1 if isinstance(seen.state, Running) else 0))
    )
    body: Json = {
        "exitCode": ended.code,
        "reason": ended.reason or ("Error" if ended.code else "Completed"),
        "startedAt": stamp(ended.started_at),
        "finishedAt": stamp(ended.finished_at),
        "containerID": _id(about, container, runs),
    }
    if ended.message:
        body["message"] = ended.message
    return body


def _id(about: About, container: ContainerPlan, runs: int) -> str:
    return f"process://{about.uid}/{container.name}/{runs - 1}"


def _conditions(about: About, plan: PodPlan, seen: PodSeen, phase: str, now: float) -> list[Json]:
    before = {c["type"]: c for c in (about.raw.get("status") or {}).get("conditions") or []}
    waiting_init = _names(plan, seen, ("init", "sidecar"))
    unready = _names(plan, seen, ("main", "sidecar"))
    finished = phase in ("Succeeded", "Failed")
    done = ("False", "PodCompleted" if phase == "Succeeded" else "PodFailed", "")
    containers = done if finished else _ready(unready)
    gates = _gates(about, before)
    ready = containers
    if containers[0] == "True" and gates:
        gate = f'corresponding condition of pod readiness gate "{gates[0]}" does not exist or is not True.'
        ready = ("False", "ReadinessGatesNotReady", gate)
    running = seen.mounted and not finished
    initial = ("True", "", "")
    if not initialized(plan, seen) and phase != "Succeeded":
        incomplete = f"containers with incomplete status: [{' '.join(waiting_init)}]"
        initial = ("False", "ContainersNotInitialized", incomplete)
    elif phase == "Succeeded":
        initial = ("True", "PodCompleted", "")
    wanted = {
        "PodReadyToStartContainers": ("True" if running else "False", "", ""),
        "Initialized": initial, "Ready": ready, "ContainersReady": containers,
        "PodScheduled": ("True", "", ""),
    }  # fmt: skip
    ours = [_condition(type_, *wanted[type_], before.get(type_), now) for type_ in CONDITIONS]
    return ours + [item for type_, item in before.items() if type_ not in wanted]


def _names(plan: PodPlan, seen: PodSeen, roles: tuple[str, ...]) -> list[str]:
    names = []
    for container in plan.containers:
        one = seen.containers[container.name]
        ok = _done(one) if container.role == "init" else (one.ready and isinstance(one.state, Running))
        if container.role == "sidecar" and roles[0] == "init":
            ok = one.passed
        if container.role in roles and not ok:
            names.append(container.name)
    return names


def _ready(unready: list[str]) -> tuple[str, str, str]:
    if not unready:
        return "True", "", ""
    return "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"


def _gates(about: About, conditions: Mapping[str, Json]) -> list[str]:
    gates = [g["conditionType"] for g in (about.raw.get("spec") or {}).get("readinessGates") or []]
    return [gate for gate in gates if conditions.get(gate, {}).get("status") != "True"]


def _condition(type_: str, status: str, reason: str, message: str, before: Json | None, now: float) -> Json:
    same = before is not None and before.get("status") == status
    since = before.get("lastTransitionTime") if before is not None and same else None
    item: Json = {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": since or stamp(now),
    }
    return item | {k: v for k, v in (("reason", reason), ("message", message)) if v}


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers."""
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    pairs = [_amounts(container) for container in containers]
    if not any(requests or limits for requests, limits in pairs):
        return "BestEffort"
    whole = all(set(limits) == {"cpu", "memory"} and requests == limits for requests, limits in pairs)
    return "Guaranteed" if whole else "Burstable"


def _amounts(container: Json) -> tuple[dict[str, Any], dict[str, Any]]:
    resources = container.get("resources") or {}
    limits = _positive(resources.get("limits"))
    return limits | _positive(resources.get("requests")), limits


def _positive(items: Json | None) -> dict[str, Any]:
    parsed = {name: quantity.parse(v) for name, v in (items or {}).items() if name in ("cpu", "memory")}
    return {name: amount for name, amount in parsed.items() if amount > 0}


def stamp(at: float) -> str:
    """metav1.Time of a moment in seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: float) -> str:
    """As Go prints a duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
