"""The row of a pod. Source: Kubernetes' own STATUS and RESTARTS columns (v1.34)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.home.apiserver.printers.words import NONE, age, condition, moment, objects, part, since

COLUMNS = (
    "Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates",
)  # fmt: skip


@dataclass
class _Count:
    """Restarts, and when the last one was."""

    restarts: int = 0
    last: str = ""

    def add(self, status: Json) -> None:
        self.restarts += int(status.get("restartCount") or 0)
        ended = part(status, "lastState", "terminated").get("finishedAt")
        if moment(ended) is not None and str(ended) > self.last:
            self.last = str(ended)


@dataclass
class _Seen:
    reason: str
    ready: int = 0
    total: int = 0
    count: _Count = field(default_factory=_Count)
    sidecars: _Count = field(default_factory=_Count)


def row(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of COLUMNS."""
    status, spec = part(raw, "status"), part(raw, "spec")
    seen = _Seen(str(status.get("reason") or status.get("phase") or ""))
    if condition(raw, "PodScheduled").get("reason") == "SchedulingGated":
        seen.reason = "SchedulingGated"
    sidecars = {
        str(one.get("name"))
        for one in objects(spec, "initContainers")
        if one.get("restartPolicy") == "Always"
    }
    seen.total = len(objects(spec, "containers")) + len(sidecars)
    initializing = _look_at_init(raw, seen, sidecars)
    if not initializing or condition(raw, "Initialized").get("status") == "True":
        _look_at_containers(raw, seen)
    if raw["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            seen.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            seen.reason = "Terminating"
    restarts = str(seen.count.restarts)
    if seen.count.restarts and seen.count.last:
        restarts += f" ({since(seen.count.last, now)} ago)"
    ready = f"{seen.ready}/{seen.total}"
    return [raw["metadata"]["name"], ready, seen.reason, restarts, age(raw, now), *_wide(raw)]


def _look_at_init(raw: Json, seen: _Seen, sidecars: set[str]) -> bool:
    """Whether init containers are still at work; their state is the pod's then."""
    total = len(objects(raw, "spec", "initContainers"))
    for index, one in enumerate(objects(raw, "status", "initContainerStatuses")):
        sidecar = one.get("name") in sidecars
        seen.count.add(one)
        if sidecar:
            seen.sidecars.add(one)
        ended, waiting = part(one, "state").get("terminated"), part(one, "state", "waiting")
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and one.get("started"):
            seen.ready += bool(one.get("ready"))
            continue
        if ended is not None:
            seen.reason = f"Init:{_end(ended)}"
        elif waiting.get("reason") not in (None, "", "PodInitializing"):
            seen.reason = f"Init:{waiting['reason']}"
        else:
            seen.reason = f"Init:{index}/{total}"
        return True
    return False


def _end(ended: Json) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _look_at_containers(raw: Json, seen: _Seen) -> None:
    seen.count, running = seen.sidecars, False
    for one in reversed(objects(raw, "status", "containerStatuses")):
        seen.count.add(one)
        state = part(one, "state")
        if part(state, "waiting").get("reason"):
            seen.reason = str(state["waiting"]["reason"])
        elif isinstance(state.get("terminated"), dict):
            seen.reason = _end(state["terminated"])
        elif one.get("ready") and "running" in state:
            running = True
            seen.ready += 1
    if seen.reason == "Completed" and running:
        seen.reason = "Running" if condition(raw, "Ready").get("status") == "True" else "NotReady"


def _wide(raw: Json) -> list[str]:
    spec, status = part(raw, "spec"), part(raw, "status")
    addresses = objects(status, "podIPs")
    address = addresses[0].get("ip") if addresses else status.get("podIP")
    gates = objects(spec, "readinessGates")
    true = sum(condition(raw, str(one.get("conditionType"))).get("status") == "True" for one in gates)
    return [
        str(address or NONE), str(spec.get("nodeName") or NONE), str(status.get("nominatedNodeName") or NONE),
        f"{true}/{len(gates)}" if gates else NONE,
    ]  # fmt: skip
