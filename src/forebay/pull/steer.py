"""Whether the origin that sends most is too slow to stay with, while others could be asked: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SLOW_BYTES_S = 8e6
WINDOW_S = 3.0


@dataclass
class Steering:
    """Asked again and again with bytes moved so far by each origin. An origin that is slow in absolute terms
    rests while another shows what it can: if that is twice as fast the first stays away, else it comes back
    and is not doubted again.
    """

    window_s: float = WINDOW_S
    _since: float | None = None
    _before: dict[str, int] = field(default_factory=dict)
    _trial: tuple[str, float] | None = None  # who rests, and how fast it was
    _settled: set[str] = field(default_factory=set)

    def seen(self, now: float, moved: Mapping[str, int], asked: str) -> tuple[str, str] | None:
        """("rest" | "back", name) where something is to be changed; `asked` is who is asked first now."""
        if self._since is None:
            self._since, self._before = now, dict(moved)
            return None
        if now - self._since < self.window_s:
            return None
        span, self._since = now - self._since, now
        rates = {n: (count - self._before.get(n, 0)) / span for n, count in moved.items()}
        self._before = dict(moved)
        if self._trial is not None:
            (name, was), self._trial = self._trial, None
            self._settled.add(name)
            others = sum(rate for n, rate in rates.items() if n != name)
            return None if others >= 2 * was else ("back", name)
        rate = rates.get(asked, 0.0)
        if asked in self._settled or rate >= SLOW_BYTES_S:
            return None
        self._trial = asked, rate
        return "rest", asked
