"""Bytes a second as people write them."""

from __future__ import annotations

import re

from forebay.errors import Invalid

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def rate(text: str, what: str) -> float:
    """`50M`, `1.5Gi`, `200000` as bytes a second; `what` names the setting. Raises Invalid."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([kmg]i?)?b?(?:/s)?", text.strip().lower())
    if not match:
        raise Invalid(f"{what} {text[:60]}: give bytes a second, e.g. 50M or 100Mi")
    return float(match[1]) * _UNITS[match[2] or ""]
