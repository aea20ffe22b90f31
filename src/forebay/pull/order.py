"""In which order a file's bytes are hashed, and from where: the buffer they came in, or the disk."""

from __future__ import annotations

import mmap

from forebay.pull.buffers import Buffers
from forebay.pull.plan import Ranges
from forebay.pull.state import Item, Transfer


class Order:
    """Queues the bytes of files for their hashers. Not thread-safe: the board calls it under its lock.

    Bytes that come before their turn keep their buffer while all of those together are at most `early_max`
    bytes; what does not fit is read back from disk. Half of the pool at most may wait so: whoever fetches the
    bytes that are next in turn must always find a buffer.
    """

    def __init__(self, buffers: Buffers, early_max: int) -> None:
        self._buffers = buffers
        self.early_max = early_max
        self.early = 0
        self.spilled = 0  # bytes in all that came early and did not fit

    def came(self, transfer: Transfer, offset: int, count: int, buffer: mmap.mmap) -> bool:
        """`count` bytes at `offset` are on disk and in `buffer`. True if that is kept for the hasher."""
        self._drop(transfer, offset, offset + count)
        kept = offset == transfer.tail
        if kept:
            transfer.queue.append(Item(offset, count, buffer))
            transfer.tail += count
        elif offset > transfer.tail and self.early + len(buffer) <= self.early_max:
            kept = True
            transfer.early[offset] = (count, buffer)
            self.early += len(buffer)
        else:
            self.spilled += count
        self.advance(transfer)
        return kept

    def advance(self, transfer: Transfer) -> None:
        """Queue everything whose turn has come."""
        end = transfer.done.end_from(transfer.tail)
        self._drop(transfer, 0, transfer.tail)
        while transfer.tail < end:
            at = transfer.tail
            if at in transfer.early:
                count, buffer = transfer.early.pop(at)
                self.early -= len(buffer)
                transfer.queue.append(Item(at, count, buffer))
            else:
                count = min([end, *transfer.early]) - at
                transfer.queue.append(Item(at, count, None))
            transfer.tail = at + count

    def only_prefix(self, transfer: Transfer) -> None:
        """One stream brings all that is not in turn yet, and writes over what came early: what is hashed must
        be what is on disk in the end."""
        self._drop(transfer, 0, 1 << 62)
        transfer.done = Ranges([(0, transfer.done.end_from(0))])

    def forget(self, transfer: Transfer) -> None:
        """The file starts over: its buffers are free."""
        self._drop(transfer, 0, 1 << 62)
        for buffer in transfer.forget():
            self._buffers.give(buffer)

    def _drop(self, transfer: Transfer, start: int, end: int) -> None:
        """Bytes of start..end that wait in memory are no longer, or not for sure, what is on disk."""
        stale = [at for at, (count, _) in transfer.early.items() if at < end and at + count > start]
        for at in stale:
            _, buffer = transfer.early.pop(at)
            self.early -= len(buffer)
            self._buffers.give(buffer)
