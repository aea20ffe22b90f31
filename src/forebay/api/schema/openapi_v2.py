"""The old OpenAPI v2 document, as JSON and as protobuf, out of the v3 ones: definitions only, no paths; pure.

Source: OpenAPI 2.0, and field numbers of gnostic's openapiv2/OpenAPIv2.proto, which is what clients ask for.
kubectl still reads it for `explain --output=plaintext-openapiv2`, and where it finds no v3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from forebay.api.meta import Json

_INFO = {"title": "Kubernetes", "version": "unversioned"}
_V3, _V2 = "#/components/schemas/", "#/definitions/"
_TEXTS = {"$ref": 1, "format": 2, "description": 4, "pattern": 13}
_ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _REQUIRED, _EXTENSION = 21, 22, 23, 25, 19, 31


def openapi_v2(documents: Iterable[Json]) -> Json:
    """One document with the definitions of all these v3 documents."""
    found: Json = {}
    for document in documents:
        found |= document["components"]["schemas"]
    definitions = {name: _older(found[name]) for name in sorted(found)}
    return {"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": definitions}


def as_protobuf(document: Json) -> bytes:
    """The document in the encoding `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`."""
    info = _text(1, _INFO["title"]) + _text(2, _INFO["version"])
    definitions = b"".join(_bytes(1, _named(name, one)) for name, one in document["definitions"].items())
    return _text(1, document["swagger"]) + _bytes(2, info) + _bytes(8, b"") + _bytes(9, definitions)


def _older(schema: Json) -> Json:
    """A v3 schema in the words of v2: references stand alone, and one value has one type."""
    if "$ref" in schema:
        return {"$ref": str(schema["$ref"]).replace(_V3, _V2)}
    several: list[Json] = schema.get("allOf") or []
    if len(several) == 1 and "$ref" in several[0]:
        return _older(several[0]) | {
            name: value for name, value in schema.items() if name.startswith("x-kubernetes-")
        }
    out = {
        name: value for name, value in schema.items() if name not in ("oneOf", "anyOf", "allOf", "nullable")
    }
    if "oneOf" in schema or "anyOf" in schema:
        out.setdefault("type", "string")
    if isinstance(out.get("properties"), dict):
        out["properties"] = {name: _older(one) for name, one in out["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(out.get(name), dict):
            out[name] = _older(out[name])
    return out


def _schema(schema: Json) -> bytes:
    out = b"".join(_text(number, schema[name]) for name, number in _TEXTS.items() if name in schema)
    out += b"".join(_text(_REQUIRED, name) for name in schema.get("required") or ())
    extra = schema.get("additionalProperties")
    if extra is not None:
        out += _bytes(_ADDITIONAL, _varint(2 << 3) + _varint(extra) if extra in (True, False)
                      else _bytes(1, _schema(extra)))  # fmt: skip
    if "type" in schema:
        out += _bytes(_TYPE, _text(1, schema["type"]))
    if isinstance(schema.get("items"), dict):
        out += _bytes(_ITEMS, _bytes(1, _schema(schema["items"])))
    if schema.get("properties"):
        inside = b"".join(_bytes(1, _named(name, one)) for name, one in schema["properties"].items())
        out += _bytes(_PROPERTIES, inside)
    for name, value in schema.items():
        if name.startswith("x-"):
            out += _bytes(_EXTENSION, _text(1, name) + _bytes(2, _text(2, json.dumps(value) + "\n")))
    return out


def _named(name: str, schema: Json) -> bytes:
    return _text(1, name) + _bytes(2, _schema(schema))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: Any) -> bytes:
    return _bytes(number, str(value).encode())
