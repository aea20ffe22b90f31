"""Sentences for every field of our kinds, for those who show them; other programs never load them.

`words.toml` says each once: its keys are ends of paths, and the longest that fits a field counts. There is
none for `metadata`: a CustomResourceDefinition must say nothing of it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from forebay.api.meta import Json, Resource, json_copy

_NESTED = ("items", "additionalProperties")


@cache
def words() -> dict[str, str]:
    """The sentences by key. To be read, not changed."""
    import tomllib

    return tomllib.loads((resources.files("forebay.api") / "words.toml").read_text())


def key_of(path: tuple[str, ...]) -> str:
    """The longest key that fits a field, "" if none does. `path`: the kind, then the names of fields."""
    ends = (".".join(path[at:]) for at in range(len(path)))
    return next((end for end in ends if end in words()), "")


def described(kind: type[Resource], schema: Json) -> Json:
    """A copy of the kind's schema with a description wherever there is a sentence."""
    found: Json = json_copy(schema)
    _describe(found, (kind.kind,))
    return found


def _describe(node: Json, path: tuple[str, ...]) -> None:
    key = key_of(path)
    if key:
        node["description"] = words()[key]
    _inside(node, path)


def _inside(node: Json, path: tuple[str, ...]) -> None:
    for name, field in (node.get("properties") or {}).items():
        _describe(field, (*path, name))
    for nested in _NESTED:
        if isinstance(node.get(nested), dict):
            _inside(node[nested], path)
