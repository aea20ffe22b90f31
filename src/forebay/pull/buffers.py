"""Page-aligned buffers that are used again and again: the first touch of new memory is the costliest part of
a copy."""

from __future__ import annotations

import contextlib
import mmap
import threading

PAGE = 4096
_HUGE = 2 << 20


def block(size: int) -> mmap.mmap:
    """`size` bytes of anonymous memory, in huge pages where the system has them.

    Private, since shared memory gets none (Linux, admin-guide/mm/transhuge). Each page of 4 KiB that is read
    for the first time in a while is a walk through two page tables in a virtual machine: a tenth of hashing.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class Buffers:
    """At most `bytes_max` bytes of anonymous memory, handed out in blocks. Thread-safe."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self._used = 0
        self._free: dict[int, list[mmap.mmap]] = {}
        self._ready = threading.Condition()
        self._wanted: list[int] = []  # sizes, of who waits
        self._closed = False

    def take(self, size: int) -> mmap.mmap | None:
        """A buffer of `size` bytes (a multiple of the page); waits for one; None once closed."""
        with self._ready:
            while not self._closed:
                if free := self._free.get(size):
                    return free.pop()
                if self._used + size <= self._max or self._drop_others(size):
                    self._used += size
                    return block(size)
                self._wanted.append(size)
                self._ready.wait(1.0)
                self._wanted.remove(size)
            return None

    def _drop_others(self, size: int) -> bool:
        """Give free buffers of other sizes back until `size` fits."""
        for other, free in self._free.items():
            while free and self._used + size > self._max:
                free.pop()
                self._used -= other
        return self._used + size <= self._max

    def give(self, buffer: mmap.mmap) -> None:
        """Put a buffer back."""
        with self._ready:
            self._free.setdefault(len(buffer), []).append(buffer)
            # The one who waits longest may need more than this block.
            self._ready.notify(1 if len(set(self._wanted)) < 2 else len(self._wanted))

    def close(self) -> None:
        """Nobody gets a buffer any more; the memory goes when the last user lets go."""
        with self._ready:
            self._closed = True
            self._free.clear()
            self._ready.notify_all()
