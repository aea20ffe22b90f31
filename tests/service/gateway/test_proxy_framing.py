"""Where one message ends and the next begins, when a client or a backend is not clear about it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from forebay.gateway.settings import LIMITS
from forebay.kit.http1 import Exchange, Forward, Group, Plan, ProxyServer, Reply, Request

ASK = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Site:
    """Everything goes to one backend; its own errors are worded anew."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.planned: list[str] = []

    def plan(self, request: Request) -> Plan:
        self.planned.append(request.path)
        return Forward(group=self.group, target=request.target, label="x", on_error=self._worded)

    def _worded(self, request: Request, status: int, body: bytes) -> Reply:
        return Reply(status, b"worded")

    def error(self, request: Request | None, status: int, message: str) -> Reply:
        return Reply(status, message.encode())

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        return Reply(503, last.encode())

    def done(self, exchange: Exchange) -> None:
        pass


@asynccontextmanager
async def asked(answer: bytes, request: bytes, *, resets: bool = False) -> AsyncIterator[tuple[Site, bytes]]:
    """All that a client gets for `request` from a backend that says `answer`, and `resets` or waits then."""

    came = asyncio.Event()

    async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if resets:
            ours: socket.socket = writer.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await came.wait()  # a reset overtakes what is on its way
            writer.transport.abort()
        await reader.read()
        writer.close()

    behind = await asyncio.start_server(backend, "127.0.0.1", 0)
    group = Group(wait_s=0.0, waiting_max=10)
    group.set_addresses((behind.sockets[0].getsockname()[:2],))
    proxy = ProxyServer(site := Site(group), replace(LIMITS, timeout_first_byte_s=0.2))
    proxy.groups = [group]
    reader, writer = await asyncio.open_connection(*await proxy.start(host="127.0.0.1", port=0))
    try:
        async with asyncio.timeout(20):
            writer.write(request)
            got = b""
            with suppress(ConnectionResetError):
                while piece := await reader.read(1 << 16):
                    got += piece
                    came.set()
            yield site, got
    finally:
        writer.close()
        await proxy.stop(deadline_s=1.0)
        behind.close()


@pytest.mark.anyio
async def test_a_body_that_ends_with_a_reset_is_not_whole() -> None:
    """It has no length, so only an orderly end of the connection is its end: half of it was passed on as if
    it were all."""
    async with asked(b"HTTP/1.1 200 OK\r\n\r\nhalf", ASK, resets=True) as (_, got):
        assert b"half" in got and not got.endswith(b"0\r\n\r\n")


@pytest.mark.anyio
async def test_behind_a_request_that_is_refused_none_is_served() -> None:
    """It was, and its answer came first: whoever sent them one after the other took it for the first's."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with asked(whole, b"GET /refused HTTP/1.1\r\n\r\n" + ASK) as (site, got):
        assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1
        assert site.planned == []


@pytest.mark.anyio
async def test_a_backend_that_stalls_in_its_own_error_is_answered_for() -> None:
    """Nothing of it was passed on, so the client need not be cut off."""
    stalls = b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf"
    async with asked(stalls, ASK) as (_, got):
        assert got.startswith(b"HTTP/1.1 504 ")
