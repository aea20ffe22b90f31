"""Time as a constructor argument, so that a test can run an hour in a millisecond."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a program may know of time."""

    def now(self) -> datetime:
        """Wall clock, UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rfc3339(moment: datetime) -> str:
    """Kubernetes' metav1.Time: UTC, whole seconds, `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """Kubernetes' metav1.MicroTime: UTC, `2026-01-31T12:00:00.000000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """The inverse of rfc3339(); takes fractions and offsets too. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Setbacks:
    """Notices when the wall clock is set back; a laptop that slept has not been."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lead = self._measured()

    def _measured(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def seconds(self) -> float:
        """How far it was set back since the last call; 0.0 for steps forward and what is under a second."""
        before, self._lead = self._lead, self._measured()
        back = before - self._lead
        return back if back > 1.0 else 0.0
