"""SIGTERM and Ctrl-C: what waits for others ends at once, what moves bytes ends where nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Stop(threading.Event):
    """Set when the pull is to end; `by` is the signal that asked for it, 0 before."""

    by = 0
    _waits = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C set it while the block runs; outside the main thread nothing is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that only waits, for a server or for room: KeyboardInterrupt ends it."""
        self._waits = True
        try:
            if self.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self._waits = False

    def _on_signal(self, number: int, _: object) -> None:
        self.by = number
        self.set()
        if self._waits:
            raise KeyboardInterrupt


def waiting(stop: threading.Event | None) -> AbstractContextManager[None]:
    """`stop.at_once()` where it is one of ours."""
    return stop.at_once() if isinstance(stop, Stop) else nullcontext()
