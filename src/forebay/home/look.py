"""The snapshot that admission rules look at: what the home's own store has committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from forebay.api.meta import Json, Key, Resource
from forebay.store.sqlite import SqliteStore


class StoreLook:
    """forebay.api.admission.Look over the store; `store` is asked late, because the store asks the rules."""

    def __init__(self, store: Callable[[], SqliteStore]) -> None:
        self._store = store

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        """One object, or None."""
        text = self._store().text(kind, key)
        return None if text is None else json.loads(text)

    def list(self, kind: type[Resource], namespace: str = "") -> Iterator[Json]:
        """All objects of a kind; of one namespace if it is given."""
        for key, text in self._store().texts(kind).items():
            if not namespace or key.namespace == namespace:
                yield json.loads(text)
