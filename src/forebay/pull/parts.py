"""An unfinished file on disk: large aligned writes past the page cache where the file system takes them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.errors import ForebayError
from forebay.kit.disk_errors import disk_error
from forebay.pull.plan import ALIGN

_DIRECT = getattr(os, "O_DIRECT", 0)


class Part:
    """One part. Writes and reads may come from several threads; offsets of whole blocks are multiples of 4
    KiB."""

    def __init__(self, path: Path, *, direct: bool) -> None:
        self.path = path
        self.wanted_direct = direct
        with disk_errors(f"open {path}"):
            self._cached = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._past_cache = -1
        if direct and _DIRECT:
            with contextlib.suppress(OSError):
                self._past_cache = os.open(path, os.O_RDWR | _DIRECT | os.O_CLOEXEC)
        self.direct = self._past_cache >= 0  # whether whole blocks go past the page cache

    def write(self, offset: int, view: memoryview) -> None:
        """Write `view`, which starts on a page, at `offset`. Raises Exhausted, Unavailable."""
        whole = len(view) // ALIGN * ALIGN if self.direct and offset % ALIGN == 0 else 0
        with disk_errors(f"write {self.path}"):
            done = self._directly(os.pwrite, view[:whole], offset) if whole else 0
            write_all(self._cached, offset + done, view[done:])

    def read(self, offset: int, view: memoryview) -> int:
        """Read into `view`, which starts on a page; returns how many bytes, fewer only at the end of the
        file."""
        with disk_errors(f"read {self.path}"):
            if self.direct and offset % ALIGN == 0 and len(view) % ALIGN == 0:
                got = self._directly(os.preadv, [view], offset)
                if self.direct:
                    return got
            return os.preadv(self._cached, [view], offset)

    def _directly(self, call: Callable[[int, Any, int], int], what: object, offset: int) -> int:
        """How many bytes went past the page cache; none where the file system opens a file for that and does
        not mean it: overlay and network file systems do that."""
        try:
            return call(self._past_cache, what, offset)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
            self.direct = False
            return 0

    def sync(self, size: int) -> None:
        """Cut to `size` and make it durable.

        What a disk refuses here it may forget, and say yes the next time (Linux drops such pages and reports
        them once), though a read still shows the bytes: so nothing of it is kept.
        """
        with disk_errors(f"sync {self.path}"):
            if os.fstat(self._cached).st_size < size:  # cutting would fill it up with zeros
                raise OSError(errno.EIO, "it is shorter than what was written to it")
            self._cut(size)
            try:
                os.fsync(self._cached)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._cached, 0)
                raise

    def cut(self, size: int) -> None:
        """Make it at most so long."""
        with disk_errors(f"clear {self.path}"):
            self._cut(size)

    def _cut(self, size: int) -> None:
        if os.fstat(self._cached).st_size != size:  # not every file system can; most of the time none has to
            os.ftruncate(self._cached, size)

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self._cached, self._past_cache):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._cached = self._past_cache = -1


def write_all(descriptor: int, offset: int, view: memoryview) -> None:
    """Write all of `view`: the kernel may take less at a time, on a disk that is nearly full for one. Raises
    OSError."""
    while view:
        done = os.pwrite(descriptor, view, offset)
        offset, view = offset + done, view[done:]


class disk_errors(contextlib.ContextDecorator):
    """Turns errors of the disk into ours: no room, not allowed, anything else."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, ForebayError):
            raise disk_error(self._what, error) from error


class Lock:
    """One puller per part: a lock on a file beside it, gone with the process. Without flock: nobody else is
    there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def take(self) -> bool:
        """Whether it is ours now."""
        with disk_errors(f"open {self.path}"):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            pass  # a file system without locks
        if not _still_named(descriptor, self.path):
            os.close(descriptor)
            return False  # the one before us removed the file between our open and our lock
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Remove the lock file, then let go: whoever opened it meanwhile sees that the name is gone."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # the lock is the descriptor's; a name that stays harms nobody
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _still_named(descriptor: int, path: Path) -> bool:
    try:
        named, ours = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
