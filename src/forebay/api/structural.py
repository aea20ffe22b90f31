"""From pydantic models to OpenAPI v3 in Kubernetes' structural form.

A structural schema has a type on every node, no `$ref`, no `anyOf` beside int-or-string, and no titles. The
base class and the field types of our models are here too, because they exist for this form. Source:
"Specifying a structural schema" of Kubernetes' documentation on custom resources.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from forebay.api.meta import Json

_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY_PATTERN = rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$"
QUANTITY_SCHEMA: Json = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": QUANTITY_PATTERN,
    "x-kubernetes-int-or-string": True,
}
FREE_SCHEMA: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

Quantity = Annotated[str | int, WithJsonSchema(QUANTITY_SCHEMA)]
Free = Annotated[dict[str, Any], WithJsonSchema(FREE_SCHEMA)]  # an embedded Kubernetes object, kept as it is
FreeList = Annotated[list[dict[str, Any]], WithJsonSchema({"type": "array", "items": FREE_SCHEMA})]
Quantities = Annotated[
    dict[str, str | int], WithJsonSchema({"type": "object", "additionalProperties": QUANTITY_SCHEMA})
]
Int32 = Annotated[int, WithJsonSchema({"type": "integer", "format": "int32"})]
Int64 = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Strings = dict[str, str]
Immutable = {"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "StorageUri is immutable"}]}


class Fields(BaseModel):
    """Fields of an API object: camelCase outside, snake_case inside; what we do not know is kept (promise
    S7)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


def described(default: Any = ..., **schema: Any) -> Any:
    """A field with extra schema keys: `described(None, minItems=1)`; without a default it is required."""
    return Field(default, json_schema_extra=schema)


def schema_of(model: type[BaseModel]) -> Json:
    """The structural schema of one model, references resolved."""
    whole = model.model_json_schema(by_alias=True, mode="serialization")
    found = _structural(whole, whole.get("$defs", {}))
    assert isinstance(found, dict)
    return found


def object_schema(spec: type[BaseModel] | None, status: type[BaseModel] | None, **top: Json) -> Json:
    """The schema of a whole object: apiVersion, kind, metadata, spec, status and what else stands on top."""
    properties: Json = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **top,
    }
    if spec is not None:
        properties["spec"] = schema_of(spec)
    if status is not None:
        properties["status"] = schema_of(status)
    return {"type": "object", "properties": properties}


def _structural(node: Any, definitions: Json) -> Any:
    if isinstance(node, list):
        return [_structural(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _structural({**target, **rest}, definitions)
    if node.get("x-kubernetes-int-or-string"):
        return {key: value for key, value in node.items() if key not in ("title", "default")}
    node = _without_null(node)
    if "$ref" in node or node.get("x-kubernetes-int-or-string"):
        return _structural(node, definitions)
    return _kept(node, definitions)


def _kept(node: Json, definitions: Json) -> Json:
    found: Json = {}
    for key, value in node.items():
        if key in ("title", "description", "$defs") or (key == "additionalProperties" and value is True):
            continue
        if key == "default" and value in (None, [], {}):
            continue
        if key == "properties":
            found[key] = {name: _structural(field, definitions) for name, field in value.items()}
        elif key in ("items", "additionalProperties"):
            found[key] = _structural(value, definitions)
        else:
            found[key] = value
    return found


def _without_null(node: Json) -> Json:
    """`X | None` is an optional field: Kubernetes says that with `required`, not with a null type."""
    choices = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return node
    return {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
