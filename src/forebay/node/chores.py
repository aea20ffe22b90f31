"""Slow work beside the agent's passes: warming the page cache; hashing what lies on the disk, once a week or
when somebody asks. One task each, so that a check of a large model keeps no pod waiting.

Checks have a thread of their own with the lowest priority. Those that nobody asked for also stand back while
pulls run and pods start; `paused` holds them all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from forebay.api.wishes import moment
from forebay.cache import manifests, verify
from forebay.cache.manifest import Manifest
from forebay.cache.prewarm import Warmed, prewarm
from forebay.cache.root import Root
from forebay.errors import ForebayError
from forebay.kit.disk_errors import is_unreadable
from forebay.kit.priority import step_back
from forebay.kit.tasks import in_thread

VERIFY_LOOK_S = 600.0
VERIFY_ASKED_BYTES_S = 512 << 20  # somebody waits for it; still behind what pulls and engines read
TELL_EVERY_S = 1.0
AGAIN_AFTER_S = 60.0  # what could not be done or noted rests this long
HOLD_LOOK_S = 0.2
_log = logging.getLogger("forebay.node")


@dataclass(frozen=True)
class Checking:
    """How often each model is hashed without being asked (0: never), and at how many bytes a second."""

    every_s: float = 7 * 24 * 3600.0
    bytes_s: float = float(64 << 20)


class Stopped(Exception):
    """The agent ends; the check goes on when it starts anew."""


class Chores:
    """Requests are kept once each. `results` counts checks ("clean" | "damaged" | "unreadable"), `hashed` the
    bytes they read, `damaged` the contents they set aside. `schedule`, `busy` and `paused` may be set anew at
    any time.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._cold: dict[str, str] = {}  # key -> request, "" for a pod's
        self._doubted: dict[str, str] = {}  # key -> request
        self._progress: dict[str, tuple[int, int]] = {}
        self._rests: dict[tuple[str, str], float] = {}  # (what, key) -> monotonic time until which
        self._warmed: set[tuple[str, str]] = set()
        self._asked: dict[str, set[str]] = {}
        self._warm_wake, self._check_wake = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._changed: Callable[[], None] = lambda: None
        self.results: Counter[str] = Counter()
        self.hashed = self.damaged = 0
        self.schedule = Checking()
        self.busy = self.paused = False

    @property
    def checking(self) -> dict[str, tuple[int, int]]:
        """Models that are checked or wait for it: bytes hashed, of how many."""
        return {**dict.fromkeys((*self._resting("check"), *self._doubted), (0, 0)), **self._progress}

    @property
    def warming(self) -> frozenset[str]:
        """Models that people asked to be warm, and that are not yet."""
        return frozenset(key for key, request in self._cold.items() if request) | self._resting("warm")

    def _resting(self, what: str) -> frozenset[str]:
        now = time.monotonic()
        return frozenset(
            key for (kind, key), until in list(self._rests.items()) if kind == what and until > now
        )

    def _rest(self, what: str, key: str) -> None:
        self._rests[what, key] = time.monotonic() + AGAIN_AFTER_S

    def is_cold(self, key: str, pod: str) -> bool:
        """Whether nobody has warmed this model for this pod (its uid) yet; remembers who asks."""
        if (key, pod) in self._warmed:
            return False
        self._asked.setdefault(key, set()).add(pod)
        return True

    def warm(self, key: str, request: str = "") -> None:
        """Warm a model soon; may be called from any thread."""
        self._warmed |= {(key, pod) for pod in self._asked.pop(key, ())}
        self._cold[key] = request or self._cold.get(key, "")
        self._call(self._warm_wake.set)

    def check(self, key: str, request: str) -> None:
        """Check a model soon; may be called from any thread."""
        self._doubted[key] = request
        self._call(self._check_wake.set)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)

    async def run(self, changed: Callable[[], None]) -> None:
        """Until cancelled; `changed()` is called when there is something new to see."""
        self._loop, self._changed = asyncio.get_running_loop(), changed
        thread = ThreadPoolExecutor(1, thread_name_prefix="forebay-check", initializer=step_back)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._warm_all())
                tasks.create_task(self._check_all(thread))
        finally:
            self._closing = True
            thread.shutdown(wait=False)

    async def _warm_all(self) -> None:
        while True:
            while self._cold:
                key = next(iter(self._cold))
                await in_thread(self._warm, key, self._cold[key])
                del self._cold[key]
                self._changed()
            await self._warm_wake.wait()
            self._warm_wake.clear()

    async def _check_all(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(thread, self._tidy)
        while True:
            while self._doubted:
                key = next(iter(self._doubted))
                await loop.run_in_executor(thread, self._check_asked, key, self._doubted[key])
                del self._doubted[key]
                self._changed()
            if not await loop.run_in_executor(thread, self._check_oldest):
                with suppress(TimeoutError):
                    async with asyncio.timeout(VERIFY_LOOK_S):
                        await self._check_wake.wait()
            self._check_wake.clear()

    def _tidy(self) -> None:
        try:
            verify.tidy(self._root)
        except (OSError, ForebayError) as error:
            _log.warning("what is left of earlier checks stays: %s", error)

    def _warm(self, key: str, request: str) -> None:
        started, done = time.monotonic(), None
        try:
            manifest = manifests.find(self._root, key)
            if manifest is not None:
                blobs = [self._root.layout.blob(digest) for digest in manifest.blobs]
                done = prewarm(blobs, stop=lambda: self._closing)
                seconds = time.monotonic() - started
                _log.info("warmed model %s: %d of %d bytes in %.2f s", key, done.bytes, done.total, seconds)
        except (OSError, ForebayError) as error:
            _log.warning("model %s was not warmed: %s", key, error)
            if request:
                self._rest("warm", key)
            if isinstance(error, OSError) and is_unreadable(error):
                self.check(key, "")  # what is bad is set aside, and fetched again
            return
        if request and not self._closing:
            self._note_warmed(key, request, done)

    def _note_warmed(self, key: str, request: str, done: Warmed | None) -> None:
        share = None if done is None or done.resident is None else round(done.resident, 4)

        def change(now: Manifest) -> Manifest:
            return dataclasses.replace(now, warmed=self._root.now(), warmed_for=request, resident=share)

        try:
            manifests.amend(self._root, key, change)
        except (OSError, ForebayError) as error:
            _log.warning("model %s is warm, but that could not be noted: %s", key, error)
            self._rest("warm", key)

    def _check_oldest(self) -> bool:
        """Check the model that was not checked for longest, if it is due; whether there was one."""
        if not self.schedule.every_s:
            return False
        since = self._root.now() - self.schedule.every_s
        try:
            due = verify.oldest(self._root, before=since)
        except (OSError, ForebayError) as error:
            _log.warning("no model could be chosen for a check: %s", error)
            return False
        if due is None or due.key in self._resting("check"):
            return False
        self._check(due, "", since)
        return True

    def _check_asked(self, key: str, request: str) -> None:
        try:
            manifest = manifests.find(self._root, key)
        except (OSError, ForebayError) as error:
            _log.warning("model %s could not be checked: %s", key, error)
            self._rest("check", key)
            return
        if manifest is not None:
            self._check(manifest, request, moment(request))

    def _check(self, manifest: Manifest, request: str, since: float) -> None:
        pace = _Pace(self, manifest, asked=bool(request))
        try:
            known = verify.whole_since(self._root, manifest, since)
            pace.done = sum(manifest.blobs[digest] for digest in known)
            bad = verify.check(self._root, manifest, pause=pace.step, wish=request, known=known)
        except Stopped:
            return
        except (OSError, ForebayError) as error:
            _log.warning("model %s could not be checked: %s", manifest.key, error)
            self.results["unreadable"] += 1
            self._rest("check", manifest.key)
            return
        finally:
            self._progress.pop(manifest.key, None)
        for note in bad:
            _log.error(
                "content %s (%s) of models %s failed its check and was set aside; it is fetched again",
                note.digest, ", ".join(note.paths), ", ".join(note.keys),
            )  # fmt: skip
        self.damaged += len(bad)
        self.results["damaged" if bad else "clean"] += 1
        if bad:
            self._call(self._changed)

    def holds(self, *, asked: bool) -> bool:
        """Whether a check has to wait. Raises Stopped when the agent ends."""
        if self._closing:
            raise Stopped
        return self.paused or (self.busy and not asked)

    def told(self, key: str, done: int, total: int) -> None:
        """A check has come this far; called from its thread."""
        self._progress[key] = (done, total)
        self._call(self._changed)


class _Pace:
    """Keeps one check slow, and tells how far it is (`done` bytes)."""

    def __init__(self, chores: Chores, manifest: Manifest, *, asked: bool) -> None:
        self._chores, self._key, self._asked = chores, manifest.key, asked
        self._total, self.done, self._told_at = sum(manifest.blobs.values()), 0, time.monotonic()

    def step(self, count: int) -> None:
        """After each block."""
        self.done += count
        self._chores.hashed += count
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._chores.told(self._key, self.done, self._total)
        rate = VERIFY_ASKED_BYTES_S if self._asked else max(1.0, self._chores.schedule.bytes_s)
        left = count / rate
        while self._chores.holds(asked=self._asked) or left > 0:
            time.sleep(min(HOLD_LOOK_S, left) if left > 0 else HOLD_LOOK_S)
            left -= HOLD_LOOK_S
