"""Whether an object is asked for: namespace, name, label and field selectors."""

from __future__ import annotations

from typing import Any

from forebay.api.meta import Json
from forebay.api.selectors import Requirement, matches, parse_fields
from forebay.store.protocol import Where


def wanted(where: Where, raw: Json) -> bool:
    """True if `raw` matches all of `where`. Raises Invalid for a selector that cannot be read."""
    meta = raw["metadata"]
    if where.namespace and meta.get("namespace", "") != where.namespace:
        return False
    if where.name and meta["name"] != where.name:
        return False
    if where.labels and not matches(where.labels, meta.get("labels") or {}):
        return False
    return not where.fields or all(_holds(raw, need) for need in parse_fields(where.fields))


# What Go says of a field that is not set: its zero value, where it is no text.
_UNSET = {
    ("Pod", "spec.hostNetwork"): "false",
    ("Node", "spec.unschedulable"): "false",
    ("Job", "status.succeeded"): "0",
}


def _holds(raw: Json, need: Requirement) -> bool:
    at: Any = raw
    for step in need.key.split("."):
        at = at.get(step) if isinstance(at, dict) else None
    if at is None:
        at = _UNSET.get((raw.get("kind", ""), need.key))
    if isinstance(at, bool):
        at = "true" if at else "false"
    return (str(at if at is not None else "") == need.values[0]) is (need.operator == "=")
