"""OpenAPI v3 documents, one per group and version, as kubectl reads them for explain, apply and validation.

Source: the form of kube-apiserver's own /openapi/v3 documents (names of schemas, extensions, parameters).
Our own kinds have descriptions; Kubernetes' tables hold facts only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from forebay.api.described import described
from forebay.api.kinds import OURS
from forebay.api.meta import Json, Resource
from forebay.api.schema.structural import openapi_schema
from forebay.api.schema.tables import Field, Type, has_struct, struct, type_name

_REFS = "#/components/schemas/"
_MACHINERY = "io.k8s.apimachinery.pkg."
_META = _MACHINERY + "apis.meta.v1."
_LEAVES: dict[str, tuple[str, Json]] = {
    "q": (_MACHINERY + "api.resource.Quantity", {"oneOf": [{"type": "string"}, {"type": "number"}]}),
    "x": (
        _MACHINERY + "util.intstr.IntOrString",
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ),
    "t": (_META + "Time", {"type": "string", "format": "date-time"}),
    "T": (_META + "MicroTime", {"type": "string", "format": "date-time"}),
    "d": (_META + "Duration", {"type": "string"}),
    "r": (_MACHINERY + "runtime.RawExtension", {"type": "object"}),
    "F": (_META + "FieldsV1", {"type": "object"}),
    # Not empty: kubectl explain takes an empty schema for none.
    "j": (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        {"x-kubernetes-preserve-unknown-fields": True},
    ),
}
_PLAIN: dict[str, Json] = {
    "s": {"type": "string"}, "b": {"type": "boolean"}, "i": {"type": "integer", "format": "int32"},
    "l": {"type": "integer", "format": "int64"}, "f": {"type": "number", "format": "double"},
    "y": {"type": "string", "format": "byte"},
}  # fmt: skip
_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"


def openapi_v3(group: str, version: str, kinds: Iterable[type[Resource]]) -> Json:
    """The document of one group and version: its kinds' schemas, all they refer to, and their paths."""
    document = _Document()
    for kind in sorted(kinds, key=lambda one: one.plural):
        document.add(kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": document.paths,
        "components": {"schemas": dict(sorted(document.schemas.items()))},
    }


class _Document:
    def __init__(self) -> None:
        self.schemas: Json = {}
        self.paths: Json = {}

    def add(self, kind: type[Resource]) -> None:
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        name = type_name(kind)
        if name:
            reference = self._struct(name)
            self.schemas[reference]["x-kubernetes-group-version-kind"] = [gvk]
            if has_struct(f"{name}List"):
                listed = {**gvk, "kind": f"{kind.kind}List"}
                self.schemas[self._struct(f"{name}List")]["x-kubernetes-group-version-kind"] = [listed]
        else:
            reference = self._custom(kind, gvk)
        self._struct("meta.v1.DeleteOptions")
        self._struct("meta.v1.Status")
        self.paths.update(_paths(kind, gvk, reference, strategic=bool(name)))

    def _custom(self, kind: type[Resource], gvk: Json) -> str:
        prefix = ".".join(reversed(kind.group.split(".")))
        reference = f"{prefix}.{kind.version}.{kind.kind}"
        schema: Json = copy.deepcopy(openapi_schema(kind) or {"type": "object"})
        properties = schema.setdefault("properties", {})
        properties["apiVersion"], properties["kind"] = {"type": "string"}, {"type": "string"}
        if kind in OURS:
            schema = described(kind, schema)
            properties = schema["properties"]
        properties["metadata"] = {"allOf": [{"$ref": _REFS + self._struct("meta.v1.ObjectMeta")}]}
        schema["x-kubernetes-group-version-kind"] = [gvk]
        self.schemas[reference] = schema
        items = {"type": "array", "items": {"allOf": [{"$ref": _REFS + reference}]}}
        self.schemas[reference + "List"] = {
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "items": items,
                "metadata": {"allOf": [{"$ref": _REFS + self._struct("meta.v1.ListMeta")}]},
            },
            "x-kubernetes-group-version-kind": [{**gvk, "kind": f"{kind.kind}List"}],
        }  # fmt: skip
        return reference

    def _struct(self, name: str) -> str:
        reference = _reference(name)
        if reference in self.schemas:
            return reference
        schema: Json = {"type": "object"}
        self.schemas[reference] = schema  # first: structs refer to themselves (JSONSchemaProps)
        shape = struct(name)
        if shape.fields:
            schema["properties"] = {field.name: self._field(field) for field in shape.fields.values()}
        needed = [field.name for field in shape.fields.values() if field.required]
        if needed:
            schema["required"] = sorted(needed)
        return reference

    def _field(self, field: Field) -> Json:
        out = self._type(field.type)
        if field.type.code == "@" and not field.pointer:
            out["default"] = {}
        if field.default is not None:
            out["default"] = field.default
        for extension, value in (
            ("x-kubernetes-patch-strategy", ",".join(field.strategies)),
            ("x-kubernetes-patch-merge-key", field.merge_key),
            ("x-kubernetes-list-type", field.list_type),
            ("x-kubernetes-list-map-keys", list(field.list_keys)),
            ("x-kubernetes-map-type", field.map_type),
        ):
            if value:
                out[extension] = value
        return out

    def _type(self, kind: Type) -> Json:
        if kind.code == "@":
            return {"allOf": [{"$ref": _REFS + self._struct(kind.struct)}]}
        if kind.code == "[" and kind.item is not None:
            items = self._type(kind.item)
            return {"type": "array", "items": {**items, "default": {}} if kind.item.code == "@" else items}
        if kind.code == "{" and kind.item is not None:
            return {"type": "object", "additionalProperties": self._type(kind.item)}
        if kind.code in _LEAVES:
            name, leaf = _LEAVES[kind.code]
            self.schemas.setdefault(name, dict(leaf))
            return {"allOf": [{"$ref": _REFS + name}]}
        out = dict(_PLAIN[kind.code])
        return {**out, "enum": list(kind.enum)} if kind.enum else out


def _reference(name: str) -> str:
    package, _, short = name.rpartition(".")
    if package == "meta.v1":
        return _META + short
    if package == "apiextensions.v1":
        return f"io.k8s.apiextensions-apiserver.pkg.apis.{package}.{short}"
    return f"io.k8s.api.{package}.{short}"


def _paths(kind: type[Resource], gvk: Json, reference: str, *, strategic: bool) -> Iterator[tuple[str, Json]]:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    place = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    around = [_parameter("namespace", "path")] if kind.namespaced else []
    one, several = {"$ref": _REFS + reference}, {"$ref": f"{_REFS}{reference}List"}
    body = {"content": {"*/*": {"schema": one}}, "required": True}
    if kind.namespaced:
        yield f"{root}/{kind.plural}", {"get": _operation(gvk, "list", several)}
    yield (
        place,
        {
            "parameters": around,
            "get": _operation(gvk, "list", several),
            "post": {**_operation(gvk, "post", one, _WRITE), "requestBody": body},
            "delete": _operation(gvk, "deletecollection", {"$ref": _REFS + _META + "Status"}, ("dryRun",)),
        },
    )
    item = {
        "parameters": [*around, _parameter("name", "path")],
        "get": _operation(gvk, "get", one),
        "put": {**_operation(gvk, "put", one, _WRITE), "requestBody": body},
        "patch": _patch(gvk, one, strategic=strategic),
        "delete": _operation(gvk, "delete", {"$ref": _REFS + _META + "Status"}, ("dryRun",)),
    }
    yield place + "/{name}", item
    if kind.has_status:
        yield place + "/{name}/status", {key: value for key, value in item.items() if key != "delete"}


_WRITE = ("dryRun", "fieldManager", "fieldValidation")


def _parameter(name: str, place: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "string", "uniqueItems": True},
    }


def _operation(gvk: Json, action: str, answer: Json, query: tuple[str, ...] = ()) -> Json:
    out: Json = {
        "operationId": f"{action}{gvk['group'].replace('.', '')}{gvk['version']}{gvk['kind']}",
        "parameters": [_parameter(name, "query") for name in query],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }
    return out


def _patch(gvk: Json, one: Json, *, strategic: bool) -> Json:
    media: Any = (*_PATCHES, _STRATEGIC) if strategic else _PATCHES
    content = {name: {"schema": {"type": "object"}} for name in media}
    operation = _operation(gvk, "patch", one, (*_WRITE, "force"))
    return {**operation, "requestBody": {"content": content, "required": True}}
