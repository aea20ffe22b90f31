"""One pull from listing to published files: starts the threads, watches them, tells how it went."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from forebay.errors import Bug, Exhausted, Invalid
from forebay.pull import journal
from forebay.pull.board import Board
from forebay.pull.clockwork import Ledger, cpu_s, pace_of
from forebay.pull.hashing import Committer, Hasher
from forebay.pull.model import Hooks, Plan, Progress, Report, Settings
from forebay.pull.opening import transfer_of
from forebay.pull.parts import disk_errors
from forebay.pull.state import Origin
from forebay.pull.steer import Steering
from forebay.pull.tuner import Sight, Tuner
from forebay.pull.worker import Shared, Worker
from forebay.sources.paths import check_together

_TICK_S = 0.1


def fetch(
    plan: Plan, *, settings: Settings, hooks: Hooks | None = None, env: Mapping[str, str] | None = None
) -> Report:
    """Fetch what `hooks.have` does not have of a listing, verified and durable; see the package's docstring.

    `env` (default: the process environment) gives the proxies. Raises the eight errors.
    """
    if not plan.origins:
        raise Invalid("a pull needs at least one origin")
    check_together(f.path for f in plan.listing.files)
    pull = _Pull(plan, settings, hooks or Hooks(), os.environ if env is None else env)
    return pull.run()


class _Pull:
    """The threads of one pull and the loop that watches them."""

    def __init__(self, plan: Plan, settings: Settings, hooks: Hooks, env: Mapping[str, str]) -> None:
        self._plan, self._settings, self._hooks = plan, settings, hooks
        self._started = time.monotonic()
        self._cpu, self._ledger = cpu_s(), Ledger(self._started)
        self._wanted = [f for f in plan.listing.files if not hooks.have(f)]
        origins = [Origin(s, _name(s, i), i) for i, s in enumerate(plan.origins)]
        make = partial(transfer_of, plan.listing, plan.parts)
        self._board = Board(self._wanted, make, origins, settings)
        self._folder = SmallFolder(plan.parts, needed=bool(self._wanted))
        self._shared = Shared(
            self._board, plan.listing, hooks.limits, hooks.stop, env, hooks.have, settings.direct_io,
            self._folder.path,
        )  # fmt: skip
        self._workers: list[Worker] = []
        self._workers_most = max(self._board.target, settings.connections_max)
        self._threads: list[threading.Thread] = []
        self._hashers = [Hasher(self._board, plan.damaged) for _ in range(_hashers(settings))]
        self._committer = Committer(self._board, plan.publish, since=self._folder.descriptor)
        self._tuner = Tuner(self._board.target, settings.connections_max)
        self._speed: deque[tuple[float, dict[str, int]]] = deque(maxlen=50)
        self._most = 0
        self._steering = Steering()
        self._ledger.all_to("look", time.monotonic())

    def run(self) -> Report:
        try:
            if self._wanted:
                self._run_threads()
        finally:
            self._folder.remove()
        report = self._report()
        self._hooks.on_report(report)
        if self._board.error is not None:
            raise self._told(self._board.error)
        if self._board.left:
            raise Bug(f"{self._board.left} files are left, but nobody works on them")
        self._hooks.on_progress(self._progress("done"))
        return report

    def _run_threads(self) -> None:
        try:
            for hasher in self._hashers:
                self._start(hasher.run)
            self._start(self._committer.run)
            self._watch()
        finally:
            self._finish()

    def _start(self, body: object) -> None:
        thread = threading.Thread(target=body, name="forebay-pull", daemon=True)  # type: ignore[arg-type]
        try:
            thread.start()
        except RuntimeError as error:
            limits = "raise the limit of threads (ulimit -u, the container's limit of pids) or of memory"
            raise Exhausted(f"no room to start a thread of the pull: {limits}") from error
        self._threads.append(thread)

    def _watch(self) -> None:
        board, next_journal, next_progress = self._board, 0.0, 0.0
        while not board.over:
            self._hire()
            with board.attention:
                board.attention.wait_for(self._awaited, _TICK_S)
            if self._hooks.stop.is_set():
                board.stop()
            now = time.monotonic()
            self._ledger.tick(now, self._spent(now))
            self._tune(now)
            self._steer(now)
            if now >= next_journal or board.much_unjournaled:
                self._write_journals()
                next_journal = now + self._settings.journal_every_s
            if now >= next_progress:
                self._hooks.on_progress(self._progress("transfer"))
                next_progress = now + 0.25

    def _hire(self) -> None:
        """As many workers as are wanted; on a machine that has no more threads those at work go on alone."""
        while len(self._workers) < min(self._board.target, self._workers_most):
            worker = Worker(self._shared, len(self._workers))
            try:
                self._start(worker.run)
            except Exhausted as error:
                if not self._workers:
                    raise
                self._workers_most = len(self._workers)
                self._board.notes.append(f"no more connections than {self._workers_most}: {error.message}")
                return
            self._workers.append(worker)

    def _awaited(self) -> bool:
        return self._board.over or self._hooks.stop.is_set() or self._board.much_unjournaled

    def _tune(self, now: float) -> None:
        board = self._board
        if board.asked_slower:
            board.asked_slower = False
            target = self._tuner.slow_down(now)
        else:
            target = self._tuner.seen(self._sight(now))
        self._most = max(self._most, sum(w.busy for w in self._workers))
        if target != board.target:
            with board.changed:
                board.target = target
                board.changed.notify_all()

    def _steer(self, now: float) -> None:
        """Leave a peer that is slow, if the others are faster; what is under way moves too."""
        origins = self._board.origins
        if len(origins.all) < 2 or self._hooks.limits.is_limited:
            return
        said = self._steering.seen(now, self._by_origin(), origins.first().name)
        if said is None:
            return
        what, name = said
        with self._board.changed:
            for origin in (o for o in origins.all if o.name == name):
                if what == "back":
                    origins.back(origin)
                elif origins.rest(origin, float("inf"), "it is slow"):
                    for worker in self._workers:
                        worker.abort()

    def _sight(self, now: float) -> Sight:
        """What the tuner may look at."""
        spent = self._spent(now)  # with what still lasts: a slow connection takes seconds for a block
        network = spent.get("network", 0.0) + spent.get("wait", 0.0)
        local = sum(spent.get(p, 0.0) for p in ("disk", "buffers", "limit"))
        board = self._board
        return Sight(
            now, self._moved(), board.wanting, network, local, board.round_trip_s, board.order.spilled,
            board.order.early_max, len(board.open), max((w.pace for w in self._workers), default=0.0),
        )  # fmt: skip

    def _finish(self) -> None:
        """Everyone out: aborted reads return at once, disk writes within their block."""
        self._board.stop()
        self._board.buffers.close()
        for thread in self._threads:
            while thread.is_alive():
                for worker in self._workers:  # nobody wants what is still read
                    worker.abort()
                thread.join(0.5)
        self._write_journals()
        # A lock that stays would keep the next pull of this process waiting.
        for transfer in self._board.known:
            if transfer.part is not None:
                transfer.part.close()
            transfer.lock.release()

    def _write_journals(self) -> None:
        for transfer, entry in self._board.journals():
            journal.save(transfer.journal, entry)
            if transfer.published:  # meanwhile; its journal was removed before, or will be
                transfer.drop_journal()

    def _told(self, error: BaseException) -> BaseException:
        """The error, with what a person whose disk is full asks next. On such a disk only what the journals
        hold was kept."""
        entries = (journal.load(t.journal, t.identity) for t in self._board.known)
        if isinstance(error, Exhausted) and (
            self._committer.files or any(e and e.done.total for e in entries)
        ):
            return Exhausted(f"{error.message}; what came is kept").with_traceback(error.__traceback__)
        return error

    def _moved(self) -> int:
        return sum(sum(w.moved.values()) for w in self._workers)

    def _by_origin(self) -> dict[str, int]:
        out: defaultdict[str, int] = defaultdict(int)
        for worker in self._workers:
            for name, count in list(worker.moved.items()):
                out[name] += count
        return dict(out)

    def _progress(self, phase: str) -> Progress:
        now, by_origin = time.monotonic(), self._by_origin()
        self._speed.append((now, by_origin))
        pace = pace_of(self._speed)
        done = self._board.bytes_done() + self._committer.bytes
        total = self._plan.listing.size
        wanted = sum(f.size or 0 for f in self._wanted)
        left = max(0, wanted - done)
        return Progress(
            done + ((total or 0) - wanted if total is not None else 0), total,
            self._committer.files + self._files_had(), len(self._plan.listing.files),
            pace.rate_bytes_s, pace.eta_s(left) if total is not None else None, pace.source, phase,
            sum(w.busy for w in self._workers),
        )  # fmt: skip

    def _files_had(self) -> int:
        return len(self._plan.listing.files) - len(self._wanted) + len(self._board.had)

    def _spent(self, now: float) -> dict[str, float]:
        """Thread seconds by phase, of all threads."""
        out: defaultdict[str, float] = defaultdict(float)
        hashers = [h.watch for h in self._hashers]
        for watch in (*[w.watch for w in self._workers], *hashers, self._committer.watch):
            for name, value in watch.spent(now).items():
                out[name] += value
        return dict(out)

    def _report(self) -> Report:
        now = time.monotonic()
        seconds = self._spent(now)
        self._ledger.tick(now, seconds)
        return Report(
            files=len(self._plan.listing.files),
            files_had=self._files_had(),
            bytes_total=self._committer.bytes, bytes_resumed=self._board.bytes_resumed,
            bytes_by_origin=self._by_origin(), seconds=seconds, wall=dict(self._ledger.seconds),
            wall_s=now - self._started, connections_most=self._most, cpu_s=cpu_s() - self._cpu,
            requests=sum(w.asker.requests for w in self._workers), retries=self._board.retries,
            verification_failures=self._board.origins.failures,
            bytes_read_back=sum(h.read_back for h in self._hashers),
            notes=list(self._board.notes),
        )  # fmt: skip


class SmallFolder:
    """A folder of this run's own for small files; those of runs that died are removed. `descriptor` is open
    on its file system from before they are written. What is not `needed` may lie where nobody may write."""

    def __init__(self, parts: Path, *, needed: bool) -> None:
        self.path, self.descriptor = parts, -1
        if not needed:
            return
        with disk_errors(f"make {parts}"):
            parts.mkdir(parents=True, exist_ok=True)
        with disk_errors(f"make a folder in {parts}"):
            for old in parts.glob("small-*"):
                _remove_if_dead(old)
            while not self._made(parts):  # else somebody took it for a dead one before we had the lock
                os.close(self.descriptor)

    def _made(self, parts: Path) -> bool:
        self.path = Path(tempfile.mkdtemp(prefix="small-", dir=parts))
        self.descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # somebody is about to remove it
        except OSError:
            pass  # a file system without locks
        return (self.path / "lock").exists()

    def remove(self) -> None:
        """Leave nothing behind."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            shutil.rmtree(self.path, ignore_errors=True)


def _remove_if_dead(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _name(source: object, index: int) -> str:
    return str(getattr(source, "name", "") or getattr(source, "scheme", f"origin {index}"))


def _hashers(settings: Settings) -> int:
    return settings.hashers or min(4, os.cpu_count() or 1)
