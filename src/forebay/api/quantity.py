"""Kubernetes quantities: "100m", "1.5Gi", "1700G", "2e3" (the grammar of resource.Quantity)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from forebay.errors import Invalid

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?P<suffix>|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,3})"
)
_RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_FACTORS: dict[str, Fraction] = {
    "": Fraction(1), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    **{s: Fraction(10 ** (3 * (i + 1))) for i, s in enumerate("kMGTPE")},
    **{s + "i": Fraction(1024 ** (i + 1)) for i, s in enumerate("KMGTPE")},
}  # fmt: skip

Resources = Mapping[str, Fraction]


def parse(text: str | int | float) -> Fraction:
    """The exact number a quantity stands for. Raises Invalid with Kubernetes' sentence."""
    found = _FORM.fullmatch(str(text))
    if found is None:
        raise Invalid(f"{text!s}: {_RULE}; write it like 500m, 2, 1.5Gi or 10G")
    number, suffix = Fraction(found["number"]), found["suffix"]
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return number * Fraction(10) ** int(suffix[1:])
    return number * _FACTORS[suffix]


def value(text: str | int | float) -> int:
    """In whole units (bytes, cores, pieces), rounded up as Quantity.Value does. Raises Invalid."""
    return math.ceil(parse(text))


def rounded(count: int) -> str:
    """Bytes for people, with at most one digit behind the point, as a quantity: 98362455 is 93.8Mi."""
    size, suffixes = float(count), iter(("Ki", "Mi", "Gi", "Ti", "Pi"))
    suffix = ""
    while size >= 1023.95 and (larger := next(suffixes, "")):
        size, suffix = size / 1024, larger
    return f"{size:.1f}".removesuffix(".0") + suffix


def milli(text: str | int | float) -> int:
    """In thousandths, rounded up (Quantity.MilliValue). Raises Invalid."""
    return math.ceil(parse(text) * 1000)


def amounts(resources: Mapping[str, str | int | float] | None) -> dict[str, Fraction]:
    """A ResourceList as numbers. Raises Invalid."""
    return {name: parse(amount) for name, amount in (resources or {}).items()}


def added(one: Resources, other: Resources) -> dict[str, Fraction]:
    """Sum per resource."""
    return {name: one.get(name, Fraction(0)) + other.get(name, Fraction(0)) for name in {**one, **other}}


def greatest(one: Resources, other: Resources) -> dict[str, Fraction]:
    """Maximum per resource."""
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in {**one, **other}}
