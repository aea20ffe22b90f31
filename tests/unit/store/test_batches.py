"""Writes of one transaction see each other."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import Namespace, Secret, Service
from forebay.errors import Damaged, Invalid
from forebay.home.look import StoreLook
from forebay.store import history
from forebay.store.sqlite import SqliteStore


def test_services_created_at_once_get_addresses_of_their_own(tmp_path: Path) -> None:
    async def body() -> set[str]:
        found: list[SqliteStore] = []
        store = SqliteStore(tmp_path / "a.db", Rules(StoreLook(lambda: found[0]), ()))
        found.append(store)
        await store.open()
        await store.create(Namespace.new("default"))
        ports = [{"port": 80}]
        made = await asyncio.gather(
            *(store.create(Service.new(f"s{n}", "default", spec={"ports": ports})) for n in range(300))
        )
        await store.close()
        return {str(service.spec["clusterIP"]) for service in made}

    assert len(asyncio.run(body())) == 300


def test_the_file_forgets_large_changes_with_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEEP_LOG_BYTES", 50_000)

    async def body() -> None:
        store = SqliteStore(tmp_path / "a.db", Rules())
        await store.open()
        await store.create(Namespace.new("default"))
        for number in range(50):
            await store.create(Secret.new(f"s{number}", "default", stringData={"a": "b" * 10_000}))
        await store.close()

    asyncio.run(body())
    with sqlite3.connect(tmp_path / "a.db") as db:
        rows, objects = (
            db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("log", "current")
        )
    db.close()
    assert rows < 12 and objects == 51


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute("PRAGMA user_version=999")
    db.close()
    store = SqliteStore(tmp_path / "a.db", Rules())
    with pytest.raises(Invalid, match=r"a newer Forebay wrote .*: start that one"):
        asyncio.run(store.open())


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE current (mine)")


def _scratched(path: Path) -> None:
    """A whole file of ours, with noise over a stored object."""
    asyncio.run(_with_a_secret(path))
    data = bytearray(path.read_bytes())
    at = data.index(b"c2VjcmV0")
    data[at - 40 : at - 10] = b"\xff" * 30
    path.write_bytes(data)


async def _with_a_secret(path: Path) -> None:
    store = SqliteStore(path, Rules())
    await store.open()
    await store.create(Secret.new("s", "default", data={"token": "c2VjcmV0"}))
    await store.close()


@pytest.mark.parametrize("damage", [_noise, _foreign, _scratched])
def test_a_damaged_file_is_told_and_nothing_of_its_content(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path / "a.db")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(Damaged, match=r"move a\.db") as caught:
        asyncio.run(SqliteStore(tmp_path / "a.db", Rules()).open())
    assert "c2VjcmV0" not in caught.value.message
    assert (tmp_path / "a.db").read_bytes() == before, "it is evidence"


def test_the_file_is_for_its_owner_only_whatever_the_folder_allows(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch(mode=0o644)
    asyncio.run(_with_a_secret(tmp_path / "a.db"))
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
