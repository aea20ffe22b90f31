"""The proxy: listeners, the clients on them, deadlines, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Coroutine
from typing import Any

from forebay.kit.http1.backend import Backend
from forebay.kit.http1.client import ClientConnection
from forebay.kit.http1.exchange import Exchange
from forebay.kit.http1.group import Group
from forebay.kit.http1.messages import Limits, Site

SWEEP_S = 1.0


class ProxyServer:
    """Listens, and gives each request to the site's plan. One event loop, one owner."""

    def __init__(self, site: Site, limits: Limits, *, proto: bytes = b"http") -> None:
        self.site = site
        self.limits = limits
        self.proto = proto
        self.stopping = False
        self.active: set[Exchange] = set()
        self.clients: set[ClientConnection] = set()
        self.groups: Collection[Group] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._empty: asyncio.Event | None = None

    async def start(self, *, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address. Raises OSError."""
        self.loop = asyncio.get_running_loop()
        self._listener = await self.loop.create_server(
            lambda: ClientConnection(self), host, port, backlog=1024
        )
        self.spawn(self._sweep())
        name = self._listener.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def stop(self, *, deadline_s: float, linger_s: float = 0.0) -> int:
        """Answer new requests for `linger_s` more, finish what is under way, then cut. Returns how many
        were cut.

        Lingering is for the time until everybody who sends requests here has heard that this end is closing;
        each answer from now on closes its connection.
        """
        assert self._listener is not None
        until = self.loop.time() + deadline_s
        self.stopping = True
        await asyncio.sleep(min(linger_s, deadline_s))
        self._listener.close()
        for client in list(self.clients):
            if not client.busy:
                client.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._all_gone()
        cut = sum(client.busy for client in self.clients)
        for client in list(self.clients):
            client.cut()
        for group in self.groups:
            for backend in group.backends:
                backend.retire()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return cut

    async def _all_gone(self) -> None:
        self._empty = asyncio.Event()
        if self.clients:
            await self._empty.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task that the proxy owns and ends with itself."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def admit(self, client: ClientConnection) -> bool:
        """May this connection stay?"""
        if len(self.clients) >= self.limits.clients_max:
            return False
        self.clients.add(client)
        return True

    def forget(self, client: ClientConnection) -> None:
        """The connection has closed."""
        self.clients.discard(client)
        if not self.clients and self._empty is not None:
            self._empty.set()

    async def _sweep(self) -> None:
        """One timer for all deadlines, so that a request costs none."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.perf_counter()
            for exchange in list(self.active):
                exchange.check(now)
            for client in list(self.clients):
                client.check(now)
            for group in self.groups:
                for backend in group.backends:
                    _reap(backend, now - self.limits.timeout_idle_backend_s)


def _reap(backend: Backend, before: float) -> None:
    backend.close_idle_since(before)
