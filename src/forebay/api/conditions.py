"""Conditions: one writer per type, times that change only when the status does.

Owners of each type:

| kind | type | written by |
|---|---|---|
| LocalModelCache, LocalModelNamespaceCache | Ready, Progressing | control.modelcache |
| LocalModelNodeGroup | Ready | control.nodegroup |
| InferenceService | PredictorReady, IngressReady, Ready, | control.inferenceservice |
| | CacheHit, Unsupported, Stopped | |
| LocalModelNode | all | the node's agent |
| Deployment, Job, DaemonSet, Pod, Node | all | the home's controllers (or Kubernetes') |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from forebay.api.meta import Json, Resource

OWNERS: Mapping[str, Mapping[str, str]] = {
    "LocalModelCache": {"Ready": "modelcache", "Progressing": "modelcache"},
    "LocalModelNamespaceCache": {"Ready": "modelcache", "Progressing": "modelcache"},
    "LocalModelNodeGroup": {"Ready": "nodegroup"},
    "InferenceService": dict.fromkeys(
        ("PredictorReady", "IngressReady", "Ready", "CacheHit", "Unsupported", "Stopped"), "inferenceservice"
    ),
}


@dataclass(frozen=True)
class Condition:
    """What a controller claims; `status` is True, False or Unknown, `severity` as KServe's (Info = not
    counted)."""

    type: str
    status: str
    reason: str
    message: str = ""
    severity: str = ""


def yes(type_: str, reason: str, message: str = "", *, severity: str = "") -> Condition:
    """A condition that holds."""
    return Condition(type_, "True", reason, message, severity)


def no(type_: str, reason: str, message: str, *, severity: str = "") -> Condition:
    """A condition that does not hold; the message says the next step."""
    return Condition(type_, "False", reason, message, severity)


def merged(
    before: Iterable[Mapping[str, Any]] | None, claims: Iterable[Condition], *, now: str, generation: int
) -> list[Json]:
    """The new list of conditions: `claims` replace those of their types, other types stay as they are.

    `now` (RFC 3339) becomes lastTransitionTime only where the status changes. In order of type, so that
    the same claims always give the same list.
    """
    old = {str(c.get("type")): dict(c) for c in before or ()}
    for claim in claims:
        old[claim.type] = _entry(old.get(claim.type), claim, now, generation)
    return [old[type_] for type_ in sorted(old)]


def _entry(before: Mapping[str, Any] | None, claim: Condition, now: str, generation: int) -> Json:
    entry: Json = {"type": claim.type, "status": claim.status, "reason": claim.reason}
    if claim.message:
        entry["message"] = claim.message
    if claim.severity:
        entry["severity"] = claim.severity
    same = before is not None and before.get("status") == claim.status and before.get("lastTransitionTime")
    entry["lastTransitionTime"] = before["lastTransitionTime"] if same and before else now
    entry["observedGeneration"] = generation
    return entry


def without(conditions: Iterable[Mapping[str, Any]] | None, *types: str) -> list[Json]:
    """The conditions but those of the given types."""
    return [dict(c) for c in conditions or () if c.get("type") not in types]


def find(item: Resource, type_: str) -> Mapping[str, Any]:
    """The object's condition of that type, or {}."""
    return next((c for c in item.status.get("conditions") or () if c.get("type") == type_), {})


def holds(item: Resource, type_: str) -> bool:
    """Whether the object's condition of that type is True."""
    return find(item, type_).get("status") == "True"
