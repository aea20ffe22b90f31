"""Validation of custom objects against their structural schema, with kube-apiserver's messages.

Source: kube-openapi's validator (wording) and apiextensions-apiserver (order: schema, list types, then CEL
rules).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause
from forebay.api.schema.structural import EMBEDDED, INT_OR_STRING

_ROOT_FIELDS = ("apiVersion", "kind", "metadata")


def violations(value: Any, schema: Json, path: str = "", *, object_root: bool = False) -> Iterator[Cause]:
    """Everything the schema forbids about `value` (CEL rules apart), depth first."""
    if value is None:
        if not schema.get("nullable") and ("type" in schema or schema.get(INT_OR_STRING)):
            yield _wrong_type(path, "null", _types(schema))
        return
    word = _word(value)
    types = _types(schema)
    if types and not _fits(value, word, types):
        yield _wrong_type(path, word, types)
        yield from _combined(value, schema, path)
        return
    if "enum" in schema and value not in schema["enum"]:
        listed = [one if isinstance(one, str) else json.dumps(one) for one in schema["enum"]]
        yield causes.unsupported(path, value, listed)
    yield from _of_one_type(value, schema, path, object_root)
    yield from _combined(value, schema, path)


def _of_one_type(value: Any, schema: Json, path: str, root: bool) -> Iterator[Cause]:
    if isinstance(value, str):
        yield from _text(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, path)
    elif isinstance(value, list):
        yield from _items(value, schema, path)
    elif isinstance(value, dict):
        yield from _object(value, schema, path, root or bool(schema.get(EMBEDDED)))


def _types(schema: Json) -> tuple[str, ...]:
    if schema.get(INT_OR_STRING):
        return ("integer", "string")
    return (schema["type"],) if "type" in schema else ()


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    words: dict[type, str] = {str: "string", int: "integer", list: "array", dict: "object"}
    return words[type(value)]


def _fits(value: Any, word: str, types: tuple[str, ...]) -> bool:
    return word in types or ("number" in types and word == "integer")


def _wrong_type(path: str, word: str, types: tuple[str, ...]) -> Cause:
    return causes.type_invalid(
        path, word, f'{path} in body must be of type {",".join(types) or "object"}: "{word}"'
    )


@lru_cache(maxsize=512)
def pattern(text: str) -> re.Pattern[str]:
    """A schema's pattern; Go's RE2 and Python agree on what schemas use, save `\\z`. Raises re.error."""
    return re.compile(text.replace("\\z", "\\Z"))


def _text(value: str, schema: Json, path: str) -> Iterator[Cause]:
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield causes.too_long(path, int(schema["maxLength"]))
    if "minLength" in schema and len(value) < schema["minLength"]:
        yield causes.invalid(
            path, value, f"{path} in body should be at least {schema['minLength']} chars long"
        )
    if "pattern" in schema and pattern(schema["pattern"]).search(value) is None:
        yield causes.invalid(path, value, f"{path} in body should match '{schema['pattern']}'")
    test = _FORMATS.get(schema.get("format", ""))
    if test is not None and not test(value):
        detail = f"{path} in body must be of type {schema['format']}: {json.dumps(value)}"
        yield causes.type_invalid(path, value, detail)


def _is_date_time(value: str) -> bool:
    try:
        return "T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _is_date_time,
    "date": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None,
    "uuid": lambda value: (
        re.fullmatch(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", value) is not None
    ),
    "ipv4": lambda value: re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", value) is not None,
    "uri": lambda value: re.match(r"^([a-zA-Z][a-zA-Z0-9+.-]*:|/)", value) is not None,
}


def _number(value: float, schema: Json, path: str) -> Iterator[Cause]:
    bounds = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bounds is not None and not -(2**bounds) <= value < 2**bounds:
        detail = f"{path} in body must be of type {schema['format']}: {json.dumps(value)}"
        yield causes.type_invalid(path, value, detail)
    if "maximum" in schema:
        top, exclusive = schema["maximum"], schema.get("exclusiveMaximum")
        if value > top or (exclusive and value == top):
            words = "less than" if exclusive else "less than or equal to"
            yield causes.invalid(path, value, f"{path} in body should be {words} {top}")
    if "minimum" in schema:
        bottom, exclusive = schema["minimum"], schema.get("exclusiveMinimum")
        if value < bottom or (exclusive and value == bottom):
            words = "greater than" if exclusive else "greater than or equal to"
            yield causes.invalid(path, value, f"{path} in body should be {words} {bottom}")
    step = schema.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step), abs_tol=1e-9):
        yield causes.invalid(path, value, f"{path} in body should be a multiple of {step}")


def _items(value: list[Any], schema: Json, path: str) -> Iterator[Cause]:
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield causes.too_many(path, len(value), int(schema["maxItems"]))
    if "minItems" in schema and len(value) < schema["minItems"]:
        yield causes.invalid(
            path, len(value), f"{path} in body should have at least {schema['minItems']} items"
        )
    below = schema.get("items")
    if isinstance(below, dict):
        for index, item in enumerate(value):
            yield from violations(item, below, f"{path}[{index}]")
    yield from _repeated(value, schema, path)


def _repeated(value: list[Any], schema: Json, path: str) -> Iterator[Cause]:
    list_type = schema.get("x-kubernetes-list-type")
    seen: set[str] = set()
    for index, item in enumerate(value):
        if list_type == "map" and isinstance(item, dict):
            item = {key: item.get(key) for key in schema.get("x-kubernetes-list-map-keys", ())}
        elif list_type != "set":
            return
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            yield causes.duplicate(f"{path}[{index}]", item)
        seen.add(text)


def _object(value: Json, schema: Json, path: str, root: bool) -> Iterator[Cause]:
    for key in schema.get("required") or ():
        if key not in value:
            yield causes.required(f"{path}.{key}" if path else key)
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        yield causes.too_many(path, len(value), int(schema["maxProperties"]))
    if "minProperties" in schema and len(value) < schema["minProperties"]:
        at_least = schema["minProperties"]
        yield causes.invalid(path, len(value), f"{path} in body should have at least {at_least} properties")
    properties: Json = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for key, item in value.items():
        if root and key in _ROOT_FIELDS:
            continue
        below = properties.get(key, more if isinstance(more, dict) else None)
        if below is not None:
            yield from violations(item, below, f"{path}.{key}" if path else key)


def _combined(value: Any, schema: Json, path: str) -> Iterator[Cause]:
    for one in schema.get("allOf") or ():
        yield from violations(value, one, path)
    if schema.get("anyOf"):
        tried = [list(violations(value, one, path)) for one in schema["anyOf"]]
        if all(tried):
            yield causes.invalid("<nil>", "", f'"{path}" must validate at least one schema (anyOf)')
            yield from tried[0]
    if schema.get("oneOf"):
        tried = [list(violations(value, one, path)) for one in schema["oneOf"]]
        valid = sum(not one for one in tried)
        if valid != 1:
            found = "none valid" if valid == 0 else f"{valid} valid alternatives"
            told = f'"{path}" must validate one and only one schema (oneOf). Found {found}'
            yield causes.invalid("<nil>", "", told)
            if valid == 0:
                yield from tried[0]
    if "not" in schema and not list(violations(value, schema["not"], path)):
        yield causes.invalid("<nil>", "", f'"{path}" must not validate the schema (not)')
