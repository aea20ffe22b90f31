"""Which bytes of a file come next: pure arithmetic over ranges. Offsets in bytes, ends are exclusive."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

ALIGN = 4096


class Ranges:
    """A set of byte positions as sorted, disjoint, non-adjacent ranges."""

    def __init__(self, items: Iterable[tuple[int, int]] = ()) -> None:
        self._items: list[tuple[int, int]] = []
        for start, end in items:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._items == other._items

    def __repr__(self) -> str:
        return f"Ranges({self._items})"

    @property
    def total(self) -> int:
        """How many positions are in the set."""
        return sum(end - start for start, end in self._items)

    def add(self, start: int, end: int) -> None:
        """Put start..end into the set."""
        if start >= end:
            return
        low = bisect_right(self._items, (start, -1))
        if low and self._items[low - 1][1] >= start:
            low -= 1
        high = low
        while high < len(self._items) and self._items[high][0] <= end:
            start, end = min(start, self._items[high][0]), max(end, self._items[high][1])
            high += 1
        self._items[low:high] = [(start, end)]

    def remove(self, start: int, end: int) -> None:
        """Take start..end out of the set."""
        kept = [(a, b) for a, b in self._items if b <= start or a >= end]
        for a, b in self._items:
            if a < end and b > start:
                kept += [(x, y) for x, y in ((a, start), (end, b)) if x < y]
        self._items = sorted(kept)

    def end_from(self, start: int) -> int:
        """How far the set reaches without a hole from `start`; `start` itself if it is not in the set."""
        at = bisect_right(self._items, (start, float("inf"))) - 1
        return max(start, self._items[at][1]) if at >= 0 else start

    def holes(self, size: int) -> Iterator[tuple[int, int]]:
        """The ranges below `size` that are not in the set."""
        at = 0
        for start, end in self._items:
            if start >= size:
                break
            if start > at:
                yield at, start
            at = end
        if at < size:
            yield at, size


def next_segment(taken: Ranges, size: int, most: int) -> tuple[int, int] | None:
    """The first hole of a file, at most `most` bytes of it, ending on a block boundary or at the hole's end.

    `taken` are the ranges that are done or being fetched. None if there is no hole.
    """
    hole = next(taken.holes(size), None)
    if hole is None:
        return None
    start, end = hole
    if end - start <= most:
        return start, end
    return start, max(start + 1, (start + most) // ALIGN * ALIGN) if most >= ALIGN else start + most


SEGMENT_S = 0.6
PIECE_LEAST = 1 << 20


def usual_segment(pace: float, first: int) -> int:
    """Bytes that one connection moves in a good half second: far more than a round trip, and no long tail.

    `pace` in bytes per second, 0 if it is not known yet: then little, so that what is learned counts soon,
    and slow connections have not taken the whole file when it turns out that more would help. At most eight
    times `first`.
    """
    if not pace:
        return first // 8
    least = min(first // 8, PIECE_LEAST)
    return max(least, min(first * 8, int(pace * SEGMENT_S) // ALIGN * ALIGN))


def ordered_piece(room: int, workers: int, files: int) -> int:
    """Bytes of a piece so small that what comes before its turn fits into `room` bytes of memory.

    `workers` spread over `files`, k at each, begin one after the other: while a piece comes, those behind it
    have half of a piece each on average, so room = files * piece * (k - 1) / 2.
    """
    spare = workers - files
    return max(1 << 20, -(-2 * room // spare >> 20) << 20) if spare > 0 else 1 << 62


def ordered_workers(room: int, piece: int, files: int) -> int:
    """The most workers whose pieces fit in that way: `ordered_piece` the other way round."""
    return files + 2 * room // max(1 << 20, piece)


def segment_bytes(left: int, workers: int, *, usual: int, least: int) -> int:
    """Size of the next piece: the usual one, smaller towards the end so that all connections finish
    together."""
    fair = -(-left // (2 * max(1, workers)))
    return max(least, min(usual, -(-fair // least) * least))


def piece_bytes(pace: float, left: int, workers: int, *, first: int, most: int) -> int:
    """Size of the next piece of a worker that moves `pace` bytes per second.

    `left` is what all files lack; more than `most` would bring too much before its turn.
    """
    usual = min(usual_segment(pace, first), most)
    return segment_bytes(left, workers, usual=usual, least=min(4 << 20, usual, first))


def trusted_after_restart(done: Ranges, *, promised: bool, prefix: int, prefix_good: bool) -> Ranges:
    """What a new process may keep of a part.

    With a promised digest everything stays on trial: the digest decides in the end. Without one only the
    prefix whose hash was written down, and was found again on disk, is kept.
    """
    if not prefix_good:
        return Ranges()
    if promised:
        return Ranges(done)
    return Ranges([(0, prefix)])
