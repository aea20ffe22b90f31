"""Writes of one transaction see each other."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import Namespace, Service
from forebay.errors import Unavailable
from forebay.home.look import StoreLook
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


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute("PRAGMA user_version=999")
    db.close()
    store = SqliteStore(tmp_path / "a.db", Rules())
    with pytest.raises(Unavailable, match="a newer Forebay wrote it"):
        asyncio.run(store.open())
