"""A token that ends: fetched when it is needed, again before it ends, and again when it was refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_SPARE = 0.2  # of a token's life: it is renewed that early
ASKED_AGAIN_S = 0.5


@dataclass
class Renewed:
    """Holds what `fetch` returns: (header value, seconds that it is good for). Safe for many threads.

    Who asks twice for the same thing with the same token was refused it: that token is not given out again.
    Threads that start on one thing at the same time ask within `ASKED_AGAIN_S` seconds of each other.
    """

    fetch: Callable[[], tuple[str, float]]
    now: Callable[[], float] = time.monotonic
    _value: str = field(default="", repr=False)
    _ends: float = float("-inf")
    _given: dict[str, tuple[float, float]] = field(default_factory=dict)  # per thing: which token, and when
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def value(self, what: str = "") -> str:
        """The header value to use now for `what` (a file's locator; "" is never counted as asked again)."""
        with self._lock:
            now = self.now()
            ends, when = self._given.get(what, (0.0, now))
            refused = bool(what) and ends == self._ends and now - when >= ASKED_AGAIN_S
            if now >= self._ends or refused:
                self._value, life_s = self.fetch()
                self._ends = self.now() + max(1.0, life_s * (1 - _SPARE))
                self._given.clear()
            if what:
                self._given.setdefault(what, (self._ends, now))
            return self._value
