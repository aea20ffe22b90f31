"""The SQLite store against a dictionary: every rule keeps both the same, across restarts too."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.api.kinds import ConfigMap
from forebay.api.meta import Json, Key
from forebay.errors import Absent, Clash
from forebay.store.protocol import Where
from forebay.store.sqlite import SqliteStore

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.integers(0, 3)
HOLD = "test.forebay.dev/hold"


class AsTheyAre:
    def prepare(self, kind: object, new: Json, old: object, verb: str) -> Json:
        return new


class StoreMachine(RuleBasedStateMachine):
    """`model` maps names to (value, held, dying); `told` is what a watcher from the start must have seen."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.model: dict[str, tuple[int, bool, bool]] = {}
        self.told: list[tuple[int, str, str]] = []
        self.last_revision = 0
        self._open()

    def _open(self) -> None:
        self.store = SqliteStore(self.folder / "a.db", AsTheyAre())
        self.run(self.store.open())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def _key(self, name: str) -> Key:
        return Key("default", name)

    @rule(name=NAMES, value=VALUES, held=st.booleans())
    def create(self, name: str, value: int, held: bool) -> None:
        item = ConfigMap.new(name, "default", data={"v": str(value)})
        if held:
            item.meta["finalizers"] = [HOLD]
        try:
            self.run(self.store.create(item))
        except Clash:
            assert name in self.model
        else:
            assert name not in self.model
            self.model[name] = (value, held, False)
            self._tell("ADDED", name)

    @rule(name=NAMES, value=VALUES, old=st.booleans())
    def update(self, name: str, value: int, old: bool) -> None:
        if name not in self.model:
            return
        item = self.run(self.store.get(ConfigMap, self._key(name)))
        if old:
            item.meta["resourceVersion"] = "1"
        before, held, dying = self.model[name]
        item.raw["data"] = {"v": str(value)}
        try:
            self.run(self.store.update(item))
        except Clash:
            assert old
        else:
            if value != before:
                self._tell("MODIFIED", name)
            self.model[name] = (value, held, dying)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        try:
            self.run(self.store.delete(ConfigMap, self._key(name)))
        except Absent:
            assert name not in self.model
            return
        value, held, dying = self.model[name]
        if not held:
            del self.model[name]
            self._tell("DELETED", name)
        elif not dying:
            self.model[name] = (value, held, True)
            self._tell("MODIFIED", name)

    @rule(name=NAMES)
    def let_go(self, name: str) -> None:
        value, held, dying = self.model.get(name, (0, False, False))
        if not held:
            return
        item = self.run(self.store.get(ConfigMap, self._key(name)))
        item.meta.pop("finalizers")
        self.run(self.store.update(item))
        if dying:
            del self.model[name]
            self._tell("DELETED", name)
        else:
            self.model[name] = (value, False, False)
            self._tell("MODIFIED", name)

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self._open()

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        page = self.run(self.store.list(ConfigMap, Where(namespace="default")))
        found = {i.name: (int(i.raw["data"]["v"]), bool(i.finalizers), i.deleting) for i in page.items}
        assert found == self.model
        assert int(page.revision) >= self.last_revision
        self.last_revision = int(page.revision)

    def _tell(self, verb: str, name: str) -> None:
        self.told.append((int(self.store.revision()), verb, name))

    @rule(part=st.floats(0, 1))
    def a_watch_from_any_revision_tells_every_later_change_once(self, part: float) -> None:
        since = round(part * self.last_revision)

        async def read() -> list[tuple[int, str, str]]:
            seen: list[tuple[int, str, str]] = []
            async for event in self.store.watch(ConfigMap, since=str(since), bookmarks_s=0.0):
                if event.type == "BOOKMARK":
                    return seen
                seen.append((int(event.revision), event.type, event.item.name))
            raise AssertionError("ended")

        assert self.run(read()) == [change for change in self.told if change[0] > since]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)


# hundreds of durable writes: a minute is not enough beside a busy disk
TestStoreMachine = pytest.mark.timeout(240)(StoreMachine.TestCase)
