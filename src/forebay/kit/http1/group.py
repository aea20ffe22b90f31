"""A set of interchangeable backends, and the requests that wait for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from forebay.kit.http1.backend import Address, Backend

if TYPE_CHECKING:
    from forebay.kit.http1.passage import Passage


class Group:
    """Picks the backend with the fewest requests in flight; holds requests while there is none.

    `wait_s` is how long a request may wait; 0 refuses at once. One owner: the event loop's thread.
    """

    __slots__ = ("_turn", "backends", "in_flight", "wait_s", "waiting", "waiting_max")

    def __init__(self, *, wait_s: float, waiting_max: int) -> None:
        self.backends: list[Backend] = []
        self.waiting: dict[Passage, None] = {}
        self.wait_s = wait_s
        self.waiting_max = waiting_max
        self.in_flight = 0
        self._turn = 0

    def set_addresses(self, addresses: tuple[Address, ...]) -> None:
        """Take over the backends that serve from now on; those that left finish what they have."""
        old = {backend.address: backend for backend in self.backends}
        self.backends = [
            old.pop(address) if address in old else Backend(address) for address in dict.fromkeys(addresses)
        ]
        for gone in old.values():
            gone.retire()
        if self.backends:
            self.wake()

    def wake(self) -> None:
        """Let every waiting request try again, in order of arrival."""
        waiting, self.waiting = self.waiting, {}
        for passage in waiting:
            passage.try_again()

    def pick(self, tried: set[Address]) -> Backend | None:
        """The least busy backend that was not tried; those that just refused a connection come last."""
        backends = self.backends
        if len(backends) == 1 and not tried:
            return backends[0]
        count, now = len(backends), time.perf_counter()
        self._turn += 1
        best: Backend | None = None
        best_rank = (True, 0)
        for step in range(count):  # from another place each time, so that equals take turns
            backend = backends[(self._turn + step) % count]
            rank = (backend.aside_until > now, backend.in_flight)
            if backend.address not in tried and (best is None or rank < best_rank):
                best, best_rank = backend, rank
        return best
