"""A rollout under load loses no request; a gateway that stops finishes what it has; memory is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
from tests.conformance.gateway_suite import chat
from tests.fakes.gateway_world import World, world
from tests.fakes.model_server import stream_events


async def _ask(made: World, stop: asyncio.Event, results: list[int], number: int) -> None:
    """One client on one connection: short and streamed requests in turn, each answer checked."""
    client = await made.client()
    while not stop.is_set():
        streamed = len(results) % 5 == 0
        answer = await client.post("/v1/x", chat("m", stream=streamed, events=4, gap_s=0.005))
        results.append(answer.status)
        if answer.status == 200 and streamed:
            name = json.loads(answer.chunks[0].removeprefix(b"data: "))["server"]
            assert answer.body == b"".join(stream_events(name, 4)) + b"data: [DONE]\n\n"
        if answer.headers.get("connection") == "close":
            client = await made.client()


def test_a_rollout_under_load_loses_no_request() -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(50):
            ports = [
                await made.backend("a0", delay=0.002, linger=0.3),
                await made.backend("b0", delay=0.002, linger=0.3),
            ]
            await made.serve("m", *ports)
            stop, results = asyncio.Event(), list[int]()
            async with asyncio.TaskGroup() as clients:
                for number in range(8):
                    clients.create_task(_ask(made, stop, results, number))
                for step in range(1, 4):  # one pod after the other: a new one, then the old one's end
                    for slot in (0, 1):
                        old = made.processes[-2]
                        fresh = await made.backend(f"{'ab'[slot]}{step}", delay=0.002, linger=0.3)
                        ports = [*ports[1:], fresh]
                        await made.serve("m", *ports)
                        os.kill(old.pid, signal.SIGTERM)
                        assert await old.wait() == 0
                before = len(results)
                await made.until(lambda: len(results) > before + 50)
                stop.set()
            assert set(results) == {200} and len(results) > 300

    asyncio.run(body())


def test_a_pod_that_closes_without_warning_costs_no_request() -> None:
    """Killed between requests: its kept connections close, and the table does not know yet."""

    async def body() -> None:
        async with world() as made, asyncio.timeout(30):
            await made.serve("m", await made.backend("a"), await made.backend("b"))
            client = await made.client()
            for _ in range(4):
                assert (await client.post("/v1/x", chat("m"))).status == 200
            os.kill(made.processes[0].pid, signal.SIGKILL)
            await made.processes[0].wait()
            for _ in range(4):
                assert (await client.post("/v1/x", chat("m"))).json()["server"] == "b"

    asyncio.run(body())


def test_requests_spread_over_pods_by_what_they_have_in_hand() -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(30):
            await made.serve("m", await made.backend("slow", delay=0.2), await made.backend("fast"))
            clients = [await made.client() for _ in range(4)]
            seen: list[str] = []

            async def ask(number: int) -> None:
                for _ in range(10):
                    seen.append((await clients[number].post("/v1/x", chat("m"))).json()["server"])

            await asyncio.gather(*(ask(number) for number in range(4)))
            assert seen.count("fast") > 25 and seen.count("slow") >= 2

    asyncio.run(body())


def test_a_gateway_that_stops_finishes_its_streams_and_refuses_new_connections() -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(30):
            await made.serve("m", await made.backend("a"))
            idle, busy = await made.client(), await made.client()
            await idle.get("/healthz")
            asked = asyncio.create_task(busy.post("/v1/x", chat("m", stream=True, events=60, gap_s=0.01)))
            await made.until(lambda: made.gateway.proxy.active)
            stopping = asyncio.create_task(made.gateway.stop(deadline_s=10, linger_s=0.1))
            await made.until(lambda: made.gateway.proxy.stopping)
            late = await (await made.client()).get("/readyz")
            assert late.status == 503 and late.headers["connection"] == "close"
            assert (await asked).body == b"".join(stream_events("a", 60)) + b"data: [DONE]\n\n"
            assert await stopping == 0 and await idle.closed()
            with pytest.raises(OSError):
                await made.client()
            await made.gateway.start(host="127.0.0.1", port=0)  # for the end of the world

    asyncio.run(body())


def test_a_client_that_does_not_read_stops_the_backend_instead_of_filling_memory() -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(30):
            await made.serve("m", await made.backend("a"))
            client = await made.client()
            size = 24_000_000
            reading = asyncio.create_task(client.post("/serving/ns/m/echo", b"x" * size))
            await made.until(lambda: made.gateway.proxy.active)
            assert (await reading).body == b"x" * size
            lazy = await made.client()
            lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
            body = chat("m", stream=True, events=200_000, gap_s=0)
            await lazy.send(
                b"POST /v1/x HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            (exchange,) = await _active(made)
            before = -1
            while exchange.response_bytes != before:  # until it stands still
                before = exchange.response_bytes
                await asyncio.sleep(0.3)
            assert 0 < before < 12_000_000 and not exchange.ended

    asyncio.run(body())


async def _active(made: World) -> list:  # type: ignore[type-arg]
    await made.until(lambda: made.gateway.proxy.active)
    return list(made.gateway.proxy.active)


@pytest.mark.parametrize(
    ("limits", "path", "status"),
    [
        ({"timeout_first_byte_s": 0.2}, "/serving/ns/m/slow=9", 504),
        ({"timeout_body_s": 0.2}, "/serving/ns/m/echo", 408),
        ({"timeout_body_s": 0.2}, "/v1/x", 408),
    ],
)
def test_deadlines_end_what_does_not_move(limits: dict[str, float], path: str, status: int) -> None:
    async def body() -> None:
        async with world(**limits) as made, asyncio.timeout(10):
            await made.serve("m", await made.backend("a"))
            client = await made.client()
            length = 3 if status == 504 else 9
            await client.send(
                f"POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: {length}\r\n\r\n{{  ".encode()
            )
            assert (await client.answer()).status == status
            groups = made.gateway.site.groups.values()
            assert sum(group.in_flight for group in groups) == 0

    asyncio.run(body())


def test_too_many_clients_and_slow_heads_are_turned_away() -> None:
    async def body() -> None:
        async with (
            world(clients_max=2, timeout_head_s=0.2, timeout_idle_client_s=0.5) as made,
            asyncio.timeout(10),
        ):
            first, second = await made.client(), await made.client()
            assert (await first.get("/healthz")).status == 200
            third = await made.client()
            assert (await third.answer()).status == 503
            await second.send(b"GET / HTT")
            assert (await second.answer()).status == 408 and await second.closed()
            assert await first.closed()

    asyncio.run(body())


def test_many_waiters_are_bounded() -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(10):
            await made.serve("m")
            (group,) = made.gateway.site.groups.values()
            group.waiting_max = 2
            asked = [asyncio.create_task((await made.client()).post("/v1/x", chat("m"))) for _ in range(2)]
            await made.until(lambda: len(group.waiting) == 2)
            answer = await (await made.client()).post("/v1/x", chat("m"))
            assert answer.status == 429 and answer.headers["retry-after"]
            await made.serve("m", await made.backend("a"))
            assert [(await task).status for task in asked] == [200, 200]

    asyncio.run(body())


def test_nothing_is_left_open() -> None:
    async def body() -> None:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        async with world() as made, asyncio.timeout(20):
            await made.serve("m", await made.backend("a"))
            for number in range(30):
                client = await made.client()
                await client.post("/v1/x", chat("m", stream=number % 2 == 0))
                client.writer.close()
            await made.serve("m")
            await made.until(lambda: not made.gateway.proxy.clients)
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) <= before + 6  # noqa: PTH208 - the loop's own and the child's pipe

    asyncio.run(body())
