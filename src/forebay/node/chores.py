"""Slow work beside the agent's passes: warming the page cache; hashing what lies on the disk, once a week or
when somebody asks. One task each, so that a check of a large model keeps no pod waiting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable

from forebay.cache import manifests, verify
from forebay.cache.manifest import Manifest
from forebay.cache.prewarm import Warmed, prewarm
from forebay.cache.root import Root
from forebay.errors import ForebayError
from forebay.kit.tasks import in_thread

VERIFY_AFTER_S = 7 * 24 * 3600.0
VERIFY_LOOK_S = 3600.0
VERIFY_BYTES_S = 64 << 20
VERIFY_ASKED_BYTES_S = 512 << 20  # somebody waits for it; still behind what pulls and engines read
TELL_EVERY_S = 1.0
AGAIN_AFTER_S = 60.0  # what could not be done or noted rests this long
_log = logging.getLogger("forebay.node")


class Chores:
    """Requests are kept once each. `results` counts checks: ("clean" | "damaged" | "unreadable")."""

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
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._warm_all())
                tasks.create_task(self._check_all())
        finally:
            self._closing = True

    async def _warm_all(self) -> None:
        while True:
            while self._cold:
                key = next(iter(self._cold))
                await in_thread(self._warm, key, self._cold[key])
                del self._cold[key]
                self._changed()
            await self._warm_wake.wait()
            self._warm_wake.clear()

    async def _check_all(self) -> None:
        while True:
            while self._doubted:
                key = next(iter(self._doubted))
                await in_thread(self._check_asked, key, self._doubted[key])
                del self._doubted[key]
                self._changed()
            try:
                async with asyncio.timeout(VERIFY_LOOK_S):
                    await self._check_wake.wait()
            except TimeoutError:
                await in_thread(self._check_oldest)
            self._check_wake.clear()

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
            _log.info("model %s was not warmed: %s", key, error)
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

    def _check_oldest(self) -> None:
        due = verify.oldest(self._root, before=self._root.now() - VERIFY_AFTER_S)
        if due is not None:
            self._check(due, "", VERIFY_BYTES_S)

    def _check_asked(self, key: str, request: str) -> None:
        try:
            manifest = manifests.find(self._root, key)
        except ForebayError as error:
            _log.warning("model %s could not be checked: %s", key, error.message)
            self._rest("check", key)
            return
        if manifest is not None:
            self._check(manifest, request, VERIFY_ASKED_BYTES_S)

    def _check(self, manifest: Manifest, request: str, bytes_s: int) -> None:
        pace = _Pace(self, manifest, bytes_s)
        try:
            bad = verify.check(self._root, manifest, pause=pace.step, wish=request)
        except (OSError, ForebayError) as error:
            _log.warning("model %s could not be checked: %s", manifest.key, error)
            self.results["unreadable"] += 1
            self._rest("check", manifest.key)
            return
        finally:
            self._progress.pop(manifest.key, None)
        for note in bad:
            _log.error("content %s of models %s failed its check and was set aside", note.digest, note.keys)
        self.results["damaged" if bad else "clean"] += 1
        if bad:
            self._call(self._changed)

    def told(self, key: str, done: int, total: int) -> None:
        """A check has come this far; called from its thread."""
        if self._closing:
            raise OSError("the agent stops")
        self._progress[key] = (done, total)
        self._call(self._changed)


class _Pace:
    """Keeps one check slow, and tells how far it is."""

    def __init__(self, chores: Chores, manifest: Manifest, bytes_s: int) -> None:
        self._chores, self._key, self._bytes_s = chores, manifest.key, bytes_s
        self._total, self._done, self._told_at = sum(manifest.blobs.values()), 0, 0.0

    def step(self, count: int) -> None:
        """After each block."""
        self._done += count
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._chores.told(self._key, self._done, self._total)
        time.sleep(count / self._bytes_s)
