"""Carrying out decisions on a real store: repeats are success, one refusal stops nobody else,
events are counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import ConfigMap, Event, Node
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Clash, Denied
from forebay.home.workloads.actions import Create, Delete, Note, Update, carry_out, carry_out_each
from forebay.kit.clock import SystemClock
from forebay.store.events import record
from forebay.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Refusing(Rules):
    """Admission that takes no object called `no`, and no event while `deaf`."""

    deaf = False

    def prepare(self, kind: type[Resource], new: Json, old: Json | None, verb: str) -> Json:
        if new["metadata"].get("name") == "no" or (self.deaf and kind is Event):
            raise Denied("not this one")
        return super().prepare(kind, new, old, verb)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[SqliteStore, Refusing]]:
    rules = Refusing()
    store = SqliteStore(folder / "forebay.db", rules)
    await store.open()
    try:
        yield store, rules
    finally:
        await store.close()


def item(name: str) -> ConfigMap:
    return ConfigMap.new(name, "default")


async def test_making_it_twice_and_removing_it_twice_is_success(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        clock = SystemClock()
        made = [Create(item("a")), Create(item("a"))]
        await carry_out(store, made, component="test", clock=clock)
        found = await store.get(ConfigMap, Key("default", "a"))
        await carry_out(store, [Delete(found), Delete(found)], component="test", clock=clock)
        await store.create(item("a"))
        await carry_out(store, [Delete(found)], component="test", clock=clock)
        assert (await store.get(ConfigMap, Key("default", "a"))).uid != found.uid, "it removed another object"


async def test_a_write_over_a_newer_object_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        old = await store.create(item("a"))
        newer = old.copy()
        newer.raw["data"] = {"k": "new"}
        await store.update(newer)
        stale = old.copy()
        stale.raw["data"] = {"k": "stale"}
        with pytest.raises(Clash):
            await carry_out(store, [Update(stale)], component="test", clock=SystemClock())


async def test_one_refusal_stops_nobody_else_and_no_event_tells_what_did_not_happen(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        about = await store.create(item("about"))
        actions = [
            Create(item("no")), Note(about, "Normal", "Lie", "made no"), Create(item("b")),
            Note(about, "Normal", "True", "b"),
        ]  # fmt: skip
        with pytest.raises(Denied):
            await carry_out_each(store, actions, component="test", clock=SystemClock())
        assert (await store.get(ConfigMap, Key("default", "b"))).name == "b"
        assert [e.raw["reason"] for e in (await store.list(Event)).items] == ["True"]


async def test_the_same_event_is_counted_and_another_message_is_another_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        about = await store.create(item("about"))
        for minute, message in enumerate(["same", "same", "same", "other"]):
            now = NOW.replace(minute=minute)
            await record(store, about, "Warning", "Tried", message, component="test", now=now)
        events = {e.raw["message"]: e for e in (await store.list(Event)).items}
        assert {message: e.raw["count"] for message, e in events.items()} == {"same": 3, "other": 1}
        same = events["same"].raw
        assert (same["firstTimestamp"], same["lastTimestamp"]) == (
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:02:00.000000Z",
        )
        assert same["involvedObject"]["uid"] == about.uid and same["source"] == {"component": "test"}


async def test_events_of_cluster_objects_go_to_default_and_a_refused_event_harms_nobody(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (store, rules):
        node = await store.create(Node.new("n", spec={}))
        await record(store, node, "Normal", "Ready", "it is", component="test", now=NOW)
        assert [e.namespace for e in (await store.list(Event)).items] == ["default"]
        rules.deaf = True
        await record(store, node, "Normal", "Ready", "again", component="test", now=NOW)
        assert len((await store.list(Event)).items) == 1
