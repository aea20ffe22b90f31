"""A clock that stands until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

TURNS = 50  # of the event loop, after which everything that can run has run


class VirtualClock:
    """forebay.kit.clock.Clock over a number; an hour passes in a millisecond."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), done))
        await done

    async def settle(self) -> None:
        """Let everything run that waits for nothing."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers one after the other at their own moments."""
        until = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            when, _, done = heapq.heappop(self._sleepers)
            self._now = max(self._now, when)
            if not done.done():
                done.set_result(None)
            await self.settle()
        self._now = until
