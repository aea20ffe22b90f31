"""Pruning and defaults of any kind: built-in by tables, custom by structural schema."""

from __future__ import annotations

from typing import cast

from forebay.api.meta import Json, Resource, json_copy
from forebay.api.schema import structural
from forebay.api.schema.defaults import apply_defaults
from forebay.api.schema.shape import encoded, known
from forebay.api.schema.tables import struct, type_name

_META = "meta.v1.ObjectMeta"


def pruned(raw: Json, kind: type[Resource]) -> Json:
    """A copy without what the kind does not know: unknown fields, nulls of built-in fields, unknown
    metadata."""
    name = type_name(kind)
    if name:
        return known(raw, struct(name))
    schema = structural.openapi_schema(kind)
    out = dict(raw) if schema is None else cast(Json, structural.pruned(raw, schema, object_root=True))
    if isinstance(raw.get("metadata"), dict):
        shape = struct(_META)
        out["metadata"] = encoded(known(raw["metadata"], shape), shape)
    return out


def defaulted(raw: Json, kind: type[Resource]) -> Json:
    """A copy with the defaults that kube-apiserver gives to such an object, in the form in which it stores
    it."""
    name = type_name(kind)
    if name:
        out: Json = json_copy(raw)
        if not isinstance(out.get("metadata"), dict):
            out["metadata"] = {}
        apply_defaults(out, kind)
        return encoded(out, struct(name))
    schema = structural.openapi_schema(kind)
    return dict(raw) if schema is None else cast(Json, structural.defaulted(raw, schema))
