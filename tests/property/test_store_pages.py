"""A list of an earlier moment, page by page, is what the list was then."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.api.kinds import ConfigMap
from forebay.api.meta import Json, Key
from forebay.errors import Clash
from forebay.store.history import History
from forebay.store.protocol import Page
from forebay.store.sqlite import SqliteStore


class AsTheyAre:
    def prepare(self, kind: object, new: Json, old: object, verb: str) -> Json:
        return new


@given(writes=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(("put", "delete"))), max_size=30))
@settings(deadline=None)
def test_every_page_of_a_list_shows_the_moment_of_the_first(writes: list[tuple[str, str]]) -> None:
    async def body(path: Path) -> None:
        store = SqliteStore(path, AsTheyAre())
        await store.open()
        moments: dict[str, list[Json]] = {store.revision(): []}
        pages = [(await store.list(ConfigMap, limit=1), list[Json]())]
        for number, (name, verb) in enumerate(writes):
            await change(store, name, verb, number)
            whole = await store.list(ConfigMap)
            moments[whole.revision] = [item.raw for item in whole.items]
            pages.append((await store.list(ConfigMap, limit=1), moments[whole.revision]))
        for revision, then in moments.items():
            page = await store.list(ConfigMap, at=revision)
            assert ([item.raw for item in page.items], page.revision) == (then, revision)
        for page, then in pages:
            assert await rest(store, page) == then
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(body(Path(folder) / "a.db"))


async def change(store: SqliteStore, name: str, verb: str, number: int) -> None:
    key = Key("default", name)
    there = key in store.committed(ConfigMap)
    if verb == "delete" and there:
        await store.delete(ConfigMap, key)
    elif verb == "put":
        item = ConfigMap.new(name, "default", data={"n": str(number)})
        await (store.update(item) if there else store.create(item))


async def rest(store: SqliteStore, page: Page[ConfigMap]) -> list[Json]:
    """The items of a list from its first page on, one a page; `left` counts them down."""
    found = [item.raw for item in page.items]
    while page.more:
        left, revision = page.left, page.revision
        page = await store.list(ConfigMap, limit=1, after=page.more)
        assert (page.left, page.revision) == (left - 1, revision)
        found += [item.raw for item in page.items]
    return found


def test_a_moment_that_is_forgotten_is_a_clash() -> None:
    history = History([], 5)
    with pytest.raises(Clash, match="too old"):
        history.rewound(ConfigMap, {}, 4)
    assert history.rewound(ConfigMap, {}, 5) == {}
