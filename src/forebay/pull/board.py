"""The one owner of a pull's state: who fetches what, what is on disk, what is verified. One lock, no I/O."""

from __future__ import annotations

import math
import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from forebay.errors import Bug, Clash, Damaged, Unavailable
from forebay.kit.disk_errors import as_known
from forebay.pull import journal, state
from forebay.pull.blame import Origins
from forebay.pull.buffers import Buffers
from forebay.pull.crowd import Crowd
from forebay.pull.model import Finished, Settings
from forebay.pull.order import Order
from forebay.pull.plan import ordered_piece, piece_bytes
from forebay.pull.state import Batch, Claim, Item, Opening, Origin, Transfer, Waiting, Work, next_piece
from forebay.pull.tuner import FAR_S
from forebay.pull.verified import Verified
from forebay.sources.types import RemoteFile

RESTARTS_MAX = 2
OPEN_MAX = 100  # files at once: each takes three descriptors, and a shell gives 1024


class Board:
    """See the module. `target` is how many workers may be at work."""

    def __init__(self, wanted: Sequence[RemoteFile], make: Callable[[RemoteFile], Transfer],
                 origins: Sequence[Origin], settings: Settings) -> None:  # fmt: skip
        lock = threading.RLock()
        # One lock; who waits for what is woken for that alone: workers, hashers, the committer, the engine.
        self.changed, self._to_hash = threading.Condition(lock), threading.Condition(lock)
        self.attention, self.verified = threading.Condition(lock), Verified(lock)
        self.settings, self.crowd = settings, Crowd(self.changed)
        self.buffers = Buffers(settings.buffers_bytes_max)
        self.order = Order(self.buffers, settings.buffers_bytes_max // 2)
        self.error: BaseException | None = None
        self.asked_slower, self.notes = False, list[str]()
        self.origins = Origins(tuple(origins), self.notes)
        self.left, self.bytes_resumed, self.retries = len(wanted), 0, 0
        self.had: list[Transfer] = []  # which someone else has finished meanwhile
        self.round_trip_s = self._pace = 0.0  # the shortest of some answers; of some worker; 0: not known
        self._answers, self._shortest_s = 0, math.inf
        self.unjournaled = 0
        self._journal_bytes = max(settings.journal_every_bytes, sum(f.size or 0 for f in wanted) // 100)
        self.waiting = Waiting(wanted, settings.small_bytes, make)
        self.known: list[Transfer] = []  # all that may have a part
        self._held = 0  # those whose part is open
        self.busy: deque[Transfer] = deque()  # others are at them
        self.open: list[Transfer] = []
        self.hashable: deque[Transfer] = deque()
        self.batches = 0
        files = min(4, len(self.waiting.large) + -(-len(self.waiting.small) // 64))
        self.target = max(1, min(settings.connections_max, settings.connections_start or files))

    # --- workers ---

    def claim(self, worker: int, pace: float, idle: Callable[[], None] = lambda: None) -> Work | None:
        """Work for a worker that moves `pace` bytes per second (0: like others); None when all is over.
        `idle` is called when nothing has happened for a while."""
        with self.changed:
            pace = self._pace = pace or self._pace
            while not self.over:
                if worker < self.target and (work := self._pick(pace)):
                    return work
                if not self.changed.wait(0.5):
                    idle()
        return None

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, or nothing more may be done."""
        return self.error is not None or self.left == 0

    @property
    def wanting(self) -> bool:
        """Whether one more worker would find something to do."""
        return len(self.waiting.small) > 64 or self._has_large

    @property
    def _has_large(self) -> bool:
        return bool(self.waiting.large) or any(next_piece(t, 1) for t in self.open)

    def _pick(self, pace: float) -> Work | None:
        if self.waiting.small:
            # Near by, four threads keep the cores busy with them, and more only wait for each other.
            most = self.target if self._far else min(4, self.target)
            if self.batches < (max(1, self.target // 4) if self._has_large else most):
                self.batches += 1
                return self.waiting.batch(self.settings.block_bytes)
        if self._held >= OPEN_MAX:
            return self._piece(pace)
        if self.waiting.large:
            self.known.append(self.waiting.next_large())
            return self._opening(self.known[-1])
        return self._piece(pace) or (self._opening(self.busy.popleft()) if self.busy else None)

    def _opening(self, transfer: Transfer) -> Opening:
        self._held += 1
        return Opening(transfer)

    def _piece(self, pace: float, at: Transfer | None = None) -> Claim | None:
        """Of `at`, or else of the file with the fewest connections: then bytes come in order."""
        for transfer in sorted(self.open, key=lambda t: (t is not at, len(t.active))):
            piece = next_piece(transfer, self._segment(pace))
            if piece is not None:
                claim = Claim(transfer, *piece, transfer.epoch, transfer.single or transfer.blind)
                transfer.active.append(claim)
                if claim.single:
                    self.order.only_prefix(transfer)
                return claim
        return None

    def claim_ahead(self, worker: int, pace: float, at: Transfer) -> Claim | None:
        """A second piece for a worker of a far origin, asked for while one comes: of the same file."""
        with self.changed:
            may = pace > 0 and self._far and worker < self.target and not self.over
            return self._piece(pace, at) if may else None

    @property
    def _far(self) -> bool:
        return self.round_trip_s >= FAR_S

    def _segment(self, pace: float) -> int:
        streams = self.target * (2 if self._far else 1)
        room = ordered_piece(self.order.early_max, streams, len(self.open) + len(self.waiting.large))
        left = sum((t.size or 0) - t.done.total for t in self.open) + self.waiting.large_bytes
        most = max(room, int(pace * self.round_trip_s))
        return piece_bytes(pace, left, self.target, first=self.settings.segment_bytes, most=most)

    def opened(self, transfer: Transfer) -> None:
        """The part is open: pieces may be claimed, and what the journal says is on disk is hashed again."""
        with self.changed:
            transfer.started = True
            self.bytes_resumed += transfer.resumed
            self.open.append(transfer)
            prefix = transfer.expect[0]
            if prefix and transfer.done.end_from(0) >= prefix:
                transfer.queue.append(Item(0, prefix, None))
                transfer.tail = prefix
            self.order.advance(transfer)
            self._wake_hasher(transfer)
            self.changed.notify_all()

    def answered(self, seconds: float) -> None:
        """An answer took so long to begin. One alone may only mean that this machine was busy."""
        with self.changed:
            self._answers, self._shortest_s = self._answers + 1, min(self._shortest_s, seconds)
            if self._answers >= min(3, self.target):
                self.round_trip_s = self._shortest_s

    def later(self, transfer: Transfer) -> None:
        """Someone else is at this file: look again later."""
        with self.changed:
            self._held -= 1
            self.busy.append(transfer)

    def skipped(self, transfer: Transfer) -> None:
        """Someone else has finished it."""
        with self.changed:
            self._held -= 1
            self.had.append(transfer)
            self.left -= 1
            self._wake_all()

    def may_write(self, claim: Claim) -> bool:
        """Whether its bytes are still wanted. If so, `wrote` must follow."""
        with self.changed:
            claim.transfer.writers[claim.epoch] += (wanted := claim.epoch == claim.transfer.epoch)
            return wanted

    def wrote(self, claim: Claim, offset: int, count: int, buffer: mmap.mmap) -> bool:
        """`count` bytes at `offset` are on disk. True if the board keeps the buffer, for its hash."""
        transfer = claim.transfer
        with self.changed:
            transfer.writers[claim.epoch] -= 1
            if claim.epoch != transfer.epoch:
                self.changed.notify_all()
                return False
            transfer.done.add(offset, offset + count)
            claim.start = max(claim.start, offset + count)
            transfer.dirty = True
            self.unjournaled += count
            kept = self.order.came(transfer, offset, count, buffer)
            self._wake_hasher(transfer)
            if self.much_unjournaled:
                self.attention.notify()
            return kept

    @property
    def much_unjournaled(self) -> bool:
        """Whether a kill now would cost over a hundredth of the pull: at gigabytes a second that is soon."""
        return self.unjournaled >= self._journal_bytes

    def _wake_hasher(self, transfer: Transfer) -> None:
        if transfer.hashing or not (transfer.queue or transfer.whole):
            return
        transfer.hashing = True
        self.hashable.append(transfer)
        self._to_hash.notify()

    def current(self, claim: Claim) -> bool:
        """Whether the claim's file has not started over meanwhile and the pull goes on."""
        return claim.epoch == claim.transfer.epoch and not self.over

    def release(self, claim: Claim) -> None:
        """The worker is through with the piece, or gives back what is left of it."""
        with self.changed:
            if claim in claim.transfer.active:
                claim.transfer.active.remove(claim)
            self._wake_hasher(claim.transfer)
            self.changed.notify_all()

    def learned_size(self, claim: Claim, size: int) -> None:
        """The file's size is known now."""
        with self.changed:
            if claim.epoch == claim.transfer.epoch:
                claim.transfer.size = claim.end = size
                self._wake_hasher(claim.transfer)

    def one_stream(self, claim: Claim) -> bool:
        """Ranges do not work for this file. True if this claim may carry on as the only stream."""
        with self.changed:
            transfer = claim.transfer
            transfer.single = True
            mine = transfer.active == [claim] and claim.epoch == transfer.epoch
            alone = mine and claim.start == transfer.done.end_from(0)
            if alone:
                self.order.only_prefix(transfer)
                claim.single, claim.end = True, transfer.size
            return alone

    def alone(self, claim: Claim) -> bool:
        """Nothing tells the file's versions apart: forget what came, this claim brings all of it in one
        answer. False if another one has to."""
        with self.changed:
            claim.transfer.blind = True
            if claim.epoch != claim.transfer.epoch:
                return False
            self._forget(claim.transfer)
            if free := not claim.transfer.is_haunted:
                claim.begin_again()
            return free

    def start_over(self, transfer: Transfer, epoch: int, why: str) -> None:
        """Forget what has come of a file: it changed, or the disk lost it. Raises Clash when that happens too
        often."""
        with self.changed:
            if epoch != transfer.epoch:
                return
            transfer.restarts += 1
            if transfer.restarts > RESTARTS_MAX:
                what = f"{transfer.file.path} changes while it is fetched"
                raise Clash(f"{what}, {why}: pull again when it is at rest")
            self._forget(transfer)
            self.notes.append(f"{transfer.file.path}: started over, {why}")

    def _forget(self, transfer: Transfer) -> None:
        self.order.forget(transfer)
        self.changed.notify_all()

    # --- origins ---

    def origin(self, transfer: Transfer) -> Origin | None:
        """Who is asked for this file now."""
        with self.changed:
            return self.origins.of(transfer)

    def avoid(self, transfer: Transfer, origin: Origin, why: str) -> bool:
        """Ask this origin no more for this file. False if nobody else is left (then it stays)."""
        with self.changed:
            return self.origins.avoid(transfer, origin, why)

    def contributed(self, claim: Claim, origin: Origin, start: int, end: int) -> None:
        """Who sent these bytes; the last one counts."""
        with self.changed:
            if claim.epoch == claim.transfer.epoch:
                claim.transfer.sent_by(origin.name, start, end)

    # --- hashers and committer ---

    def next_hash(self) -> Transfer | None:
        """A file with bytes to hash, for one hasher alone; None when the pull is over."""
        with self.changed:
            while not self.over:
                if self.hashable:
                    return self.hashable.popleft()
                self._to_hash.wait(0.5)
        return None

    def next_item(self, transfer: Transfer, epoch: int) -> Item | None:
        """The next bytes in order, or None: the hasher lets the file go."""
        with self.changed:
            if epoch == transfer.epoch and transfer.queue and not self.over:
                return transfer.queue.popleft()
            return None

    def hashed(self, transfer: Transfer, epoch: int, end: int, digest: str) -> bool:
        """Everything below `end` is hashed. False if the file has started over meanwhile."""
        with self.changed:
            if epoch != transfer.epoch:
                return False
            transfer.cursor, transfer.prefix, transfer.dirty = end, (end, digest), True
            return True

    def hasher_leaves(self, transfer: Transfer, epoch: int) -> bool:
        """True if the file is whole and the caller shall judge it; else it is queued again when more
        comes."""
        with self.changed:
            if epoch == transfer.epoch and not transfer.queue and transfer.whole:
                return not self.over
            transfer.hashing = False
            self._wake_hasher(transfer)
            return False

    def good(self, file: Finished | Transfer) -> None:
        """The digests hold: it may be made durable and published. `Finished` is a small file."""
        with self.changed:
            if isinstance(file, Transfer):
                self.open.remove(file)
            else:
                self.crowd.came(file.size)
            self.verified.put(file, self.left)

    def small_over(self, batch: Batch, left: Sequence[Transfer]) -> None:
        """A batch is through; what it could not fetch goes the long way."""
        with self.changed:
            self.batches -= 1
            self.waiting.back(left)
            self.changed.notify_all()

    def bad(self, transfer: Transfer, why: str, aside: Path) -> None:
        """The digest does not hold and the bytes are aside: try others, or the pull ends with Damaged."""
        with self.changed:
            names = ", ".join(sorted(transfer.senders)) or "the disk"
            second = self.origins.accuse(transfer, aside)
            self._forget(transfer)
            transfer.restarts += 1
            if not second or transfer.restarts > RESTARTS_MAX + len(self.origins.all):
                why = f"{why}; it is set aside. Pull again; if it stays so, ask who runs the server"
                self.fail(Damaged(f"{transfer.file.path} from {names} is not what was promised: {why}"))
                return
            self.notes.append(f"{transfer.file.path} from {names} did not match ({why}); fetched again")
            transfer.hashing = False

    def next_commit(self) -> list[Finished | Transfer]:
        """What is verified by now; empty when the pull is over."""
        with self.changed:
            self.verified.wait(lambda: self.left, lambda: self.over)
            return [] if self.error is not None else self.verified.take()

    def published(self, count: int, *, parts: int = 0) -> None:
        """So many files have their names; `parts` of them were large."""
        with self.changed:
            self.left -= count
            self._held -= parts
            self._wake_all()

    # --- the whole ---

    def _wake_all(self) -> None:
        for waiting in (self.changed, self._to_hash, self.verified.ready, self.attention):
            waiting.notify_all()

    def fail(self, error: BaseException) -> None:
        """Everyone stops; the first error is the one that is told."""
        with self.changed:
            if self.error is None:
                known = as_known("go on with the pull", error)
                self.error = known or Bug(f"the pull broke its own rules: {error!r}")
                self.error.__cause__ = None if self.error is error else error
            self._wake_all()

    def stop(self) -> None:
        """Everyone stops; what has come is kept."""
        with self.changed:
            if self.left and self.error is None:
                self.error = Unavailable("stopped before the end; what came is kept, pull again to go on")
            self._wake_all()

    def journals(self) -> list[tuple[Transfer, journal.Entry]]:
        """What has changed since the last call, as journal entries."""
        with self.changed:
            self.unjournaled = 0
            return [(t, state.entry_of(t)) for t in self.open if t.dirty and t.started]

    def bytes_done(self) -> int:
        """Bytes on disk of files that this pull has not published."""
        with self.changed:
            ready = sum(i.size if isinstance(i, Finished) else i.done.total for i in self.verified)
            return ready + sum(t.done.total for t in self.open) + sum(t.size or 0 for t in self.had)
