"""What may be made durable, until the committer takes it: many small files at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from forebay.pull.model import Finished
from forebay.pull.state import Transfer

MOST = 512  # files of one commit
GATHER_S = 0.5  # a kill costs so much of the small files


class Verified:
    """The lock of `ready` is the board's, and is held by whoever calls."""

    def __init__(self, lock: threading.RLock) -> None:
        self.ready = threading.Condition(lock)
        self._items: deque[Finished | Transfer] = deque()

    def __iter__(self) -> Iterator[Finished | Transfer]:
        return iter(self._items)

    def put(self, item: Finished | Transfer, left: int) -> None:
        """One more, of `left` that are not published."""
        self._items.append(item)
        if len(self._items) == 1 or self._is_enough(left):
            self.ready.notify()

    def _is_enough(self, left: int) -> bool:
        return len(self._items) >= min(MOST, left) or isinstance(self._items[-1], Transfer)

    def wait(self, left: Callable[[], int], over: Callable[[], bool]) -> None:
        """Until there is something, and then until it is worth a commit: a sync of the file system for each
        dozen of small files takes a tenth of a pull of ten thousand."""
        while not self._items and not over():
            self.ready.wait(0.5)
        self.ready.wait_for(lambda: over() or self._is_enough(left()), GATHER_S)

    def take(self) -> list[Finished | Transfer]:
        """The first ones, at most MOST."""
        return [self._items.popleft() for _ in range(min(MOST, len(self._items)))]
