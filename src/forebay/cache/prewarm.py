"""Bring a model into the page cache before the engine that waits for it reads it.

Linux: each file is mapped and populated in steps (MADV_POPULATE_READ, since 5.14), which reads ahead without
copying. Elsewhere, or if that is refused, it is read through. Works on real files only; no promise rests on
it. Pages are not touched: where a host lends its memory that costs up to 2 s a gigabyte, whoever does it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

STEP = 8 << 20  # bytes; a multiple of every page size
_POPULATE_READ = 22  # Linux, include/uapi/asm-generic/mman-common.h
_KEEP_FREE = 256 << 20
_ABSENT = bytes(range(0, 256, 2))  # what mincore(2) says of a page that is not there: the lowest bit is 0


@dataclass(frozen=True)
class Warmed:
    """Bytes that were brought in, bytes of all files, and which share of them is resident now (None:
    unknown).
    """

    bytes: int
    total: int
    resident: float | None


def prewarm(
    paths: Iterable[Path], *, budget: int | None = None, stop: Callable[[], bool] = lambda: False
) -> Warmed:
    """Read files into the page cache, largest last, up to `budget` bytes (default: what memory has free).

    `stop()` is asked between steps. Raises OSError if a file cannot be read.
    """
    files = sorted(((path.stat().st_size, path) for path in paths), key=lambda item: (item[0], str(item[1])))
    left = free_memory() if budget is None else budget
    done = resident = known = 0
    for size, path in files:
        if size == 0:
            continue
        warmed, pages = _warm(path, min(size, max(0, left)), stop)
        left -= warmed
        done += warmed
        if pages is not None:
            resident += pages
            known += size
    return Warmed(done, sum(size for size, _ in files), resident / known if known else None)


def resident_share(path: Path) -> float | None:
    """Share of a file's pages that are in the page cache, or None where that cannot be told."""
    size = path.stat().st_size
    if size == 0:
        return None
    pages = _warm(path, 0, lambda: False)[1]
    return None if pages is None else pages / size


def free_memory() -> int:
    """Bytes that the page cache may take without pushing programs out (MemAvailable less a reserve)."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return max(0, int(line.split()[1]) * 1024 - _KEEP_FREE)
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def _warm(path: Path, count: int, stop: Callable[[], bool]) -> tuple[int, int | None]:
    """Bytes brought in, and bytes resident (None: unknown)."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        with mmap.mmap(
            file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        ) as view:
            done = 0
            while done < count and not stop():
                step = min(STEP, count - done)
                _bring_in(file.fileno(), view, done, step)
                done += step
            return done, _resident(view, size)


def _bring_in(descriptor: int, view: mmap.mmap, start: int, count: int) -> None:
    try:
        view.madvise(_POPULATE_READ, start, count)
    except (OSError, ValueError):  # an older kernel, another system
        os.pread(descriptor, count, start)


def _resident(view: mmap.mmap, size: int) -> int | None:
    """Bytes of the mapping that are in memory, by mincore(2)."""
    mincore = getattr(ctypes.CDLL(None, use_errno=True), "mincore", None)
    if mincore is None:
        return None
    pages = -(-size // mmap.PAGESIZE)
    table = (ctypes.c_ubyte * pages)()
    first = ctypes.c_char.from_buffer(view)  # writable mapping, private: its address without a copy
    try:
        if mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), table) != 0:
            return None
    finally:
        del first
    full = len(bytes(table).translate(None, _ABSENT))
    return min(size, full * mmap.PAGESIZE)
