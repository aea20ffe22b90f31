"""A store in memory with the verbs that readers use: get, list and watch. For tests of readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from forebay.api.meta import Key, Resource
from forebay.errors import Absent
from forebay.store.protocol import EVERYWHERE, Event, Page, Where


class ObjectStore:
    """Objects put by a test; every put and remove is one event."""

    def __init__(self) -> None:
        self._items: dict[tuple[type[Resource], Key], Resource] = {}
        self._events: list[Event[Any]] = []
        self._changed = asyncio.Condition()

    async def put(self, *items: Resource) -> None:
        async with self._changed:
            for item in items:
                place = (type(item), item.key)
                verb = "MODIFIED" if place in self._items else "ADDED"
                item = item.copy()
                item.meta["resourceVersion"] = str(len(self._events) + 1)
                self._items[place] = item
                self._events.append(Event(verb, item))  # type: ignore[arg-type]
            self._changed.notify_all()

    async def remove(self, kind: type[Resource], key: Key) -> None:
        async with self._changed:
            self._events.append(Event("DELETED", self._items.pop((kind, key))))
            self._changed.notify_all()

    async def get(self, kind: type[Any], key: Key) -> Any:
        try:
            return self._items[kind, key].copy()
        except KeyError:
            raise Absent(f"{kind.plural} {key} is not there") from None

    async def list(self, kind: type[Any], where: Where = EVERYWHERE) -> Page[Any]:
        items = tuple(
            item for (of, _), item in sorted(self._items.items(), key=lambda x: x[0][1]) if of is kind
        )
        return Page(items, str(len(self._events)))

    async def watch(
        self, kind: type[Any], where: Where = EVERYWHERE, *, since: str
    ) -> AsyncIterator[Event[Any]]:
        position = int(since)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._events) > position)  # noqa: B023
                fresh = self._events[position:]
                position = len(self._events)
            for event in fresh:
                if type(event.item) is kind:
                    yield event
