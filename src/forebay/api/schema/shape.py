"""Built-in kinds: an object as Go would decode and encode it (unknown fields gone, zero values as Go
writes them)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from forebay.api import quantity
from forebay.api.meta import Json
from forebay.api.schema.tables import Field, Struct, Type, struct
from forebay.errors import Invalid

_ZEROS = {"s": "", "b": False, "i": 0, "l": 0, "f": 0, "q": "0", "y": None}


def known(value: Json, shape: Struct) -> Json:
    """A copy without unknown fields and nulls, quantities in canonical form."""
    out: Json = {}
    for key, item in value.items():
        field = shape.fields.get(key)
        if field is not None and item is not None:
            out[key] = _known(item, field.type)
    return out


def _known(value: Any, kind: Type) -> Any:
    if kind.code == "@" and isinstance(value, dict):
        return known(value, struct(kind.struct))
    if kind.code == "[" and isinstance(value, list) and kind.item is not None:
        return [_known({} if item is None else item, kind.item) for item in value]
    if kind.code == "{" and isinstance(value, dict) and kind.item is not None:
        return {
            key: _known(_ZEROS.get(kind.item.code, {}) if v is None else v, kind.item)
            for key, v in value.items()
        }
    if kind.code == "q":
        return canonical(value)
    return value


def encoded(value: Json, shape: Struct) -> Json:
    """A copy as Go's encoder writes it: empty optional fields left out, zero values and empty structs
    written."""
    out: Json = {}
    for key, item in value.items():
        field = shape.fields.get(key)
        if field is None:
            out[key] = item
            continue
        item = _encoded(item, field.type)
        if not (field.omit_empty and not field.pointer and _is_empty(item, field.type)):
            out[key] = item
    for key, field in shape.fields.items():
        if key not in out and not field.pointer:
            _add_zero(out, field)
    return out


def _add_zero(out: Json, field: Field) -> None:
    code = field.type.code
    if code == "@":
        out[field.name] = encoded({}, struct(field.type.struct))
    elif (not field.omit_empty or code == "q") and _ZEROS.get(code) is not None:
        out[field.name] = _ZEROS[code]


def _encoded(value: Any, kind: Type) -> Any:
    if kind.code == "@" and isinstance(value, dict):
        return encoded(value, struct(kind.struct))
    if kind.code == "[" and isinstance(value, list) and kind.item is not None and kind.item.code == "@":
        return [_encoded(item, kind.item) for item in value]
    if kind.code == "{" and isinstance(value, dict) and kind.item is not None and kind.item.code in "@[":
        return {key: _encoded(item, kind.item) for key, item in value.items()}
    return value


def _is_empty(value: Any, kind: Type) -> bool:
    if kind.code == "@":
        return False
    return value in ("", [], {}) or (kind.code in "bilf" and not value)


_DECIMAL = (
    (18, "E"),
    (15, "P"),
    (12, "T"),
    (9, "G"),
    (6, "M"),
    (3, "k"),
    (0, ""),
    (-3, "m"),
    (-6, "u"),
    (-9, "n"),
)
_BINARY = ((60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki"), (0, ""))


def canonical(text: Any) -> Any:
    """A quantity as Kubernetes writes it: `1024Mi` is `1Gi`, `0.5` is `500m`; what is no quantity comes
    back as it is.

    Source: resource.Quantity's canonical form (no fraction, the largest suffix, the family of suffixes kept).
    """
    try:
        value = quantity.parse(text)
    except Invalid:
        return text
    said = str(text)
    if said[-1:] == "i" and value.denominator == 1 and abs(value) >= 1024:
        for power, suffix in _BINARY:
            scaled = value / 2**power
            if scaled.denominator == 1:
                return f"{scaled.numerator}{suffix}"
    if value == 0:
        return "0"
    exponential = said[-1:].isdigit() and ("e" in said or "E" in said)
    for power, suffix in _DECIMAL:
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            return f"{scaled.numerator}" + (f"e{power}" * (power != 0) if exponential else suffix)
    nanos = value * 10**9
    return f"{-((-nanos.numerator) // nanos.denominator)}n"
