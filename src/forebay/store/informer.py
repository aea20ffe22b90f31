"""List, then watch, for ever: the state of a kind in memory, and a call for every change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic

from forebay.api.meta import Key
from forebay.errors import Clash, Denied, ForebayError
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock
from forebay.store.protocol import EVERYWHERE, Event, Store, T, Where


class Informer(Generic[T]):
    """Objects of one kind as the server told us last.

    `items` is complete once `wait_synced()` returns. `on_change(event)` is called in order for every
    difference, synthetic ADDED and DELETED events after a gap included.
    """

    def __init__(self, store: Store, kind: type[T], where: Where = EVERYWHERE, *, clock: Clock) -> None:
        self.items: dict[Key, T] = {}
        self._store, self._kind, self._where, self._clock = store, kind, where, clock
        self._synced = asyncio.Event()

    async def wait_synced(self) -> None:
        """Return when the first list has been read."""
        await self._synced.wait()

    async def run(self, on_change: Callable[[Event[T]], None] = lambda event: None) -> None:
        """Follow the server until cancelled; survives its absence."""
        async for event in follow(
            self._store, self._kind, self._where, clock=self._clock, synced=self._synced.set
        ):
            if event.type == "DELETED":
                self.items.pop(event.item.key, None)
            else:
                self.items[event.item.key] = event.item
            on_change(event)


async def follow(
    store: Store,
    kind: type[T],
    where: Where = EVERYWHERE,
    *,
    clock: Clock,
    synced: Callable[[], None] = lambda: None,
) -> AsyncIterator[Event[T]]:
    """Every object as ADDED, then every change, without end; gaps are closed by a new list."""
    known: dict[Key, T] = {}
    failures = 0
    while True:
        try:
            page = await store.list(kind, where)
            for event in _differences(known, page.items):
                yield _remember(known, event)
            synced()
            failures = 0
            async for event in store.watch(kind, where, since=page.revision):
                if event.type != "BOOKMARK":
                    yield _remember(known, event)
        except Clash:
            continue  # too old: list again at once
        except ForebayError as error:
            most_s = 300.0 if isinstance(error, Denied) else 5.0
            await clock.sleep(backoff_s(failures, first_s=0.1, most_s=most_s))
            failures += 1


def _remember(known: dict[Key, T], event: Event[T]) -> Event[T]:
    if event.type == "DELETED":
        known.pop(event.item.key, None)
    else:
        known[event.item.key] = event.item
    return event


def _differences(known: dict[Key, T], now: tuple[T, ...]) -> list[Event[T]]:
    there = {item.key: item for item in now}
    gone = [
        Event[T]("DELETED", item)
        for key, item in known.items()
        if key not in there or there[key].uid != item.uid
    ]
    lost = {event.item.key for event in gone}
    fresh: list[Event[T]] = []
    for key, item in there.items():
        if key not in known or key in lost:
            fresh.append(Event("ADDED", item))
        elif known[key].revision != item.revision:
            fresh.append(Event("MODIFIED", item))
    return gone + fresh
