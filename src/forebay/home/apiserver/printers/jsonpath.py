"""The part of kubectl's JSONPath that additionalPrinterColumns use: fields, indexes, `[*]` and simple
filters.

Source: Kubernetes' documentation of JSONPath support. A path that is none finds nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]
_TOKEN = re.compile(
    r"""\.\.(?P<deep>[A-Za-z_][\w-]*)
      |\.(?P<field>(?:[^.\[\]\\'"]|\\.)+)
      |\[(?P<quote>['"])(?P<name>(?:[^'"\\]|\\.)*)(?P=quote)\]
      |\[(?P<star>\*)\]|(?P<dotstar>\.\*)
      |\[(?P<index>-?\d+)\]
      |\[(?P<start>-?\d*):(?P<end>-?\d*)\]
      |\[\?\(\s*@(?P<path>(?:\.[\w-]+|\['[^']*'\])*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>'[^']*'|"[^"]*"|[^)\s]+)\s*)?\)\]
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def steps(path: str) -> tuple[Step, ...]:
    """A path as functions; () for one that cannot be read."""
    path = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if path and path[0] not in ".[":
        path = "." + path
    found, at = [], 0
    while at < len(path):
        token = _TOKEN.match(path, at)
        if token is None:
            return ()
        found.append(_step(token))
        at = token.end()
    return tuple(found)


def find(raw: Any, path: str) -> list[Any]:
    """All values that a path finds."""
    here: Iterable[Any] = [raw] if steps(path) else []
    for step in steps(path):
        here = [below for one in here for below in step(one)]
    return list(here)


def _step(token: re.Match[str]) -> Step:
    if token["deep"]:
        return _deep(token["deep"])
    if token["field"] or token["name"] is not None:
        return _field(re.sub(r"\\(.)", r"\1", token["field"] or token["name"]))
    if token["star"] or token["dotstar"]:
        return _all
    if token["index"]:
        return _index(int(token["index"]))
    if token["start"] is not None:
        return _slice(token["start"], token["end"])
    return _filter(token["path"], token["op"], token["value"])


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _deep(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if name in value:
                yield value[name]
            for below in value.values():
                yield from step(below)
        elif isinstance(value, list):
            for below in value:
                yield from step(below)

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _index(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= at < len(value):
            yield value[at]

    return step


def _slice(start: str, end: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[int(start) if start else None : int(end) if end else None]

    return step


def _filter(path: str, operator: str | None, literal: str | None) -> Step:
    wanted = _literal(literal) if literal is not None else None

    def step(value: Any) -> Iterator[Any]:
        for one in value if isinstance(value, list) else ():
            found = find(one, path) if path else [one]
            if found and (operator is None or _compares(found[0], operator, wanted)):
                yield one

    return step


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    if operator in ("==", "!="):
        return (value == wanted and isinstance(value, bool) == isinstance(wanted, bool)) == (operator == "==")
    try:
        return bool(
            {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[operator]
        )
    except TypeError:
        return False
