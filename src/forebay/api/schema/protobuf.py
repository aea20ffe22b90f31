"""Kubernetes' protobuf bodies, read by the tables' field numbers.

The form: the magic `k8s\\0`, a runtime.Unknown (type, raw bytes), and in it the object itself. Source: the
documentation of
`application/vnd.kubernetes.protobuf` and the published message definitions (numbers in the generated tables).
"""

from __future__ import annotations

import base64
import json
import struct as binary
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema.tables import Struct, Type, name_of, struct
from forebay.errors import Invalid

MAGIC = b"k8s\x00"
DEPTH_MAX = 100


def is_protobuf(body: bytes) -> bool:
    """Whether a body starts like one."""
    return body.startswith(MAGIC)


def decode_protobuf(body: bytes) -> Json:
    """The JSON form of a protobuf body of a built-in kind. Raises Invalid (reason BadRequest)."""
    if not is_protobuf(body):
        raise _bad("the body does not start with the magic of Kubernetes' protobuf; send JSON instead")
    try:
        api_version, kind, raw = _envelope(body[len(MAGIC) :])
        name = name_of(api_version, kind)
        if not name:
            raise _bad(
                f'no kind "{kind}" is registered for version "{api_version}" in protobuf; send JSON instead'
            )
        return {"apiVersion": api_version, "kind": kind, **_message(raw, struct(name), 0)}
    except (IndexError, ValueError, binary.error, OverflowError) as error:
        raise _bad(
            f"the protobuf body is cut short or damaged ({error}); send it again, or as JSON"
        ) from error


def _envelope(data: bytes) -> tuple[str, str, bytes]:
    api_version = kind = ""
    raw = b""
    for number, value in _fields(data):
        if number == 1:
            parts = {n: _text(v) for n, v in _fields(_bytes(value))}
            api_version, kind = parts.get(1, ""), parts.get(2, "")
        elif number == 2:
            raw = _bytes(value)
    return api_version, kind, raw


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or bytes) in order; 8 and 4 byte values come as bytes. Raises IndexError,
    ValueError."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("a field is longer than its message")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _message(data: bytes, shape: Struct, depth: int) -> Json:
    if depth > DEPTH_MAX:
        raise ValueError("nested too deeply")
    out: Json = {}
    for number, value in _fields(data):
        field = shape.numbers.get(number)
        if field is None:
            continue
        kind = field.type
        if not field.name:
            out.update(_message(_bytes(value), struct(kind.struct), depth + 1))
        elif kind.code == "[" and not kind.wrapped:
            out.setdefault(field.name, []).append(_value(value, kind.item or kind, depth))
        elif kind.code == "{":
            key, item = _entry(_bytes(value), kind, depth)
            out.setdefault(field.name, {})[key] = item
        else:
            decoded = _value(value, kind, depth)
            if not _skipped(decoded, kind, field.omit_empty and not field.pointer):
                out[field.name] = decoded
    return out


def _skipped(value: Any, kind: Type, omit_empty: bool) -> bool:
    """Go's encoder writes zero values of optional fields that its JSON form leaves out."""
    return value is None or (omit_empty and kind.code != "@" and value in ("", 0, False))


def _entry(data: bytes, kind: Type, depth: int) -> tuple[str, Any]:
    key, item = "", _empty(kind.item or kind)
    for number, value in _fields(data):
        if number == 1:
            key = _text(value)
        elif number == 2:
            item = _value(value, kind.item or kind, depth)
    return key, item


def _empty(kind: Type) -> Any:
    return {"s": "", "y": "", "@": {}, "[": [], "q": "0"}.get(kind.code)


def _value(value: int | bytes, kind: Type, depth: int) -> Any:
    if kind.code == "@":
        return _message(_bytes(value), struct(kind.struct), depth + 1)
    if kind.code == "[":  # a named list, wrapped in a message of its own
        return [_value(v, kind.item or kind, depth) for n, v in _fields(_bytes(value)) if n == 1]
    return _SCALARS[kind.code](value)


def _time(value: int | bytes) -> str | None:
    parts = dict(_fields(_bytes(value)))
    seconds, nanos = _signed(parts.get(1, 0)), _signed(parts.get(2, 0))
    if not parts:
        return None
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanos // 1000:06d}Z" if nanos else f"{moment}Z"


def _micro_time(value: int | bytes) -> str | None:
    text = _time(value)
    return text if text is None or "." in text else text[:-1] + ".000000Z"


def _int_or_string(value: int | bytes) -> int | str:
    parts = dict(_fields(_bytes(value)))
    return _text(parts.get(3, b"")) if parts.get(1, 0) else _signed(parts.get(2, 0))


def _quantity(value: int | bytes) -> str:
    return _text(dict(_fields(_bytes(value))).get(1, b"")) or "0"


def _raw(value: int | bytes) -> Any:
    return json.loads(_bytes(dict(_fields(_bytes(value))).get(1, b"")) or b"null")


def _float(value: int | bytes) -> float:
    return float(binary.unpack("<d", _bytes(value))[0])


_SCALARS: dict[str, Callable[[int | bytes], Any]] = {
    "s": _text,
    "b": lambda value: bool(_signed(value)),
    "i": _signed,
    "l": _signed,
    "f": _float,
    "y": lambda value: base64.b64encode(_bytes(value)).decode(),
    "q": _quantity,
    "x": _int_or_string,
    "t": _time,
    "T": _micro_time,
    "d": lambda value: f"{_signed(dict(_fields(_bytes(value))).get(1, 0)) / 1e9:g}s",
    "r": _raw,
    "F": _raw,
    "j": _raw,
}


def _bad(message: str) -> Invalid:
    return Invalid(message, reason="BadRequest")
