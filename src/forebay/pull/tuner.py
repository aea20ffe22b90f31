"""How many connections: more while they bring more, fewer when the origin says so. Pure; time comes in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tuner:
    """Doubles the number of connections as long as a quarter of the added ones pays and a core is idle.

    `seen()` is called with the bytes moved so far; windows are short at first, since a far origin wants many
    connections and each window before that is lost time.
    """

    target: int
    most: int
    window_s: float = 0.35
    _at: float = 0.0
    _bytes: int = 0
    _before: tuple[int, float] | None = None  # (connections, rate) before the last growth
    _frozen_until: float = 0.0

    def seen(self, *, now: float, moved: int, idle: float, wanting: bool) -> int:
        """The new target. `idle`: idle cores; `wanting`: whether there is unclaimed work for another
        connection."""
        if not self._at:
            self._at, self._bytes = now, moved
            return self.target
        seconds = now - self._at
        if seconds < self.window_s:
            return self.target
        rate = (moved - self._bytes) / seconds
        self._at, self._bytes = now, moved
        if rate <= 0 or now < self._frozen_until:
            return self.target
        if self._before is not None and not self._paid(rate):
            self.target, self._before = self._before[0], None
            self._frozen_until = now + 5.0
        elif wanting and idle > 0.3 and self.target < self.most:
            self._before = (self.target, rate)
            self.target = min(self.most, self.target * 2)
        else:
            self._before = None
        return self.target

    def _paid(self, rate: float) -> bool:
        assert self._before is not None
        connections, before = self._before
        added = (self.target - connections) / connections
        return rate >= before * (1 + 0.25 * added)

    def slow_down(self, now: float) -> int:
        """The origin asked for less (429 or 503): half as many, and no growth for a while."""
        if now >= self._frozen_until:
            self.target = max(1, self.target // 2)
        self._before, self._frozen_until = None, now + 10.0
        return self.target


class IdleCores:
    """Idle cores of the machine since the last question, from /proc/stat; one where that is not there."""

    def __init__(self) -> None:
        self._last = self._read()

    def __call__(self) -> float:
        new, old = self._read(), self._last
        self._last = new
        if new is None or old is None:
            return 1.0
        total = sum(new) - sum(old)
        idle = (new[3] + new[4]) - (old[3] + old[4])
        return self._cores() * idle / total if total > 0 else 0.0

    @staticmethod
    def _cores() -> int:
        import os

        return os.cpu_count() or 1

    @staticmethod
    def _read() -> list[int] | None:
        try:
            with open("/proc/stat") as stat:
                return [int(word) for word in stat.readline().split()[1:9]]
        except (OSError, ValueError):
            return None
