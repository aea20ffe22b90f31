"""What an idle home does not do."""

from __future__ import annotations

import asyncio

import pytest

from forebay.home.apiserver import serve


async def _nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asked")


def test_the_api_server_wakes_to_leave_not_to_see_whether_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "TICK_S", 3600.0)
    ticks = []

    async def body() -> None:
        server = serve._Uvicorn(serve.uvicorn.Config(_nothing, log_config=None))

        async def on_tick(counter: int) -> bool:
            ticks.append(counter)
            return bool(server.should_exit)

        monkeypatch.setattr(server, "on_tick", on_tick)
        loop = asyncio.create_task(server.main_loop())
        for _ in range(10):
            await asyncio.sleep(0)
        server.leave()
        async with asyncio.timeout(10):
            await loop

    asyncio.run(body())
    assert ticks == [0, 0]
