"""What a pull knows of its files: transfers, the pieces that workers hold, and bytes that wait to be
hashed."""

from __future__ import annotations

import mmap
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from forebay.pull import journal
from forebay.pull.digests import Digests
from forebay.pull.parts import Lock, Part, disk_errors
from forebay.pull.plan import Ranges, next_segment
from forebay.sources.types import RemoteFile, Source
from forebay.sources.wire.conn import Trust
from forebay.sources.wire.heads import Where


@dataclass(eq=False)
class Origin:
    """Someone who can send the files. `name` is for people and limits."""

    source: Source
    name: str
    index: int


@dataclass(frozen=True)
class Route:
    """Where a file's bytes come from, after redirects."""

    at: Where | Path
    headers: dict[str, str] = field(repr=False)
    trust: Trust = field(default_factory=Trust)


@dataclass
class Item:
    """Bytes in order, to be hashed: in `buffer`, or on disk where that is None."""

    offset: int
    count: int
    buffer: mmap.mmap | None


@dataclass(eq=False)
class Transfer:
    """One file on its way. All fields belong to the board's lock, except `digests`, which the one hasher at
    work owns."""

    file: RemoteFile
    identity: str
    path: Path
    size: int | None
    lock: Lock
    part: Part | None = None
    digests: Digests = field(default_factory=lambda: Digests(RemoteFile("", 0), 0))
    done: Ranges = field(default_factory=Ranges)
    active: list[Claim] = field(default_factory=list)
    queue: deque[Item] = field(default_factory=deque)
    early: dict[int, tuple[int, mmap.mmap]] = field(default_factory=dict)  # offset: count, before its turn
    tail: int = 0  # everything below is hashed or queued
    cursor: int = 0  # everything below is hashed
    prefix: tuple[int, str] = (0, "")
    expect: tuple[int, str] = (0, "")  # what the journal said the prefix hashes to
    hashing: bool = False
    single: bool = False  # ranges do not work here
    blind: bool = False  # nothing tells versions apart: one answer brings the file, or it begins again
    epoch: int = 0  # grows when the file starts over
    writers: Counter[int] = field(default_factory=Counter)  # epoch: blocks being written
    restarts: int = 0
    resumed: int = 0
    started: bool = False
    dirty: bool = False
    published: bool = False
    etags: dict[str, str] = field(default_factory=dict)
    senders: set[str] = field(default_factory=set)
    sent: dict[str, Ranges] = field(default_factory=dict)  # by name of the origin, of this run
    only: int | None = None  # the one origin to ask, while it is found out who sent bad bytes
    evidence: tuple[Path, dict[str, Ranges]] | None = None  # a copy that did not match, and who sent what
    avoid: dict[int, str] = field(default_factory=dict)  # origin index: why
    stalls: dict[int, int] = field(default_factory=dict)  # origin index: how often
    routes: dict[int, Route] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all is hashed and nobody writes any more: a single stream may write over what was there."""
        hashed = self.size is not None and self.cursor >= self.size
        return hashed and self.started and not self.active

    @property
    def is_haunted(self) -> bool:
        """Whether bytes from before it started over are still being written: they must not be the last."""
        return any(count > 0 for epoch, count in self.writers.items() if epoch != self.epoch)

    @property
    def journal(self) -> Path:
        """The file beside the part that says what is in it."""
        return self.path.with_name(self.path.name + ".journal")

    def drop_journal(self) -> None:
        """After its part. Without that it is believed by nobody, so a disk that refuses is no matter."""
        with suppress(OSError):
            self.journal.unlink(missing_ok=True)

    def sent_by(self, name: str, start: int, end: int) -> None:
        """Note who sent these bytes; the last one counts."""
        if start < end:
            for ranges in self.sent.values():
                ranges.remove(start, end)
            self.sent.setdefault(name, Ranges()).add(start, end)

    def forget(self) -> list[mmap.mmap]:
        """Start over: nothing has come. Returns the buffers that waited to be hashed."""
        self.epoch += 1
        self.done, self.active = Ranges(), []
        self.tail = self.cursor = self.resumed = 0
        self.prefix = self.expect = (0, "")
        self.etags, self.senders, self.routes, self.sent = {}, set(), {}, {}
        held = [item.buffer for item in self.queue if item.buffer is not None]
        self.queue.clear()
        self.size = self.file.size
        self.digests = Digests(self.file, self.size)
        self.dirty = True
        with disk_errors(f"clear {self.journal}"):
            self.journal.unlink(missing_ok=True)
        return held


@dataclass(eq=False)
class Claim:
    """A piece of a file that one worker fetches; `end` None: to the end, which nobody knows yet."""

    transfer: Transfer
    start: int
    end: int | None
    epoch: int
    single: bool
    refused: int = 0  # answers 401 and 403 since one was accepted

    def begin_again(self) -> None:
        """Be the one stream that brings all of a file which has been forgotten."""
        self.start, self.end, self.epoch, self.single = 0, self.transfer.size, self.transfer.epoch, True
        self.transfer.active = [self]


@dataclass
class Opening:
    """A transfer whose part has to be opened before pieces of it can be claimed."""

    transfer: Transfer


@dataclass
class Batch:
    """Small files for one connection, one request after the other without waiting."""

    transfers: list[Transfer]


Work = Claim | Opening | Batch


def next_piece(transfer: Transfer, most: int) -> tuple[int, int | None] | None:
    """What another worker could fetch of a file now: (start, end; None for its end), or None."""
    if not transfer.started or transfer.is_haunted:
        return None
    if transfer.size is None or transfer.single or transfer.blind:
        if transfer.active:
            return None
        holes = list(transfer.done.holes(1 << 62 if transfer.size is None else transfer.size))
        if not holes:
            return None
        return holes[0][0], None if transfer.size is None else holes[-1][1]
    taken = Ranges(transfer.done)
    for claim in transfer.active:
        taken.add(claim.start, claim.end if claim.end is not None else transfer.size)
    return next_segment(taken, transfer.size, most)


class Waiting:
    """Files whose turn has not come. Transfers are made only then: a hundred thousand of them take half a
    gigabyte."""

    def __init__(
        self, files: Sequence[RemoteFile], small_bytes: int, make: Callable[[RemoteFile], Transfer]
    ) -> None:
        small = [f for f in files if f.size and f.size <= small_bytes]
        large = [f for f in files if not f.size or f.size > small_bytes]
        if len(small) == 1:
            small, large = [], [*large, *small]  # nothing to pipeline
        self._make, self.small = make, deque(small)  # those that are pipelined
        # The largest first, then the last ones to finish are short.
        self.large = deque(sorted(large, key=lambda f: -(f.size or 1 << 62)))
        self.large_bytes = sum(f.size or 0 for f in large)

    def next_large(self) -> Transfer:
        """The next file that is fetched in pieces."""
        file = self.large.popleft()
        self.large_bytes -= file.size or 0
        return self._make(file)

    def batch(self, bytes_max: int) -> Batch:
        """The next small files, so many that one connection is worth while."""
        batch: list[Transfer] = []
        total = 0
        while self.small and len(batch) < 64 and total < bytes_max:
            batch.append(self._make(self.small.popleft()))
            total += batch[-1].size or 0
        return Batch(batch)

    def back(self, transfers: Sequence[Transfer]) -> None:
        """Small files that could not be pipelined are fetched like large ones."""
        self.large.extend(transfer.file for transfer in transfers)
        self.large_bytes += sum(transfer.size or 0 for transfer in transfers)


def entry_of(transfer: Transfer) -> journal.Entry:
    """The journal entry for a file as it is now: it need not be written again until more has come."""
    transfer.dirty = False
    done, senders = Ranges(transfer.done), tuple(sorted(transfer.senders))
    return journal.Entry(transfer.identity, done, *transfer.prefix, dict(transfer.etags), senders,
                         journal.boot_id(), transfer.digests.md5_void)  # fmt: skip
