"""HorizontalPodAutoscaler of autoscaling/v1 and v2 are the same object in two forms; pure.

Source: k8s.io/kubernetes, pkg/apis/autoscaling/v1 conversions. The store keeps v2. What v1 has no field for
travels in annotations of Kubernetes' names; their values are v2's own form of it.
"""

from __future__ import annotations

import json
from typing import Any

from forebay.api import schema
from forebay.api.kinds import HorizontalPodAutoscaler
from forebay.api.meta import Json
from forebay.errors import Invalid

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_SPEC = {"behavior": f"{_PREFIX}behavior", "metrics": f"{_PREFIX}metrics"}
_STATUS = {"conditions": f"{_PREFIX}conditions", "currentMetrics": f"{_PREFIX}current-metrics"}
_TARGET, _CURRENT = "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"


def to_v1(raw: Json) -> Json:
    """The autoscaling/v1 form of a v2 object."""
    spec, status = dict(raw.get("spec") or {}), dict(raw.get("status") or {})
    notes: dict[str, str] = {}
    spec["metrics"], used = _without_cpu(spec.get("metrics"), "target")
    status["currentMetrics"], now = _without_cpu(status.get("currentMetrics"), "current")
    for place, names in ((spec, _SPEC), (status, _STATUS)):
        for field, note in names.items():
            found = place.pop(field, None)
            if found:
                notes[note] = json.dumps(found, separators=(",", ":"))
    if used is not None:
        spec[_TARGET] = used
    if now is not None:
        status[_CURRENT] = now
    meta = dict(raw["metadata"])
    if notes:
        meta["annotations"] = {**(meta.get("annotations") or {}), **notes}
    out = {**raw, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec}
    return {**out, "status": status} if "status" in raw else out


def from_v1(raw: Json) -> Json:
    """The v2 form of an autoscaling/v1 object. An annotation that cannot be read stays one."""
    spec, status, meta = raw.get("spec"), raw.get("status"), dict(raw["metadata"])
    notes = dict(meta.get("annotations") or {})
    if isinstance(spec, dict):
        spec = {**spec, **_taken(notes, "spec", _SPEC)}
        spec["metrics"] = [*_cpu(spec.pop(_TARGET, None), "target"), *spec.get("metrics", ())]
    if isinstance(status, dict):
        status = {**status, **_taken(notes, "status", _STATUS)}
        now = _cpu(status.pop(_CURRENT, None), "current")
        if now or "currentMetrics" in status:
            status["currentMetrics"] = [*now, *status.get("currentMetrics", ())]
    if "annotations" in meta:
        meta["annotations"] = notes
    out = {**raw, "apiVersion": "autoscaling/v2", "metadata": meta}
    return {**out, **{k: v for k, v in (("spec", spec), ("status", status)) if v is not None}}


def _without_cpu(metrics: Any, side: str) -> tuple[list[Json], int | None]:
    """(all other metrics, percent of cpu); only the first such metric is v1's own."""
    rest: list[Json] = []
    percent: int | None = None
    for one in metrics or ():
        source = one.get("resource") or {}
        found = (source.get(side) or {}).get("averageUtilization")
        if percent is None and found is not None and source.get("name") == "cpu":
            percent = found
        else:
            rest.append(one)
    return rest, percent


def _cpu(percent: Any, side: str) -> list[Json]:
    if percent is None:
        return []
    kind = {"type": "Utilization"} if side == "target" else {}
    value = {**kind, "averageUtilization": percent}
    return [{"type": "Resource", "resource": {"name": "cpu", side: value}}]


def _taken(notes: dict[str, str], part: str, names: dict[str, str]) -> Json:
    """The fields that annotations carry; they leave `notes`."""
    found: Json = {}
    for field, note in names.items():
        try:
            value = json.loads(notes.get(note, ""))
            schema.check_types({part: {field: value}}, HorizontalPodAutoscaler)
        except (ValueError, TypeError, RecursionError, Invalid):
            continue
        if value is not None:
            found[field] = value
            del notes[note]
    return found
