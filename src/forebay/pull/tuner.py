"""How many connections: more while they bring more, fewer when the origin says so. Pure; time comes in."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.pull.plan import ordered_workers


@dataclass(frozen=True)
class Sight:
    """What the tuner sees: bytes and thread seconds are totals since the start."""

    now: float
    moved: int
    wanting: bool  # another connection would find unclaimed work
    network_s: float  # workers waited for the network
    local_s: float  # workers waited for the disk or for hashers
    round_trip_s: float = 0.0  # the shortest wait for an answer, 0 if none has come yet
    spilled: int = 0  # bytes that came too early to wait in memory: the disk reads them again
    room: int = 0  # bytes that may wait in memory for their turn, 0: any number
    files: int = 1  # that are fetched side by side
    pace: float = 0.0  # bytes per second of the quickest connection


FAR_S = 0.015
FAR_START = 10  # each asks ahead, so that two answers are on their way
SLOWED_S = 1.0  # what was under way when the number was halved may still be refused
SLOW_BYTES_S = 1.5e6  # of a connection: below, one burst more or less decides about a short window
SLOW_WINDOW_S = 2.0
SPILL_MOST = 0.1  # of the bytes that moved


@dataclass
class Tuner:
    """Doubles the number of connections as long as that pays and the network is what is waited for.

    Windows are short: a far origin wants many connections, and each window before that is lost time. Who
    answers late is far, and gets ten at once: each connection is slow there. Where a connection is slow for
    another reason (servers that throttle send once a second) windows are longer, and what paid fully is
    followed by a larger step. What comes so early that the disk has to read it again is no gain, however fast
    it came.
    """

    target: int
    most: int
    window_s: float = 0.35
    _last: Sight | None = None
    _before: tuple[int, float] | None = None  # (connections, rate) before the last growth
    _frozen_until: float = 0.0
    _slowed: float = -SLOWED_S
    _before_far: int = 0  # what it was when the origin was taken for a far one

    def seen(self, sight: Sight) -> int:
        """The number of connections from now on."""
        last = self._last
        far = sight.round_trip_s >= FAR_S
        if far and not self._before_far and sight.wanting and sight.now >= self._frozen_until:
            self._before_far, self._last = self.target, sight
            self.target = max(self.target, min(self.most, FAR_START))
            return self.target
        if self._before_far and not far and self._before is None:  # it was only busy for a moment
            self.target, self._before_far = min(self.target, self._before_far), 0
        seconds = 0.0 if last is None else sight.now - last.now
        if last is None or seconds < self.window_s:
            self._last = last or sight
            return self.target
        rate = (sight.moved - last.moved) / seconds
        slow = (sight.pace or rate / self.target) < SLOW_BYTES_S
        if slow and seconds < SLOW_WINDOW_S:
            return self.target
        self._last = sight
        if rate <= 0 or sight.now < self._frozen_until:
            return self.target
        spills = sight.spilled - last.spilled > SPILL_MOST * (sight.moved - last.moved)
        network_bound = sight.network_s - last.network_s > sight.local_s - last.local_s and not spills
        if self._before is not None and (spills or not self._paid(rate)):
            self.target, self._before = self._before[0], None
            self._frozen_until = sight.now + 5.0
        elif sight.wanting and network_bound and self.target < (most := self._most(sight)):
            step = 4 if slow and self._paid(rate, share=0.8) else 2
            self._before = (self.target, rate)
            self.target = min(most, self.target * step)
        else:
            self._before = None
        return self.target

    def _most(self, sight: Sight) -> int:
        """From afar a piece should last two round trips, and what comes before its turn fit into memory."""
        if not self._before_far or not sight.room:
            return self.most
        piece = int(2 * sight.round_trip_s * sight.pace)
        streams = ordered_workers(sight.room, piece, sight.files)
        return min(self.most, max(FAR_START, streams // 2))  # two each: it asks ahead

    def _paid(self, rate: float, *, share: float = 0.25) -> bool:
        """Whether the last growth brought this share of itself."""
        if self._before is None:
            return False
        connections, before = self._before
        added = (self.target - connections) / connections
        return rate >= before * (1 + share * added)

    def slow_down(self, now: float) -> int:
        """The origin asked for less (429 or 503): half as many, again every second while it does, and no
        growth for a while."""
        if now >= self._slowed + SLOWED_S:
            self.target, self._slowed = max(1, self.target // 2), now
        self._before, self._frozen_until = None, now + 10.0
        return self.target
