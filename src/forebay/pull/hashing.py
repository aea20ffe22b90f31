"""Hashers judge files as their bytes come in order; the committer makes what is good durable and publishes
it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from forebay.errors import Unavailable
from forebay.kit.disk_errors import disk_error, is_unreadable
from forebay.kit.failpoints import failpoint
from forebay.pull.blame import differing
from forebay.pull.board import RESTARTS_MAX, Board
from forebay.pull.buffers import block
from forebay.pull.clockwork import Watch
from forebay.pull.digests import Digests
from forebay.pull.model import Finished
from forebay.pull.parts import Part, disk_errors
from forebay.pull.state import Item, Transfer
from forebay.sources.paths import short_name

# ext2 to ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, overlay (statfs(2)): the others' files are synced one by one
_SYNCED = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x2FC12FC1, 0xF2F52010, 0x01021994, 0x794C7630})
HOT_BYTES = 512 * 1024  # a quarter of the second-level cache of today's server cores


class Hasher:
    """One thread that takes the next bytes of any file that has some. `read_back` tells what was read
    back."""

    def __init__(self, board: Board, damaged: Path) -> None:
        self._board = board
        self._damaged = damaged
        self.watch = Watch()
        self.read_back = 0
        # Not from the pool: all of that may be in the queue behind what is read back.
        self._own = (ctypes.c_char * HOT_BYTES).from_buffer(block(HOT_BYTES))

    def run(self) -> None:
        """The thread's body: never raises, the board hears of what went wrong."""
        try:
            while True:
                with self.watch.phase("idle"):
                    transfer = self._board.next_hash()
                if transfer is None:
                    return
                self._work(transfer)
        except BaseException as error:  # noqa: BLE001  (a thread's end: the board tells the caller)
            self._board.fail(error)

    def _work(self, transfer: Transfer) -> None:
        # In this order: when the file starts over meanwhile, the new digests get nothing of the old bytes.
        epoch, digests = transfer.epoch, transfer.digests
        while (item := self._board.next_item(transfer, epoch)) is not None:
            try:
                if not self._feed(transfer, item, digests):
                    break
            except Unavailable as error:
                self._lost(transfer, epoch, error)
                break
            end = item.offset + item.count
            digest = digests.sha256
            if end == transfer.expect[0] and digest != transfer.expect[1] and transfer.expect[1]:
                self._board.start_over(transfer, epoch, "the disk does not hold what was received")
                break
            if not self._board.hashed(transfer, epoch, end, digest):
                break
        if self._board.hasher_leaves(transfer, epoch):
            self._judge(transfer)

    def _lost(self, transfer: Transfer, epoch: int, error: Unavailable) -> None:
        """What the disk cannot read back comes again; else each pull would end at the same bad place. Raises
        `error` where that helped nothing, or if it is another one."""
        cause = error.__cause__
        if not isinstance(cause, OSError) or not is_unreadable(cause) or transfer.restarts >= RESTARTS_MAX:
            raise error
        with disk_errors(f"clear {transfer.path}"):
            os.truncate(transfer.path, 0)  # the bad place with it; what came is forgotten before more comes
        self._board.start_over(transfer, epoch, f"the disk cannot read it back ({cause.strerror})")

    def _feed(self, transfer: Transfer, item: Item, digests: Digests) -> bool:
        """Hash the item; False if the pull ended before all of it was read."""
        if item.buffer is not None:
            with self.watch.phase("hash"):
                self._hash(digests, item.buffer, item.count)
            self._board.buffers.give(item.buffer)
            return True
        assert transfer.part is not None
        offset, end = item.offset, item.offset + item.count
        own = memoryview(self._own)
        while offset < end and not self._board.over:
            with self.watch.phase("disk"):
                got = transfer.part.read(offset, own)
            if not got:
                lost = OSError(errno.EIO, "it is shorter than what was written to it")
                raise disk_error(f"read {transfer.path}", lost) from lost
            got = min(got, end - offset)
            with self.watch.phase("hash"):
                digests.update(own[:got])
            offset += got
            self.read_back += got
        return offset == end

    def _hash(self, digests: Digests, buffer: mmap.mmap, count: int) -> None:
        """Hash a block by way of a small copy that stays in the core's cache.

        SHA-256 straight from a pool that is larger than the cache waits for memory at each page: 0.95 GB/s
        instead of 1.2. The copy runs at 10 GB/s. ctypes' lets other threads run meanwhile, a slice does not.
        """
        head = ctypes.c_char.from_buffer(buffer)  # keeps the buffer where it is
        first, own = ctypes.addressof(head), memoryview(self._own)
        for start in range(0, count, HOT_BYTES):
            size = min(HOT_BYTES, count - start)
            ctypes.memmove(self._own, first + start, size)
            digests.update(own[:size])

    def _judge(self, transfer: Transfer) -> None:
        why = transfer.digests.difference()
        if not why:
            if transfer.evidence is not None:
                guilty = differing(transfer.evidence, transfer.path)
                with self._board.changed:
                    self._board.origins.name(transfer, guilty)
            failpoint("pull.file.verified")
            self._board.good(transfer)
            return
        self._board.bad(transfer, why, set_aside(transfer, self._damaged))


def set_aside(transfer: Transfer, damaged: Path) -> Path:
    """Move bytes that failed a check to where a person can look at them; the part starts empty again."""
    with disk_errors(f"set aside {transfer.path}"):
        damaged.mkdir(parents=True, exist_ok=True)
        name = f"{transfer.path.stem}-{transfer.file.path.replace('/', '_')[-100:]}"
        if transfer.part is not None:
            transfer.part.close()
        again = f".{transfer.restarts}" if transfer.restarts else ""
        aside = damaged / short_name(f"{name}{again}")
        transfer.path.replace(aside)
    if transfer.part is not None:
        transfer.part = Part(transfer.path, direct=transfer.part.wanted_direct)
    return aside


class Committer:
    """One thread: sync, publish, tidy up. Several files at once cost one sync of the file system, not one
    each."""

    def __init__(self, board: Board, publish: Callable[[Sequence[Finished]], None], *, since: int) -> None:
        """`since`: see sync_files()."""
        self._board = board
        self._publish = publish
        self._since = since
        self.watch = Watch()
        self.files = 0
        self.bytes = 0

    def run(self) -> None:
        """The thread's body: never raises, the board hears of what went wrong."""
        try:
            while batch := self._board.next_commit():
                self._commit(batch)
        except BaseException as error:  # noqa: BLE001  (a thread's end: the board tells the caller)
            self._board.fail(error)

    def _commit(self, batch: Sequence[Finished | Transfer]) -> None:
        small = [item for item in batch if isinstance(item, Finished)]
        big = [item for item in batch if isinstance(item, Transfer)]
        with self.watch.phase("fsync"):
            sync_files([item.part for item in small], self._since)
            finished = small + [_synced(transfer) for transfer in big]
        failpoint("pull.file.synced")
        self._publish(finished)
        failpoint("pull.file.published")
        for transfer in big:
            transfer.published = True
            transfer.drop_journal()
            transfer.lock.release()
        self.files += len(finished)
        self.bytes += sum(item.size for item in finished)
        self._board.published(len(finished), parts=len(big))


def _synced(transfer: Transfer) -> Finished:
    assert transfer.part is not None and transfer.size is not None
    transfer.part.sync(transfer.size)
    transfer.part.close()
    digests, names = transfer.digests, tuple(sorted(transfer.senders))
    return Finished(transfer.file, transfer.path, transfer.size, digests.sha256, not digests.promised, names)


def sync_files(paths: Sequence[Path], since: int) -> None:
    """Make written files durable: one by one if they are few, else with one sync of their file system.

    `since` is a descriptor on it that was open before the first of them was written: it hears of every write
    that failed since. One that is opened now would not hear of what somebody else's sync was told already.
    """
    if not paths:
        return
    with disk_errors(f"sync {paths[0].parent}"):
        if len(paths) > 4 and _syncfs(since):
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _syncfs(descriptor: int) -> bool:
    """Linux' syncfs(2), which reports write errors since 5.8; False where it is not there or promises nothing
    (on FUSE it tells nobody to sync anything). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs") or _kind(libc, descriptor) not in _SYNCED:
        return False
    if libc.syncfs(descriptor) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM):  # a sandbox
        return False
    raise OSError(number, os.strerror(number))


def _kind(libc: ctypes.CDLL, descriptor: int) -> int:
    """The file system's number, as in statfs(2); 0 if nobody tells."""
    about = ctypes.create_string_buffer(512)
    return 0 if libc.fstatfs(descriptor, about) else ctypes.c_long.from_buffer(about).value & 0xFFFFFFFF
