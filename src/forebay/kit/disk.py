"""The disk as a constructor argument: what a durable cache needs of it, and nothing else.

`tests/conformance/test_disk.py` holds the real disk and the simulated one (that loses power) to the same
behaviour.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from forebay.errors import Unavailable

BLOCK = 4 << 20  # bytes read or copied at a time
_LOCK_LOOK_S = 0.005
_SECTOR = 512
_UNTOLD = 1 << 60


@dataclass(frozen=True)
class Info:
    """What a name stands for: a folder, a `plain` file, or neither (a link, a device). `size` in bytes;
    `links` counts names of the same file; `changed` is seconds since 1970.
    """

    size: int
    folder: bool
    plain: bool
    inode: int
    links: int
    changed: float


@dataclass(frozen=True)
class Room:
    """Bytes of the file system that holds a path: all, and free for an unprivileged process. Of one that does
    not tell there is as much as anyone asks for.
    """

    total: int
    free: int


class Disk(Protocol):
    """Names and bytes: durable only after sync() (bytes) and sync_dir() (names). Errors are OSError."""

    def info(self, path: Path) -> Info | None:
        """What the name stands for (a link is not followed), or None."""

    def list(self, path: Path) -> list[str]:
        """Names in a folder, sorted; none if the folder is not there."""

    def blocks(self, path: Path) -> Iterator[bytes]:
        """The bytes of a file, BLOCK at a time."""

    def raw_blocks(self, path: Path) -> Iterator[bytes | memoryview]:
        """As blocks(), but from the device itself where that can be: what memory holds of the file neither
        helps nor is pushed out. A block is good until the next one.
        """

    def write(self, path: Path, data: bytes | Iterable[bytes]) -> None:
        """Make the file, or replace its bytes."""

    def mode(self, path: Path, bits: int) -> None:
        """Set the permission bits."""

    def sync(self, path: Path) -> None:
        """Wait until the bytes of a file survive a power cut."""

    def sync_dir(self, path: Path) -> None:
        """Wait until the names in a folder survive a power cut."""

    def rename(self, old: Path, new: Path) -> None:
        """Move a file (over another) or a folder (to a free name) in one step."""

    def link(self, old: Path, new: Path) -> None:
        """A second name for a file. FileExistsError if the name is taken."""

    def unlink(self, path: Path) -> None:
        """Take a file's name away."""

    def mkdir(self, path: Path) -> None:
        """Make one folder. FileExistsError if the name is taken."""

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""

    def lock(self, path: Path, wait_s: float) -> AbstractContextManager[None]:
        """Hold the file's lock against everyone, other processes too. Raises Unavailable after `wait_s`."""

    def held(self, path: Path) -> bool:
        """Whether someone holds that lock; it ends with its process."""

    def room(self, path: Path) -> Room:
        """How full the file system is."""


class RealDisk:
    """The machine's own disk."""

    def info(self, path: Path) -> Info | None:
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        folder = stat.S_ISDIR(found.st_mode)
        plain = stat.S_ISREG(found.st_mode)
        return Info(found.st_size, folder, plain, found.st_ino, found.st_nlink, found.st_ctime)

    def list(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 (names, a hot path)
        except FileNotFoundError:
            return []

    def blocks(self, path: Path) -> Iterator[bytes]:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                yield block

    def raw_blocks(self, path: Path) -> Iterator[bytes | memoryview]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except (OSError, AttributeError) as error:  # not every file system, not every system
            if isinstance(error, FileNotFoundError):
                raise
            yield from self.blocks(path)
            return
        try:
            size = os.fstat(descriptor).st_size
            most = min(BLOCK, size + mmap.PAGESIZE - size % mmap.PAGESIZE)  # all of it is made ready
            buffer, at = memoryview(mmap.mmap(-1, most)), 0  # aligned, as it must be
            while count := os.preadv(descriptor, [buffer], at):
                yield buffer[:count]
                at += count
                if count % _SECTOR:
                    break  # the end; and from here nothing could be asked for
        except OSError as error:
            if error.errno != errno.EINVAL or at:
                raise
            yield from self.blocks(path)  # it could be opened so, but that was not meant
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes | Iterable[bytes]) -> None:
        with path.open("wb") as file:
            for block in (data,) if isinstance(data, bytes) else data:
                file.write(block)

    def mode(self, path: Path, bits: int) -> None:
        path.chmod(bits)

    def sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)

    def sync_dir(self, path: Path) -> None:
        sync_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)  # noqa: PTH104 (Path.rename hides that a file is replaced)

    def link(self, old: Path, new: Path) -> None:
        try:
            os.link(old, new)
        except OSError as error:
            if error.errno == errno.EMLINK:
                count = old.stat().st_nlink
                why = f"one content has {count} names, and gets no more: remove models that have it"
            elif error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                why = "no hard link can be made: a cache needs them (ext4 and XFS have them) and one owner"
            else:
                raise
            raise OSError(error.errno, why, str(new)) from error

    def unlink(self, path: Path) -> None:
        path.unlink()

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    @contextmanager
    def lock(self, path: Path, wait_s: float) -> Iterator[None]:
        deadline = time.monotonic() + wait_s
        while (descriptor := _lock_now(path)) is None:
            if time.monotonic() >= deadline:
                raise Unavailable(f"the lock {path} is held for over {wait_s:g} s; see who holds it")
            time.sleep(_LOCK_LOOK_S)
        try:
            yield
        finally:
            os.close(descriptor)  # gives the lock back

    def held(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def room(self, path: Path) -> Room:
        found = os.statvfs(path)
        if not found.f_blocks:  # it does not tell
            return Room(_UNTOLD, _UNTOLD)
        return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Some file systems (SMB's) sync no folders and keep names by
    themselves: there this is all that can be done.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":  # there fsync() stops at the drive's own cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _lock_now(path: Path) -> int | None:
    """A descriptor that holds the lock of the file with this name, or None if someone else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if _try_lock(descriptor, fcntl.LOCK_EX) and _names(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _names(path: Path, descriptor: int) -> bool:
    """Whether the name still stands for the open file: it may have been removed before we had the lock."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        why = "this file system has no locks (flock), which several processes on one folder need"
        raise OSError(error.errno, why) from error
    return True


def read(disk: Disk, path: Path) -> bytes:
    """All bytes of a small file. Raises FileNotFoundError."""
    return b"".join(disk.blocks(path))


def make_folders(disk: Disk, path: Path) -> None:
    """The folder and those above it, each name durable."""
    missing = []
    while disk.info(path) is None:
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        try:
            disk.mkdir(folder)
        except FileExistsError:
            continue  # someone else was first
        disk.sync_dir(folder.parent)


def put(disk: Disk, path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a small file so that readers, and a power cut if `durable`, see the old bytes or the new, never a
    mix.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.tmp")
    try:
        disk.write(temporary, data)
        if durable:
            disk.sync(temporary)
        disk.rename(temporary, path)
    except OSError:
        with suppress(OSError):  # a full disk is asked again and again: each time a name, and it has no more
            disk.unlink(temporary)
        raise
    if durable:
        disk.sync_dir(path.parent)


def remove_tree(disk: Disk, path: Path) -> None:
    """Remove a file, or a folder with all in it; nothing if it is not there."""
    found = disk.info(path)
    if found is None:
        return
    if not found.folder:
        disk.unlink(path)
        return
    for name in disk.list(path):
        remove_tree(disk, path / name)
    disk.rmdir(path)


def files_below(disk: Disk, path: Path) -> list[Path]:
    """Every file below a folder (links are not followed), sorted; none if the folder is not there."""
    found: list[Path] = []
    for name in disk.list(path):
        below = path / name
        info = disk.info(below)
        if info is not None:
            found += files_below(disk, below) if info.folder else [below]
    return found


def empty_folders_below(disk: Disk, path: Path) -> list[Path]:
    """Every folder below a folder that holds nothing, sorted."""
    found: list[Path] = []
    for name in disk.list(path):
        below = path / name
        info = disk.info(below)
        if info is not None and info.folder:
            found += empty_folders_below(disk, below) if disk.list(below) else [below]
    return found
