"""The access log's writer sleeps while there is nothing to write."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

from forebay.gateway import serve
from forebay.gateway.observe import Observer


def test_the_log_is_flushed_for_lines_only(monkeypatch) -> None:
    monkeypatch.setattr(serve, "FLUSH_S", 0.0)
    monkeypatch.setattr("forebay.gateway.observe.log_line", lambda *_: "a line")
    flushed = []

    class Counting(Observer):
        def flush(self) -> None:
            flushed.append(len(self._lines))
            super().flush()

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def body() -> str:
        log = io.StringIO()
        observer = Counting(log=log)
        task = asyncio.create_task(serve.Gateway._keep_log(SimpleNamespace(observer=observer)))
        await turns()
        assert flushed == []
        exchange = SimpleNamespace(label=None, status=200, t_end=1.0, t_start=0.0, t_first=0.0)
        for _ in range(3):
            observer.done(exchange)
        await turns()
        assert flushed == [3]
        observer.done(exchange)
        await turns()
        assert flushed == [3, 1]
        task.cancel()
        return log.getvalue()

    assert asyncio.run(body()) == "a line\n" * 4
