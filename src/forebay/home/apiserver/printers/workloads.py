"""Rows of what makes pods: Deployment, ReplicaSet, DaemonSet, Job, ControllerRevision,
HorizontalPodAutoscaler."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.home.apiserver.printers.words import (
    NONE,
    UNKNOWN,
    UNSET,
    age,
    condition,
    containers,
    duration,
    label_map,
    moment,
    objects,
    part,
    selector,
)

_WIDE = ("+Containers", "+Images", "+Selector")
DEPLOYMENT = ("Name", "Ready", "Up-to-date", "Available", "Age", *_WIDE)
REPLICA_SET = ("Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", *_WIDE)
SCALE = ("Name", "Desired:integer", "Available:integer", "Age")
DAEMON_SET = (
    "Name", "Desired:integer", "Current:integer", "Ready:integer", "Up-to-date:integer", "Available:integer",
    "Node Selector", "Age", *_WIDE,
)  # fmt: skip
JOB = ("Name", "Status", "Completions", "Duration", "Age", *_WIDE)
CONTROLLER_REVISION = ("Name", "Controller", "Revision", "Age")
AUTOSCALER = ("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age")
_JOB_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
_METRICS_MAX = 2


def _number(place: Json, name: str) -> int:
    return int(place.get(name) or 0)


def _wide(raw: Json) -> list[str]:
    return [*containers(part(raw, "spec", "template", "spec")), selector(part(raw, "spec").get("selector"))]


def deployment(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of DEPLOYMENT."""
    spec, status = part(raw, "spec"), part(raw, "status")
    ready = f"{_number(status, 'readyReplicas')}/{_number(spec, 'replicas')}"
    counts = [_number(status, name) for name in ("updatedReplicas", "availableReplicas")]
    return [raw["metadata"]["name"], ready, *counts, age(raw, now), *_wide(raw)]


def replica_set(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of REPLICA_SET."""
    status = part(raw, "status")
    counts = [
        _number(part(raw, "spec"), "replicas"),
        _number(status, "replicas"),
        _number(status, "readyReplicas"),
    ]
    return [raw["metadata"]["name"], *counts, age(raw, now), *_wide(raw)]


def replication_controller(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of REPLICA_SET; the selector is a plain map."""
    return [*replica_set(raw, now)[:-1], label_map(part(raw, "spec", "selector"))]


def scale(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of SCALE."""
    counts = [_number(part(raw, "spec"), "replicas"), _number(part(raw, "status"), "replicas")]
    return [raw["metadata"]["name"], *counts, age(raw, now)]


def daemon_set(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of DAEMON_SET."""
    status = part(raw, "status")
    names = (
        "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
        "numberAvailable",
    )  # fmt: skip
    nodes = label_map(part(raw, "spec", "template", "spec", "nodeSelector"))
    counts = [_number(status, name) for name in names]
    return [raw["metadata"]["name"], *counts, nodes, age(raw, now), *_wide(raw)]


def job(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of JOB."""
    spec, status = part(raw, "spec"), part(raw, "status")
    done, parallel = _number(status, "succeeded"), _number(spec, "parallelism")
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        completions = f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    start, end = moment(status.get("startTime")), moment(status.get("completionTime"))
    span = "" if start is None else duration(((end or now) - start).total_seconds())
    return [raw["metadata"]["name"], _job_status(raw), completions, span, age(raw, now), *_wide(raw)]


def _job_status(raw: Json) -> str:
    def holds(name: str) -> bool:
        return condition(raw, name).get("status") == "True"

    for name in ("Complete", "Failed"):
        if holds(name):
            return name
    if raw["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((name for name in _JOB_STATES if holds(name)), "Running")


def controller_revision(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of CONTROLLER_REVISION."""
    owner = next((one for one in objects(raw, "metadata", "ownerReferences") if one.get("controller")), None)
    name = NONE
    if owner is not None:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        name = f"{str(owner.get('kind', '')).lower()}{'.' * bool(group)}{group}/{owner.get('name')}"
    return [raw["metadata"]["name"], name, raw.get("revision", 0), age(raw, now)]


def autoscaler(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of AUTOSCALER."""
    spec, status = part(raw, "spec"), part(raw, "status")
    target = part(spec, "scaleTargetRef")
    least = spec.get("minReplicas")
    return [
        raw["metadata"]["name"], f"{target.get('kind', '')}/{target.get('name', '')}", _metrics(spec, status),
        UNSET if least is None else str(least), _number(spec, "maxReplicas"), _number(status,
        "currentReplicas"),
        age(raw, now),
    ]  # fmt: skip


def _metrics(spec: Json, status: Json) -> str:
    current = objects(status, "currentMetrics")
    shown = [
        _metric(one, current[index] if index < len(current) else {})
        for index, one in enumerate(objects(spec, "metrics"))
    ]
    more = len(shown) - _METRICS_MAX
    text = ", ".join(shown[:_METRICS_MAX]) or NONE
    return f"{text} + {more} more..." if more > 0 else text


def _metric(spec: Json, status: Json) -> str:
    source = {
        "External": "external", "Pods": "pods", "Object": "object", "Resource": "resource",
        "ContainerResource": "containerResource",
    }.get(str(spec.get("type")), "")  # fmt: skip
    if not source:
        return "<unknown type>"
    wanted, now = part(spec, source, "target"), part(status, source, "current")
    average = wanted.get("averageValue")
    if source in ("resource", "containerResource"):
        name = part(spec, source).get("name", "")
        if average is not None:
            return f"{name}: {now.get('averageValue', UNKNOWN)}/{average}"
        use, aim = now.get("averageUtilization"), wanted.get("averageUtilization")
        return f"{name}: {UNKNOWN if use is None else f'{use}%'}/{'<auto>' if aim is None else f'{aim}%'}"
    if average is not None:
        suffix = "" if source == "pods" else " (avg)"
        return f"{now.get('averageValue', UNKNOWN)}/{average}{suffix}"
    return f"{now.get('value', UNKNOWN)}/{wanted.get('value', '0')}"
