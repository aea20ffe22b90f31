"""x-kubernetes-validations: the transition rules that our kinds use.

Only `self == oldSelf` is evaluated here, at any place that a path of properties reaches; `unchecked` lists
every other rule, so that whoever posts a definition is told that it will not be enforced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause

_UNCHANGED = re.compile(r"\s*(?:self\s*==\s*oldSelf|oldSelf\s*==\s*self)\s*")
_MISSING = object()


def broken_rules(new: Any, old: Any, schema: Json, path: str = "") -> Iterator[Cause]:
    """Transition rules that an update breaks. Values that appear or vanish are not compared, as in CEL."""
    if old is None or not isinstance(schema, dict):
        return
    for rule in schema.get("x-kubernetes-validations") or ():
        if _UNCHANGED.fullmatch(str(rule.get("rule", ""))) and new != old:
            told = str(rule.get("message") or f"failed rule: {rule['rule'].strip()}")
            yield _cause(path, schema, rule, told)
    if isinstance(new, dict) and isinstance(old, dict):
        more = schema.get("additionalProperties")
        for key, value in new.items():
            below = (schema.get("properties") or {}).get(key, more)
            was = old.get(key, _MISSING)
            if isinstance(below, dict) and was is not _MISSING:
                yield from broken_rules(value, was, below, f"{path}.{key}" if path else key)


def _cause(path: str, schema: Json, rule: Json, told: str) -> Cause:
    match rule.get("reason"):
        case "FieldValueForbidden":
            return causes.forbidden(path, told)
        case "FieldValueRequired":
            return causes.required(path, told)
        case "FieldValueDuplicate":
            return causes.duplicate(path, schema.get("type", "object"))
    return causes.invalid(path, schema.get("type", "object"), told)


def unchecked(schema: Any, path: str = "") -> Iterator[str]:
    """`spec.replicas: self <= 10` for every rule that is not evaluated."""
    if not isinstance(schema, dict):
        return
    for rule in schema.get("x-kubernetes-validations") or ():
        if not _UNCHANGED.fullmatch(str(rule.get("rule", ""))):
            yield f"{path}: {rule.get('rule')}"
    for key, below in (schema.get("properties") or {}).items():
        yield from unchecked(below, f"{path}.{key}" if path else key)
    for key in ("items", "additionalProperties"):
        yield from unchecked(schema.get(key), f"{path}[*]")


def warnings(crd: Json) -> list[str]:
    """What whoever posts a definition should know: its rules that nobody will enforce here."""
    found = []
    for version in (crd.get("spec") or {}).get("versions") or ():
        schema = ((version or {}).get("schema") or {}).get("openAPIV3Schema")
        found += [
            f"x-kubernetes-validations are not evaluated here, save self == oldSelf: {rule}"
            for rule in unchecked(schema)
        ]
    return found
