"""The control loop under virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.virtual_clock import VirtualClock

from forebay.api.kinds import ConfigMap
from forebay.api.meta import Key
from forebay.errors import (
    Absent,
    Bug,
    Clash,
    Damaged,
    Denied,
    Exhausted,
    ForebayError,
    Invalid,
    Unavailable,
)
from forebay.store.loop import Loop, Watch, wait_s
from forebay.store.sqlite import SqliteStore

A = Key("default", "a")


class AsTheyAre:
    def prepare(self, kind: object, new: dict[str, object], old: object, verb: str) -> dict[str, object]:
        return new


class Recorder:
    """A controller that writes down its turns and does what the test says."""

    name = "recorder"
    watches = (Watch(ConfigMap),)

    def __init__(self, turn: Callable[[int], Awaitable[float | None]]) -> None:
        self.turns: list[tuple[Key, float]] = []
        self.at_once: set[Key] = set()
        self._turn = turn
        self.clock = VirtualClock()

    async def reconcile(self, key: Key) -> float | None:
        assert key not in self.at_once, "one key in two hands"
        self.at_once.add(key)
        try:
            self.turns.append((key, self.clock.monotonic()))
            return await self._turn(len(self.turns))
        finally:
            self.at_once.discard(key)


async def rest(turn: int) -> float | None:
    return None


@asynccontextmanager
async def looping(folder: Path, controller: Recorder) -> AsyncIterator[tuple[SqliteStore, Loop]]:
    store = SqliteStore(folder / "a.db", AsTheyAre())
    await store.open()
    loop = Loop(store, controller, clock=controller.clock)
    task = asyncio.create_task(loop.run())
    try:
        yield store, loop
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.001)


def test_a_change_wakes_its_key(tmp_path: Path) -> None:
    async def body() -> None:
        controller = Recorder(rest)
        async with looping(tmp_path, controller) as (store, _):
            await store.create(ConfigMap.new("a", "default"))
            await eventually(lambda: len(controller.turns) == 1)

    asyncio.run(body())


def test_a_key_that_returns_while_busy_is_kept_once(tmp_path: Path) -> None:
    async def body() -> None:
        gate = asyncio.Event()

        async def slow(turn: int) -> float | None:
            await gate.wait()
            return None

        controller = Recorder(slow)
        async with looping(tmp_path, controller) as (_, loop):
            loop.ask(A)
            await eventually(lambda: len(controller.turns) == 1)
            for _ in range(10):
                loop.ask(A)
            gate.set()
            await eventually(lambda: len(controller.turns) == 2)
            await controller.clock.settle()
            assert len(controller.turns) == 2

    asyncio.run(body())


def test_a_timer_looks_again_and_an_earlier_look_replaces_it(tmp_path: Path) -> None:
    async def body() -> None:
        async def every_ten(turn: int) -> float | None:
            return 10.0

        controller = Recorder(every_ten)
        async with looping(tmp_path, controller) as (_, loop):
            loop.ask(A)
            await controller.clock.advance(5)
            loop.ask(A)
            await controller.clock.advance(30)
            assert [moment for _, moment in controller.turns] == [0, 5, 15, 25, 35]

    asyncio.run(body())


def test_waits_grow_and_success_forgets_them(tmp_path: Path) -> None:
    async def body() -> None:
        async def fails_thrice(turn: int) -> float | None:
            if turn <= 3:
                raise Unavailable("the hub is away")
            return 100.0 if turn == 4 else None

        controller = Recorder(fails_thrice)
        async with looping(tmp_path, controller) as (_, loop):
            loop.ask(A)
            await controller.clock.advance(200)
            assert [moment for _, moment in controller.turns] == [0, 0.5, 1.5, 3.5, 103.5]

    asyncio.run(body())


def test_a_bug_stops_one_object_and_not_the_loop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async def broken(turn: int) -> float | None:
            if turn == 1:
                raise ZeroDivisionError("oops")
            return None

        controller = Recorder(broken)
        async with looping(tmp_path, controller) as (_, loop):
            loop.ask(A)
            await controller.clock.advance(10_000)
            assert len(controller.turns) == 1
            loop.ask(Key("default", "b"))
            await controller.clock.advance(1)
            assert len(controller.turns) == 2

    asyncio.run(body())
    assert "ZeroDivisionError: oops" in caplog.text


@pytest.mark.parametrize(
    ("error", "failures", "seconds"),
    [
        (Invalid("x"), 1, None),
        (Bug("x"), 1, None),
        (Denied("x"), 1, 3600.0),
        (Absent("x"), 1, 3600.0),
        (Exhausted("x"), 1, 60.0),
        (Clash("x"), 4, 0.0),
        (Clash("x"), 5, 8.0),
        (Unavailable("x"), 1, 0.5),
        (Unavailable("x"), 30, 300.0),
        (Unavailable("x", retry_after_s=7.0), 1, 7.0),
        (Damaged("x"), 2, 1.0),
    ],
)
def test_waiting_times_come_from_the_errors_family(
    error: ForebayError, failures: int, seconds: float | None
) -> None:
    assert wait_s(error, failures) == seconds
