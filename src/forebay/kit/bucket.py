"""A limit on bytes per second that may change while it is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Bucket:
    """A token bucket. `rate` in bytes per second, 0 for no limit; a tenth of a second may be taken at
    once."""

    def __init__(self, rate: float = 0.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = rate
        self._ready_at = clock()

    @property
    def rate(self) -> float:
        """Bytes per second, 0 for no limit."""
        return self._rate

    def set_rate(self, rate: float) -> None:
        """Change the limit now; waiting threads see it at their next piece."""
        with self._lock:
            self._rate = max(0.0, rate)
            self._ready_at = self._clock()

    def wait_s(self, count: int) -> float:
        """Book `count` bytes and tell how many seconds to wait before moving them."""
        with self._lock:
            if not self._rate:
                return 0.0
            now = self._clock()
            start = max(self._ready_at, now - 0.1)
            self._ready_at = start + count / self._rate
            return max(0.0, start - now)
