"""Custom kinds: their structural OpenAPI v3 schemas, pruning, unknown fields and defaults.

Source of the rules: the structural schemas of apiextensions.k8s.io/v1. `apiVersion`, `kind` and `metadata`
are known at the root and in embedded resources whatever the schema says.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from forebay.api import ours
from forebay.api.meta import Json, Resource

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
_ENVELOPE = ("apiVersion", "kind", "metadata")


def openapi_schema(kind: type[Resource]) -> Json | None:
    """The structural schema of a posted kind or of one of ours; None for built-in kinds and schemaless
    ones."""
    carried = getattr(kind, "openapi", None)
    if carried is not None:
        return carried  # type: ignore[no-any-return]
    return ours.schemas().get(kind)


def _known(schema: Json, key: str, root: bool) -> tuple[bool, Json | None]:
    """Whether an object's key may stay, and the schema of its value if there is one."""
    properties: Json = schema.get("properties") or {}
    if root and key in _ENVELOPE:
        return True, None
    if key in properties:
        return True, properties[key]
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return True, more
    return bool(more) or bool(schema.get(PRESERVE)), None


def unknown_paths(value: Any, schema: Json, path: str = "", *, object_root: bool = False) -> Iterator[str]:
    """Paths of what pruning would drop; metadata is checked as an ObjectMeta."""
    if isinstance(value, dict):
        root = object_root or bool(schema.get(EMBEDDED))
        if _free(schema, root):
            return
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            stays, below = _known(schema, key, root)
            if not stays:
                yield where
            elif root and key == "metadata":
                yield from _unknown_metadata(item, where)
            elif below is not None:
                yield from unknown_paths(item, below, where)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from unknown_paths(item, schema["items"], f"{path}[{index}]")


def _unknown_metadata(value: Any, path: str) -> Iterator[str]:
    from forebay.api.schema.decode import unknown_in  # decode reads this module for custom kinds

    yield from unknown_in(value, "meta.v1.ObjectMeta", path)


def _free(schema: Json, root: bool) -> bool:
    """Whether a schema says nothing about the fields of an object (int-or-string, or no type at all)."""
    return not root and "type" not in schema and not schema.get("properties") and not schema.get(EMBEDDED)


def pruned(value: Any, schema: Json, *, object_root: bool = False) -> Any:
    """A copy without the fields that the schema does not know."""
    if isinstance(value, dict):
        root = object_root or bool(schema.get(EMBEDDED))
        if _free(schema, root):
            return value
        out: Json = {}
        for key, item in value.items():
            stays, below = _known(schema, key, root)
            if stays:
                out[key] = item if below is None else pruned(item, below)
        return out
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [pruned(item, schema["items"]) for item in value]
    return value


def defaulted(value: Any, schema: Json) -> Any:
    """A copy with the schema's defaults; a null for a field that has a default and is not nullable gives
    way to it."""
    if isinstance(value, dict):
        out = dict(value)
        properties: Json = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        for key, below in properties.items():
            if "default" not in below:
                continue
            if key not in out or (out[key] is None and not below.get("nullable")):
                out[key] = copy.deepcopy(below["default"])
        for key in [key for key, item in out.items() if item is None]:
            below = properties.get(key) or (more if isinstance(more, dict) else None)
            if below is not None and not below.get("nullable"):
                del out[key]
        for key, item in out.items():
            below = properties.get(key) or (more if isinstance(more, dict) else None)
            if below is not None:
                out[key] = defaulted(item, below)
        return out
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [defaulted(item, schema["items"]) for item in value]
    return value
