"""Reading what others wrote, or what a crash left: JSON, numbers and records that may be anything."""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parsed(text: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, one that is too deep included."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def count(value: object) -> int:
    """A whole number from 0 to 2**63, given as a number or in digits. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    number = int(value)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{number} is out of bounds")
    return number


def seconds(value: object) -> float:
    """A time span, given as a number or in digits. Raises ValueError for what is none or is below zero."""
    if not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("it is out of bounds") from error
    if not 0 <= number < float("inf"):
        raise ValueError(f"{number} is out of bounds")
    return number


def built(kind: type[T], raw: object) -> T:
    """A flat dataclass from a JSON object. Raises ValueError if a field is missing, unknown or of another
    type; lists become tuples.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"a {type(raw).__name__} is no {kind.__name__}")
    fields = dict(raw)
    for name, hint in _hints(cast(Hashable, kind)).items():
        if name in fields and not _fits(fields[name], hint):
            raise ValueError(f"{name} of a {kind.__name__} is {str(fields[name])[:40]!r}")
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: object, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, args[1]) for item in value.values())
    if origin is Literal:
        return value in args
    if args:  # a union
        return any(_fits(value, one) for one in args)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return isinstance(value, hint)
