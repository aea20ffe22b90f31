"""From a changed object to the keys that should look again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forebay.api.meta import Key, Resource

ALL = Key("", "all")  # the one key of controllers that decide about the whole cluster at once


def everything(item: Any) -> tuple[Key, ...]:
    """Wakes the controllers that look at the whole cluster."""
    return (ALL,)


def namespace_of(item: Resource) -> tuple[Key, ...]:
    """Wakes the controllers that look at a namespace at once."""
    return (Key(item.namespace, "all"),)


def controller_of(item: Resource, kind: type[Resource]) -> tuple[Key, ...]:
    """The owner of `kind` that controls `item`."""
    return tuple(
        Key(item.namespace if kind.namespaced else "", str(o.get("name")))
        for o in item.owners
        if o.get("controller") and o.get("kind") == kind.kind
    )


def owned_by(kind: type[Resource]) -> Callable[[Resource], tuple[Key, ...]]:
    """controller_of() for one kind."""
    return lambda item: controller_of(item, kind)


class Known:
    """Keys that a controller has met, for changes that concern all of them."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}

    def remember(self, key: Key) -> None:
        self._keys[key] = None

    def forget(self, key: Key) -> None:
        self._keys.pop(key, None)

    def all(self, item: Any = None) -> tuple[Key, ...]:
        """Every key met and not forgotten."""
        return tuple(self._keys)

    def in_namespace(self, namespace: str) -> tuple[Key, ...]:
        """Those of one namespace."""
        return tuple(key for key in self._keys if key.namespace == namespace)
