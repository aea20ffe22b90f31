"""A worker: one thread with its own connections, fetching pieces of files until the board has no more for
it."""

from __future__ import annotations

import contextlib
import mmap
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forebay.errors import Unavailable
from forebay.kit.backoff import backoff_s
from forebay.kit.redact import redacted
from forebay.pull.asking import Asker, Body, GiveBack, Retry
from forebay.pull.board import Board
from forebay.pull.clockwork import Watch
from forebay.pull.crowd import PROGRESS_BYTES, Patience, may_pass
from forebay.pull.limits import Limits
from forebay.pull.opening import open_transfer
from forebay.pull.small import SmallFiles
from forebay.pull.state import Batch, Claim, Opening, Origin, Transfer
from forebay.sources.types import Listing, RemoteFile
from forebay.sources.wire.conn import Dropped, Stalled
from forebay.sources.wire.heads import WireError


@dataclass(frozen=True)
class Shared:
    """What all workers of a pull have in common."""

    board: Board
    listing: Listing
    limits: Limits
    stop: threading.Event
    env: Mapping[str, str]
    have: Callable[[RemoteFile], bool]
    direct: bool
    small_folder: Path


@dataclass
class _Piece:
    """How far a worker is with its claim: `start` is on disk, `filled` more bytes are in `buffer`."""

    claim: Claim
    patience: Patience = field(default_factory=Patience)
    buffer: mmap.mmap | None = None
    filled: int = 0
    began: float = field(default_factory=time.monotonic)
    first: int = -1  # where the claim began

    def __post_init__(self) -> None:
        self.first = self.claim.start

    @property
    def pace(self) -> float:
        """Bytes per second so far."""
        return (self.claim.start - self.first) / max(1e-6, time.monotonic() - self.began)


@dataclass(eq=False)
class Worker:
    """See the module. `moved` counts bytes from the network by origin."""

    shared: Shared
    index: int
    watch: Watch = field(default_factory=Watch)
    moved: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    busy: bool = False
    pace: float = 0.0  # bytes per second of the last piece

    def __post_init__(self) -> None:
        shared = self.shared
        self.asker = Asker(shared.board, shared.listing, shared.env)
        # A folder per thread: creating files in one folder from several threads means waiting for its lock.
        folder = shared.small_folder / str(self.index)
        self._slots: set[str] = set()  # origins that this worker may have a connection to
        self._next: Claim | None = None  # asked for already, fetched after the piece at hand
        self._looks = 0
        self.small = SmallFiles(shared.board, self.asker, watch=self.watch, folder=folder, wait=self._may)

    def run(self) -> None:
        """The thread's body: never raises, the board hears of what went wrong."""
        board = self.shared.board
        try:
            while (work := self._claim()) is not None:
                if isinstance(work, Opening):
                    self._open(work.transfer)
                elif isinstance(work, Batch):
                    self._batch(work)
                else:
                    self._fetch(work)
        except BaseException as error:  # noqa: BLE001  (a thread's end: the board tells the caller)
            board.fail(error)
        finally:
            if self._next is not None:
                board.release(self._next)
            self._leave(set(self._slots))
            self.asker.close()

    def _batch(self, batch: Batch) -> None:
        origin = self.shared.board.origin(batch.transfers[0])
        if origin is not None:
            with contextlib.suppress(GiveBack):
                self._slot(origin)
        self.small.fetch(batch, self._count)
        self.shared.board.crowd.ended()

    def _slot(self, origin: Origin) -> None:
        """Wait for the right to a connection, and keep both until the piece is over."""
        if origin.name not in self._slots:
            with self.watch.phase("limit"):
                if not self.shared.limits.slots.take(origin.name, lambda: self.shared.board.over):
                    raise GiveBack
            self._slots.add(origin.name)

    def _leave(self, names: Iterable[str]) -> None:
        """Give rights and connections back."""
        for name in names:
            self.asker.close()
            self._slots.discard(name)
            self.shared.limits.slots.give(name)

    def _claim(self) -> Opening | Batch | Claim | None:
        if self._next is not None:
            claim, self._next = self._next, None
            return claim
        self.busy = False
        if self.index >= self.shared.board.target:
            self.asker.close()  # who is not at work keeps no place at the server from others
        if self.shared.limits.slots.most:
            self._leave(set(self._slots))
        with self.watch.phase("idle"):
            work = self.shared.board.claim(self.index, self.pace, idle=self.asker.close)
        self.busy = work is not None
        return work

    def abort(self) -> None:
        """End waiting reads; callable from another thread."""
        self.asker.abort()

    def _open(self, transfer: Transfer) -> None:
        outcome = open_transfer(transfer, direct=self.shared.direct, have=self.shared.have)
        board = self.shared.board
        if outcome == "busy":
            with self.watch.phase("wait"):
                self.shared.stop.wait(0.2)
            board.later(transfer)
        elif outcome == "had":
            board.skipped(transfer)
        else:
            board.opened(transfer)

    # --- one piece ---

    def _fetch(self, claim: Claim) -> None:
        board = self.shared.board
        piece = _Piece(claim)
        try:
            while board.current(claim) and (claim.end is None or claim.start < claim.end):
                self._attempt(piece)
        except GiveBack:
            pass
        finally:
            if piece.buffer is not None:
                board.buffers.give(piece.buffer)
            self.pace = piece.pace
            board.release(claim)
            board.crowd.ended()

    def _attempt(self, piece: _Piece) -> None:
        """Ask once and take what comes; trouble is counted, waited out, or passed to another origin."""
        transfer = piece.claim.transfer
        origin = self.shared.board.origin(transfer)
        if origin is None:
            raise Unavailable(f"nobody is left to ask for {transfer.file.path}: pull again later")
        self._alone_if_blind(piece)
        before = piece.claim.start + piece.filled
        try:
            self._slot(origin)
            self._ask_and_take(piece, origin)
        except (Retry, WireError) as error:
            if self.shared.board.over:
                raise GiveBack from error
            # Only bytes that were kept count, and a stall is a stall: else a server could keep us here for
            # ever. Who drops each connection after a little more than that still comes to the file's end.
            kept = piece.claim.start + piece.filled - before
            least = min(PROGRESS_BYTES, self.shared.board.settings.block_bytes)
            if kept >= least and not isinstance(error, Stalled) and not transfer.blind:
                piece.patience.progress()
            self._after_trouble(piece, origin, error, kept)

    def _alone_if_blind(self, piece: _Piece) -> None:
        """What several answers brought of a file whose versions nobody can tell apart may be a mixture."""
        claim = piece.claim
        if not claim.transfer.blind or (claim.single and claim.start + piece.filled == 0):
            return
        if not self.shared.board.alone(claim):
            raise GiveBack
        piece.first, piece.filled, piece.began = 0, 0, time.monotonic()

    def _after_trouble(self, piece: _Piece, origin: Origin, error: Exception, kept: int) -> None:
        board, settings, patience = self.shared.board, self.shared.board.settings, piece.patience
        now, last = time.monotonic(), board.origins.is_last(origin)
        full = patience.failed(error, kept, board.crowd.served, now) and last
        board.retries += 1
        wait = getattr(error, "wait_s", None)
        if isinstance(error, Stalled) and self._stalls_too_often(piece, origin, error):
            return
        waiting = last and may_pass(error) and patience.lasted(now) < settings.patience_s
        if patience.attempts >= settings.attempts_max and not waiting:
            if not board.avoid(piece.claim.transfer, origin, str(error)):
                raise self._failed(piece, origin, error) from error
            patience.progress()
            return
        board.asked_slower = board.asked_slower or full
        with self.watch.phase("wait"):
            if wait is not None:
                self.shared.stop.wait(min(wait, 300.0))
            # Who sends before he drops is asked again at once; who sends nothing is given time.
            elif not isinstance(error, Dropped) or (kept == 0 and patience.tries > 1):
                pause = backoff_s(patience.tries - 1, first_s=settings.backoff_first_s,
                                  most_s=settings.backoff_most_s)  # fmt: skip
                board.crowd.wait(pause, lambda: board.over) if full else self.shared.stop.wait(pause)
        if self.index >= board.target:
            raise GiveBack  # fewer are to be at work

    def _failed(self, piece: _Piece, origin: Origin, error: Exception) -> Unavailable:
        what = f"{piece.claim.transfer.file.path} from {origin.name}"
        times, why = piece.patience.attempts, redacted(str(error)).rstrip(".")
        text = f"{what} failed {times} times in a row: {why}; {_outlook(piece.claim.transfer)}"
        return Unavailable(text, retry_after_s=getattr(error, "wait_s", None))

    def _stalls_too_often(self, piece: _Piece, origin: Origin, error: Exception) -> bool:
        """Whether a stalling origin is left for another; the only one there is gets all the attempts."""
        transfer = piece.claim.transfer
        transfer.stalls[origin.index] = transfer.stalls.get(origin.index, 0) + 1
        if transfer.stalls[origin.index] < 3:
            return False
        return self.shared.board.avoid(transfer, origin, f"it stalls ({error})")

    def _ask_and_take(self, piece: _Piece, origin: Origin) -> None:
        claim = piece.claim
        start = claim.start + piece.filled
        with self.watch.phase("wait"):
            body = self.asker.open(claim, origin, start)
        try:
            claim.transfer.senders.add(origin.name)
            if claim.single and start and not body.seekable:
                self._discard(body, origin, start)
            self._look_ahead(origin, claim.transfer)
            self._take(piece, body, origin)
        finally:
            if claim.start + piece.filled > start:
                self.shared.board.contributed(claim, origin, start, claim.start + piece.filled)
            self.asker.put_back(body)

    def _look_ahead(self, origin: Origin, at: Transfer) -> None:
        """Ask a far origin for the next piece now: its answer travels while this piece comes.

        Not each time (the 1st, 2nd, 4th, 8th …): only a plain request tells how far it is, and a busy machine
        may have been taken for a long way.
        """
        self._looks += 1
        plain = self._looks & (self._looks - 1) == 0
        if self._next is None and not plain and not self.shared.limits.slots.most:
            self._next = self.shared.board.claim_ahead(self.index, self.pace, at)
            if self._next is not None:
                self.asker.ahead(self._next, origin)

    def _discard(self, body: Body, origin: Origin, count: int) -> None:
        """Read over what is on disk already: the peer cannot start later."""
        buffer = self.shared.board.buffers.take(self.shared.board.settings.block_bytes)
        if buffer is None:
            raise GiveBack
        try:
            while count:
                view = memoryview(buffer)[: min(count, len(buffer))]
                got = body.read_into(view, lambda n: self._count(origin, n))
                if not got:
                    raise Dropped("the body is shorter than before")
                count -= got
        finally:
            self.shared.board.buffers.give(buffer)

    def _count(self, origin: Origin, count: int) -> None:
        self.moved[origin.name] += count

    def _take(self, piece: _Piece, body: Body, origin: Origin) -> None:
        board, claim = self.shared.board, piece.claim
        while board.current(claim) and (claim.end is None or claim.start < claim.end):
            if piece.buffer is None:
                with self.watch.phase("buffers"):
                    piece.buffer = board.buffers.take(self._block())
                if piece.buffer is None:
                    raise GiveBack
                body.rest()
            want = len(piece.buffer) if claim.end is None else min(len(piece.buffer), claim.end - claim.start)
            view = memoryview(piece.buffer)
            ended = False
            while piece.filled < want and not ended:
                ended = self._read(piece, body, origin, view[:want])
            if piece.filled < want:
                if claim.end is not None:
                    raise Dropped("the body ended early")
                board.learned_size(claim, claim.start + piece.filled)
            if piece.filled:
                self._flush(piece, view)

    def _read(self, piece: _Piece, body: Body, origin: Origin, view: memoryview) -> bool:
        """Some bytes into the piece's buffer; True at the body's end."""
        count, waited = self._may(origin.name, len(view) - piece.filled)
        if waited:
            body.rest()
        with self.watch.phase("network"):
            try:
                got = body.read_into(
                    view[piece.filled : piece.filled + count], lambda n: self._count(origin, n)
                )
            except Dropped as error:
                piece.filled += error.got
                raise
        piece.filled += got
        return got < count

    def _may(self, origin: str, most: int) -> tuple[int, bool]:
        """How many bytes may come now, and whether a limit made us wait."""
        limits = self.shared.limits
        if not limits.is_limited:
            return most, False
        count = limits.piece(origin, most)
        with self.watch.phase("limit"):
            return count, limits.wait(origin, count, self.shared.stop) > 0

    def _flush(self, piece: _Piece, view: memoryview) -> None:
        claim, transfer = piece.claim, piece.claim.transfer
        assert transfer.part is not None and piece.buffer is not None
        if not self.shared.board.may_write(claim):
            raise GiveBack
        with self.watch.phase("disk"):
            transfer.part.write(claim.start, view[: piece.filled])
        buffer, count = piece.buffer, piece.filled
        self.shared.board.crowd.came(count)
        if self.shared.board.wrote(claim, claim.start, count, buffer):
            piece.buffer = None
        elif not self.shared.board.current(claim):
            raise GiveBack
        piece.filled = 0
        self.pace = piece.pace

    def _block(self) -> int:
        """Large blocks for few connections, smaller ones for many: the memory in all stays the same.

        And on a slow line no more than a second's worth, since a kill loses a block that is being filled.
        """
        settings = self.shared.board.settings
        most = min(settings.buffers_bytes_max // (2 * max(1, self.shared.board.target)), self.pace or 1 << 20)
        size = settings.block_bytes
        while size > most and size > 256 * 1024:
            size //= 2
        return size


def _outlook(transfer: Transfer) -> str:
    if transfer.blind:
        return (
            "it began anew each time, as its server tells no digest, ETag or date: pull again when it is well"
        )
    return "what came is kept, pull again to go on"
