"""Reading request bodies as kube-apiserver reads them, with the sentences of Go's decoders.

Source: sigs.k8s.io/json (duplicate and unknown fields by path, type errors by Go struct and field).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from forebay.api import quantity
from forebay.api.meta import Json, Resource
from forebay.api.schema import structural
from forebay.api.schema.tables import Field, Struct, Type, struct, type_name
from forebay.errors import Invalid

Kind = type[Resource] | str  # a kind, or the name of a struct such as "meta.v1.DeleteOptions"
DEPTH_MAX = 500
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_LAYOUT = '"2006-01-02T15:04:05Z07:00"'


_MAYBE_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def whole_letters(body: bytes) -> bytes:
    """A JSON text whose halves of characters are U+FFFD, as in Go: they have no form in UTF-8."""
    if not _MAYBE_LONE.search(body):
        return body
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)


def parse_json(body: bytes) -> tuple[Json, list[str]]:
    """The object in a JSON body, and a sentence for every duplicate field. Raises Invalid (reason
    BadRequest)."""
    pairs_of: dict[int, list[tuple[str, Any]]] = {}
    keep: list[Any] = []

    def pairs(found: list[tuple[str, Any]]) -> Json:
        out = dict(found)
        if len(out) != len(found):
            pairs_of[id(out)] = found
            keep.append(out)  # keeps the id its own until the walk below
        return out

    try:
        raw = json.loads(
            whole_letters(body), object_pairs_hook=pairs, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise _bad(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(raw, dict):
        raise _bad(
            "couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{_word(raw)} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    duplicates = []
    for path, value in _walk(raw, ""):
        if isinstance(value, dict) and id(value) in pairs_of:
            seen: set[str] = set()
            for key, _ in pairs_of[id(value)]:
                if key in seen:
                    duplicates.append(f'duplicate field "{_join(path, key)}"')
                seen.add(key)
    return raw, duplicates


def check_types(raw: Any, kind: Kind) -> None:
    """For built-in kinds: raise Invalid (BadRequest) with Go's sentence where a value has the wrong type.

    Custom kinds pass: their types are a matter of validation (422), save for their metadata.
    """
    name = kind if isinstance(kind, str) else type_name(kind)
    if not name:
        if isinstance(kind, type):
            _check_custom(raw, kind)
        return
    try:
        _check(raw, Type("@", struct(name).go, struct=name), "", "")
    except Invalid as error:
        label = name.rsplit(".", 1)[-1]
        version = name.split(".")[1]
        message = f'{label} in version "{version}" cannot be handled as a {label}: {error.message}'
        raise Invalid(message, reason="BadRequest") from error


def _check_custom(raw: Any, kind: type[Resource]) -> None:
    try:
        _check(raw.get("metadata"), Type("@", "v1.ObjectMeta", struct="meta.v1.ObjectMeta"), "ObjectMeta", "")
    except Invalid as error:
        message = (
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"failed to decode metadata: {error.message}"
        )
        raise Invalid(message, reason="BadRequest") from error


def unknown_fields(raw: Json, kind: Kind) -> list[str]:
    """A sentence for every field that the kind does not know: `unknown field "spec.foo"`, in the object's
    order."""
    name = kind if isinstance(kind, str) else type_name(kind)
    if name:
        paths = _unknown(raw, struct(name), "")
    elif isinstance(kind, type) and (schema := structural.openapi_schema(kind)) is not None:
        paths = structural.unknown_paths(raw, schema, object_root=True)
    else:
        paths = iter(())
    return [f'unknown field "{path}"' for path in paths]


def unknown_in(raw: Any, struct_name: str, path: str) -> Iterator[str]:
    """Paths of fields that a built-in struct does not know, below `path`."""
    if isinstance(raw, dict):
        yield from _unknown(raw, struct(struct_name), path)


def strict_error(kind: type[Resource], sentences: list[str]) -> Invalid:
    """What fieldValidation=Strict answers."""
    label = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
    return Invalid(f"{label}: strict decoding error: {', '.join(sentences)}", reason="BadRequest")


def _unknown(raw: Json, shape: Struct, path: str) -> Iterator[str]:
    for key, value in raw.items():
        where = _join(path, key)
        known = shape.fields.get(key)
        if known is None:
            yield where
        else:
            yield from _unknown_value(value, known.type, where)


def _unknown_value(value: Any, kind: Type, path: str) -> Iterator[str]:
    if kind.code == "@" and isinstance(value, dict):
        yield from _unknown(value, struct(kind.struct), path)
    elif kind.code == "[" and isinstance(value, list) and kind.item is not None:
        for index, item in enumerate(value):
            yield from _unknown_value(item, kind.item, f"{path}[{index}]")
    elif kind.code == "{" and isinstance(value, dict) and kind.item is not None:
        for key, item in value.items():
            yield from _unknown_value(item, kind.item, _join(path, key))


def _check(value: Any, kind: Type, owner: str, path: str) -> None:
    if value is None:
        return
    if kind.code == "@":
        if not isinstance(value, dict):
            raise _mismatch(value, kind, owner, path)
        shape = struct(kind.struct)
        short = kind.struct.rsplit(".", 1)[-1]
        for key, item in value.items():
            known: Field | None = shape.fields.get(key)
            if known is not None:
                _check(item, known.type, short, _join(path, key))
    elif kind.code == "[":
        if not isinstance(value, list):
            raise _mismatch(value, kind, owner, path)
        for item in value:
            _check(item, kind.item or kind, owner, path)
    elif kind.code == "{":
        if not isinstance(value, dict):
            raise _mismatch(value, kind, owner, path)
        for item in value.values():
            _check(item, kind.item or kind, owner, path)
    else:
        _check_scalar(value, kind, owner, path)


_INTEGERS = {"i": 31, "l": 63}
_PLAIN: dict[str, type | tuple[type, ...]] = {"s": str, "y": str, "b": bool, "F": dict}


def _check_scalar(value: Any, kind: Type, owner: str, path: str) -> None:
    code = kind.code
    if code in _PLAIN and not isinstance(value, _PLAIN[code]):
        raise _mismatch(value, kind, owner, path)
    if code == "y":
        _check_base64(value)
    elif code in _INTEGERS:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _mismatch(value, kind, owner, path)
        if isinstance(value, float) or not -(2 ** _INTEGERS[code]) <= value < 2 ** _INTEGERS[code]:
            raise _mismatch(value, kind, owner, path, word=f"number {json.dumps(value)}")
    elif code == "f" and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise _mismatch(value, kind, owner, path)
    elif code == "q":
        _check_quantity(value)
    elif code == "x" and (not isinstance(value, int | str) or isinstance(value, bool)):
        raise _bad(f"json: cannot unmarshal {_word(value)} into Go value of type int32")
    elif code in "tT":
        _check_time(value)


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        found = re.search(r"[^A-Za-z0-9+/=]", value)
        at = found.start() if found else len(value) - len(value) % 4
        raise _bad(f"illegal base64 data at input byte {at}") from error


def _check_quantity(value: Any) -> None:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Invalid("not a number")
        quantity.parse(value)
    except Invalid as error:
        rule = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        raise _bad(rule) from error


def _check_time(value: Any) -> None:
    if not isinstance(value, str):
        raise _bad(f"json: cannot unmarshal {_word(value)} into Go value of type string")
    trouble = f'parsing time "{value}" as {_LAYOUT}: cannot parse "{value}" as "2006"'
    if not _TIME.fullmatch(value):
        raise _bad(trouble)
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise _bad(f'parsing time "{value}": day out of range') from error


def _mismatch(value: Any, kind: Type, owner: str, path: str, word: str = "") -> Invalid:
    place = f"Go struct field {owner}.{path}" if path else "Go value"
    return _bad(f"json: cannot unmarshal {word or _word(value)} into {place} of type {kind.go}")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    words: dict[type, str] = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return words.get(type(value), "null")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _walk(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > DEPTH_MAX:
        raise _bad(f"exceeded max depth of {DEPTH_MAX}")
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, _join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]", depth + 1)


def _no_constant(word: str) -> Any:
    raise ValueError(f"invalid character {word[0]!r} looking for beginning of value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"cannot unmarshal number {text} into Go value of type float64")
    return value


def _bad(message: str) -> Invalid:
    return Invalid(message, reason="BadRequest")
