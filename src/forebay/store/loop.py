"""The control loop, written once: a key is never in two hands, and waiting times come from the error's
family.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from forebay.api.meta import Key, Resource
from forebay.errors import Bug, ForebayError, Retry
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock
from forebay.store.informer import follow
from forebay.store.protocol import EVERYWHERE, Store, Where

HOUR_S, ROOM_S = 3600.0, 60.0
CLASHES_MAX = 5
log = logging.getLogger("forebay.loop")


def own_key(item: Any) -> Iterable[Key]:
    """The default of Watch.wakes: the changed object itself."""
    return (item.key,)


@dataclass(frozen=True)
class Watch:
    """One kind that wakes a controller; `wakes` maps a changed object to the keys to look at."""

    kind: type[Resource]
    wakes: Callable[[Any], Iterable[Key]] = own_key
    where: Where = EVERYWHERE


class Controller(Protocol):
    """One kind each; see STYLE.md for the shape of reconcile()."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Which changes wake it."""

    async def reconcile(self, key: Key) -> float | None:
        """Make the world fit one object; seconds until the next look, or None."""


class Loop:
    """Runs one controller. At most `parallel_max` keys are worked on at a time."""

    def __init__(self, store: Store, controller: Controller, *, clock: Clock, parallel_max: int = 4) -> None:
        self._store, self._controller, self._clock, self._parallel_max = (
            store,
            controller,
            clock,
            parallel_max,
        )
        self._due: dict[Key, None] = {}  # a queue that holds a key once, in order
        self._busy: set[Key] = set()
        self._timers: dict[Key, asyncio.Task[None]] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for watch in self._controller.watches:
                    group.create_task(self._follow(watch))
                for _ in range(self._parallel_max):
                    group.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def ask(self, key: Key) -> None:
        """Look at `key` soon; asking twice is asking once."""
        self._due[key] = None
        self._wake.set()

    async def _follow(self, watch: Watch) -> None:
        async for event in follow(self._store, watch.kind, watch.where, clock=self._clock):
            for key in watch.wakes(event.item):
                self.ask(key)

    async def _work(self) -> None:
        while True:
            key = next((k for k in self._due if k not in self._busy), None)
            if key is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            del self._due[key]
            self._busy.add(key)
            try:
                await self._once(key)
            finally:
                self._busy.discard(key)
                self._wake.set()

    async def _once(self, key: Key) -> None:
        self._cancel_timer(key)
        try:
            again_s = await self._controller.reconcile(key)
        except ForebayError as error:
            self._failures[key] = self._failures.get(key, 0) + 1
            self._say(key, error)
            again_s = wait_s(error, self._failures[key])
        except Exception as error:  # noqa: BLE001 - one of three places: a bug stops one object, not the program
            self._say(key, Bug(f"{type(error).__name__}: {error}"), exc_info=error)
            again_s = None
        else:
            self._failures.pop(key, None)
        if again_s is not None:
            self._timers[key] = asyncio.create_task(self._later(key, again_s))

    async def _later(self, key: Key, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self.ask(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _say(self, key: Key, error: ForebayError, exc_info: BaseException | None = None) -> None:
        log.log(error.level, "%s %s: %s", self._controller.name, key, error.message, exc_info=exc_info)


def wait_s(error: ForebayError, failures: int) -> float | None:
    """Seconds until the next try after `failures` errors in a row; None = rest until something changes."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    if error.retry is Retry.AGAIN and failures < CLASHES_MAX:
        return 0.0
    growing = backoff_s(failures - 1, first_s=0.5, most_s=300.0)
    table = {Retry.REST: None, Retry.STOP: None, Retry.HOURLY: HOUR_S, Retry.ROOM: ROOM_S}
    return table.get(error.retry, growing)


async def run_controllers(store: Store, controllers: Sequence[Controller], *, clock: Clock) -> None:
    """Run every controller until cancelled."""
    async with asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(Loop(store, controller, clock=clock).run(), name=controller.name)
