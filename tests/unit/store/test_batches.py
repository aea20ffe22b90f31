"""Writes of one transaction see each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from forebay.api.admission import Rules
from forebay.api.kinds import Namespace, Service
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
