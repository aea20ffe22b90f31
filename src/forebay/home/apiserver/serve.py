"""The application behind TLS, in the event loop of its caller."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import uvicorn

from forebay.errors import Unavailable
from forebay.home.apiserver.app import Server

KEEP_ALIVE_S = 75
TICK_S = 1.0  # how old the Date header of an answer may be
BACKLOG = 512


class _Uvicorn(uvicorn.Server):
    """Signals belong to the program that runs this server, not to it.

    And it wakes once a second, not ten times: that was half of what an idle home cost.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._leaving.wait()

    def leave(self) -> None:
        """End main_loop() now."""
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises Unavailable when the port is taken."""
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is: 40 ms an answer.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        told = f"cannot listen on {host}:{port} ({error.strerror}): choose another port, or 0 for a free one"
        raise Unavailable(told) from error
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def serving(
    app: Server, sock: socket.socket, *, cert: Path, key: Path, stop_s: float
) -> AsyncIterator[None]:
    """Answer on `sock` with TLS while the block runs; then end watches and wait `stop_s` for answers."""
    config = uvicorn.Config(
        app, ssl_certfile=str(cert), ssl_keyfile=str(key), loop="none", http="httptools", ws="none",
        lifespan="off", log_config=None, log_level="error", access_log=False, server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=max(1, round(stop_s)),
    )  # fmt: skip
    server = _Uvicorn(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[sock]), name="api server")
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            app.api.stopping.set()
            server.leave()
