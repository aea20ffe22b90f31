"""A site that reads whole bodies, words its backend's errors anew, and changes answers on their way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.fakes.gateway_world import Answer, Client
from tests.fakes.gateway_world import World as Backends

from forebay.gateway.settings import LIMITS
from forebay.kit.http1 import Exchange, Forward, Group, NeedBody, Plan, ProxyServer, Reply, Request


class Shout:
    """Upper case, and a mark at the end."""

    def feed(self, piece: bytes) -> bytes:
        return piece.upper()

    def end(self) -> bytes:
        return b"!"


class Site:
    def __init__(self, group: Group) -> None:
        self.group = group
        self.done_with: list[int] = []

    def plan(self, request: Request) -> Plan:
        return NeedBody(self._whole) if request.has_body else self._forward(request.target, None)

    def _whole(self, request: Request, body: bytes) -> Reply | Forward:
        if body == b"no":
            return Reply(403, b"{}")
        return self._forward(request.target, b'{"was":%d}' % len(body))

    def _forward(self, target: bytes, body: bytes | None) -> Forward:
        loud = Shout if b"loud" in target else None
        return Forward(
            group=self.group, target=target, label="x", body=body, on_error=self._worded, rewrite=loud
        )

    def _worded(self, request: Request, status: int, body: bytes) -> Reply:
        return Reply(418, b'{"was":%d,"bytes":%d}' % (status, len(body)))

    def error(self, request: Request | None, status: int, message: str) -> Reply:
        return Reply(status, message.encode())

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        return Reply(503, last.encode())

    def done(self, exchange: Exchange) -> None:
        self.done_with.append(exchange.status)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Site, Client]]:
    backends = Backends()
    group = Group(wait_s=0.0, waiting_max=10)
    group.set_addresses((("127.0.0.1", await backends.backend("a")),))
    site = Site(group)
    proxy = ProxyServer(site, replace(LIMITS, body_held_max=1000))
    proxy.groups = [group]
    address = await proxy.start(host="127.0.0.1", port=0)
    client = Client(*await asyncio.open_connection(*address))
    try:
        async with asyncio.timeout(20):
            yield site, client
    finally:
        client.writer.close()
        await proxy.stop(deadline_s=1.0)
        for process in backends.processes:
            process.terminate()
            await process.wait()


async def chunked(client: Client, path: str, *pieces: bytes) -> Answer:
    await client.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for piece in pieces:
        await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await client.send(b"0\r\n\r\n")
    return await client.answer()


def test_a_whole_body_is_read_judged_and_replaced() -> None:
    async def body() -> None:
        async with proxied() as (_, client):
            assert (await client.post("/echo", b"x" * 700)).body == b'{"was":700}'
            assert (await chunked(client, "/echo", b"ab", b"c" * 300)).body == b'{"was":302}'
            assert (await client.post("/echo", b"no")).status == 403
            assert (await client.post("/echo", b"y")).body == b'{"was":1}'
            assert (await client.post("/echo", b"x" * 1001)).status == 413

    asyncio.run(body())


def test_a_body_that_never_ends_reaches_nobody() -> None:
    async def body() -> None:
        async with proxied() as (site, client):
            await client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
            client.writer.close()
            while not site.done_with:
                await asyncio.sleep(0.005)
            assert site.done_with == [499] and site.group.in_flight == 0

    asyncio.run(body())


def test_a_backends_error_is_worded_anew_and_the_connection_kept() -> None:
    async def body() -> None:
        async with proxied() as (site, client):
            for _ in range(2):
                answer = await client.get("/error=507")
                assert (answer.status, answer.json()["was"]) == (418, 507)
            assert (await client.get("/error=500", method="HEAD")).status == 500  # nothing to word
            assert (await client.get("/plain")).status == 200
            assert (await client.get("/half-error")).status == 502
            assert site.group.in_flight == 0

    asyncio.run(body())


def test_an_answer_changes_on_its_way_streamed_or_not() -> None:
    async def body() -> None:
        async with proxied() as (_, client):
            answer = await client.get("/loud")
            assert answer.headers["transfer-encoding"] == "chunked" and "content-length" not in answer.headers
            assert b'"PATH": "/LOUD"' in answer.body and answer.body.endswith(b"!")
            assert json.loads((await client.get("/quiet")).body)["path"] == "/quiet"
            assert (await client.get("/loud", method="HEAD")).status == 200

    asyncio.run(body())
