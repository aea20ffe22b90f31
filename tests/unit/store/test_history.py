"""Watches: what wakes them, and what a quiet one may miss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from forebay.api.kinds import ConfigMap, Secret
from forebay.api.meta import Resource
from forebay.errors import Clash
from forebay.store import history
from forebay.store.database import Change
from forebay.store.history import History
from forebay.store.protocol import EVERYWHERE, Event


def change(kind: type[Resource], revision: int) -> Change:
    body = {"metadata": {"name": f"n{revision}", "namespace": "d", "resourceVersion": str(revision)}}
    return Change(revision, kind.group, kind.plural, "d", f"n{revision}", "ADDED", json.dumps(body), "")


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def watching(*kinds: type[Resource], then: Callable[[History], Awaitable[None]]) -> list[list[str]]:
    """Names that a watch of each kind has heard of once `then` is over, in their order."""
    heard: list[list[str]] = [[] for _ in kinds]

    async def hear(past: History, kind: type[Resource], names: list[str]) -> None:
        async for event in past.watch(kind, EVERYWHERE, 0, 60.0):
            names.append(event.item.name)

    async def body() -> None:
        past = History([], 0)
        tasks = [asyncio.create_task(hear(past, k, names)) for k, names in zip(kinds, heard, strict=True)]
        await settled()
        await then(past)
        await settled()
        assert not [task for task in tasks if task.done()], [
            task.exception() for task in tasks if task.done()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(body())
    return heard


def test_a_change_wakes_the_watches_of_its_own_kind_only(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    since = History.since

    def counted(past: History, revision: int) -> list[Change]:
        nonlocal reads
        reads += 1
        return since(past, revision)

    monkeypatch.setattr(History, "since", counted)

    async def write(past: History) -> None:
        for revision in range(1, 51):
            past.append([change(Secret, revision)])
            await settled()

    heard = watching(Secret, *[ConfigMap] * 100, then=write)
    assert len(heard[0]) == 50 and not any(heard[1:])
    assert reads == 101 + 50


def test_a_quiet_watch_outlives_what_is_forgotten_of_other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEEP_LOG_ROWS", 10)

    async def write(past: History) -> None:
        for revision in range(1, 101):
            past.append([change(Secret, revision)])
            await settled()
        past.append([change(Secret, 101), change(ConfigMap, 102)])
        with pytest.raises(Clash):
            past.since(0)

    assert watching(ConfigMap, then=write) == [["n102"]]


def test_large_objects_are_forgotten_sooner_but_never_before_they_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "KEEP_LOG_BYTES", 10 * change(Secret, 100).weight)
    past = History([], 0)
    for revision in range(100, 300):
        past.append([change(Secret, revision)])
        assert len(past.since(past.forgotten)) <= 20
    assert past.forgotten >= 279 and past.since(295) == [change(Secret, n) for n in range(296, 300)]
    many = [change(ConfigMap, revision) for revision in range(300, 350)]
    past.append(many)
    assert past.since(299) == many


def test_what_comes_while_an_event_is_handled_is_not_missed() -> None:
    async def body() -> list[str]:
        past, names = History([], 0), []
        past.append([change(ConfigMap, 1)])
        async for event in past.watch(ConfigMap, EVERYWHERE, 0, 60.0):
            names.append(event.item.name)
            at = len(names)
            if at < 5:
                past.append([change(Secret, 10 * at), change(ConfigMap, 10 * at + 1)])
            else:
                break
        return names

    assert asyncio.run(body()) == ["n1", "n11", "n21", "n31", "n41"]


def test_silence_is_told_with_the_newest_revision() -> None:
    async def body() -> list[Event[ConfigMap]]:
        past = History([], 0)
        past.append([change(Secret, 7)])
        return [event async for event in _first(past, 2)]

    told = asyncio.run(body())
    assert [(e.type, e.item.revision) for e in told] == [("BOOKMARK", "7")] * 2


async def _first(past: History, count: int):  # type: ignore[no-untyped-def]
    async for event in past.watch(ConfigMap, EVERYWHERE, 7, 0.001):
        yield event
        count -= 1
        if not count:
            return
