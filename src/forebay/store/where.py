"""Whether an object is asked for: namespace, name, label and field selectors."""

from __future__ import annotations

from typing import Any

from forebay.api.meta import Json
from forebay.api.selectors import matches
from forebay.errors import Invalid
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
    return not where.fields or all(
        _holds(raw, path, equal, value) for path, equal, value in field_terms(where.fields)
    )


def field_terms(text: str) -> list[tuple[str, bool, str]]:
    """`a.b=c,d!=e` as (path, equal, value). Raises Invalid."""
    terms = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        if "!=" in part:
            path, value = part.split("!=", 1)
            terms.append((path.strip(), False, value.strip()))
        elif "=" in part:
            path, value = part.split("=", 1)
            terms.append((path.strip(), True, value.lstrip("=").strip()))
        else:
            raise Invalid(f"invalid selector: '{text}'; can't understand '{part}'", reason="BadRequest")
    return terms


def _holds(raw: Json, path: str, equal: bool, value: str) -> bool:
    at: Any = raw
    for step in path.split("."):
        at = at.get(step) if isinstance(at, dict) else None
    if isinstance(at, bool):
        at = "true" if at else "false"
    return (str(at if at is not None else "") == value) is equal
