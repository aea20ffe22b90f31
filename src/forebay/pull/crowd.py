"""Whether an origin that does not let a connection in is merely full: our own others are being served there.

Such a piece is not given up. It waits for its turn, which comes when another piece ends, and the pull goes on
with fewer connections. Each patience of that kind needs bytes that were kept, so it cannot last for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from forebay.sources.wire.conn import Dropped, Unreachable, Untrusted

PROGRESS_BYTES = 64 * 1024  # of kept bytes: less is no progress


class Crowd:
    """What the workers of a pull tell each other: bytes that were kept, and pieces that ended.

    `changed` is the board's: its waiters wake up when the pull is over.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self.served = 0  # bytes on disk that came in this run
        self._ended = 0

    def came(self, count: int) -> None:
        """So many bytes more are on disk."""
        with self._changed:
            self.served += count

    def ended(self) -> None:
        """A piece is over: whoever was not let in may try now."""
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wait(self, seconds: float, over: Callable[[], bool]) -> None:
        """Until a piece ends, the pull is over, or so many seconds have passed."""
        with self._changed:
            before = self._ended
            self._changed.wait_for(lambda: over() or self._ended != before, seconds)


@dataclass
class Patience:
    """Of one piece: `attempts` in a row that brought nothing, and `tries`, which make waits grow."""

    attempts: int = 0
    tries: int = 0
    _since: float = 0.0  # when the first of them failed
    _others: int = 0  # what had been served by then

    def progress(self) -> None:
        """Enough has come: the next attempt is a first one."""
        self.attempts = self.tries = 0

    def failed(self, error: Exception, kept: int, served: int, now: float) -> bool:
        """Count an attempt that kept `kept` bytes. True if the origin is merely full: of what was `served` in
        all by now, some came since the first failure."""
        self.attempts += 1
        self.tries += 1
        again = kept == 0 and self.attempts > 1  # one alone is an accident, or the end of them all
        full = again and may_pass(error) and served - self._others >= PROGRESS_BYTES
        if self.attempts == 1 or kept or full:
            self._others = served
        if full:
            self.attempts = 1
        if self.attempts == 1:
            self._since = now
        return full

    def lasted(self, now: float) -> float:
        """Seconds since the first attempt in vain."""
        return now - self._since


def may_pass(error: Exception) -> bool:
    """Whether this is trouble that ends by itself: nobody there, nobody listening, nobody with time."""
    if isinstance(error, Dropped) or getattr(error, "busy", False):
        return True
    return isinstance(error, Unreachable) and not isinstance(error, Untrusted)
