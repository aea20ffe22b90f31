"""Shared words of tables: ages, column definitions, selectors, lists that are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.kit.clock import parse_rfc3339

Row = Callable[[Json, datetime], list[Any]]
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
_DAY, _YEAR = 24, 24 * 365


def columns(*names: str) -> list[Json]:
    """Column definitions from `Name`, `Desired:integer` and `+Images` (only with `-o wide`)."""
    return [_column(name) for name in names]


def _column(text: str) -> Json:
    name, _, kind = text.lstrip("+").partition(":")
    return {
        "name": name, "type": kind or "string", "format": "name" if name == "Name" else "", "description": "",
        "priority": int(text.startswith("+")),
    }  # fmt: skip


def duration(seconds: float) -> str:
    """A span as kubectl writes it: 4m21s, 5d17h, 2y10d. Source: k8s.io/apimachinery util/duration
    HumanDuration."""
    whole = int(seconds)  # towards zero, as Go does
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 8 * _DAY:
        return _pair(hours // _DAY, "d", hours % _DAY, "h")
    if hours < 2 * _YEAR:
        return f"{hours // _DAY}d"
    if hours < 8 * _YEAR:
        return _pair(hours // _YEAR, "y", hours // _DAY % 365, "d")
    return f"{hours // _YEAR}y"


def _pair(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}" + (f"{small}{small_unit}" if small else "")


def moment(text: Any) -> datetime | None:
    """A time of the API, or None where there is none to be read."""
    try:
        return parse_rfc3339(text) if isinstance(text, str) and text else None
    except ValueError:
        return None


def since(text: Any, now: datetime) -> str:
    """How long ago, or `<unknown>`."""
    then = moment(text)
    return UNKNOWN if then is None else duration((now - then).total_seconds())


def age(raw: Json, now: datetime) -> str:
    """The AGE column."""
    return since(raw["metadata"].get("creationTimestamp"), now)


def part(raw: Json, *path: str) -> Json:
    """An object below, or an empty one."""
    here: Any = raw
    for name in path:
        here = here.get(name) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else {}


def objects(raw: Json, *path: str) -> list[Json]:
    """A list of objects below, or an empty one."""
    found = part(raw, *path[:-1]).get(path[-1])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def condition(raw: Json, name: str) -> Json:
    """One of `status.conditions`, or {}."""
    return next((one for one in objects(raw, "status", "conditions") if one.get("type") == name), {})


def label_map(found: Mapping[str, Any]) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={found[key]}" for key in sorted(found)) or NONE


def selector(found: Any) -> str:
    """A LabelSelector as text, as `-o wide` shows it."""
    if not isinstance(found, dict):
        return NONE
    terms = [(key, f"{key}={value}") for key, value in (found.get("matchLabels") or {}).items()]
    for one in found.get("matchExpressions") or ():
        key, values = one.get("key", ""), ",".join(sorted(one.get("values") or ()))
        form = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append((key, form.get(one.get("operator", ""), f"!{key}")))
    return ",".join(text for _, text in sorted(terms)) or NONE


def containers(spec: Json) -> list[str]:
    """[names, images], each joined by commas."""
    found = objects(spec, "containers")
    return [",".join(str(one.get(name, "")) for one in found) for name in ("name", "image")]


def cut(found: Iterable[str], count_max: int = 3) -> str:
    """`a,b,c + 2 more...`, or `<unset>`."""
    items = list(found)
    if len(items) > count_max:
        return f"{','.join(items[:count_max])} + {len(items) - count_max} more..."
    return ",".join(items) or UNSET
