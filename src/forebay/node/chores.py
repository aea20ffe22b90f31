"""Slow work that nobody waits for: warming the page cache, and hashing what lies on the disk once a week."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from forebay.cache import manifests, verify
from forebay.cache.prewarm import prewarm
from forebay.cache.root import Root
from forebay.errors import ForebayError
from forebay.kit.tasks import in_thread

VERIFY_AFTER_S = 7 * 24 * 3600.0
VERIFY_LOOK_S = 3600.0
VERIFY_BYTES_S = 64 << 20
_log = logging.getLogger("forebay.node")


class Chores:
    """One task; requests are kept once each."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._cold: set[str] = set()
        self._warmed: set[tuple[str, str]] = set()
        self._asked: dict[str, set[str]] = {}
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def is_cold(self, key: str, pod: str) -> bool:
        """Whether nobody has warmed this model for this pod (its uid) yet; remembers who asks."""
        if (key, pod) in self._warmed:
            return False
        self._asked.setdefault(key, set()).add(pod)
        return True

    def warm(self, key: str) -> None:
        """Warm a model soon; may be called from any thread."""
        self._warmed |= {(key, pod) for pod in self._asked.pop(key, ())}
        self._cold.add(key)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self, changed: Callable[[], None]) -> None:
        """Until cancelled; `changed()` is called when a check has set something aside."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    async with asyncio.timeout(VERIFY_LOOK_S):
                        await self._wake.wait()
                except TimeoutError:
                    await in_thread(self._verify, changed)
                self._wake.clear()
                while self._cold:
                    await in_thread(self._warm, self._cold.pop())
        finally:
            self._closing = True

    def _warm(self, key: str) -> None:
        started = time.monotonic()
        try:
            manifest = manifests.find(self._root, key)
            if manifest is not None:
                blobs = [self._root.layout.blob(digest) for digest in manifest.blobs]
                done = prewarm(blobs, stop=lambda: self._closing)
                seconds = time.monotonic() - started
                _log.info("warmed model %s: %d of %d bytes in %.2f s", key, done.bytes, done.total, seconds)
        except (OSError, ForebayError) as error:
            _log.info("model %s was not warmed: %s", key, error)

    def _verify(self, changed: Callable[[], None]) -> None:
        due = verify.oldest(self._root, before=self._root.now() - VERIFY_AFTER_S)
        if due is None or self._loop is None:
            return
        try:
            bad = verify.check(self._root, due, pause=self._slowly)
        except (OSError, ForebayError) as error:
            _log.warning("model %s could not be checked: %s", due.key, error)
            return
        for note in bad:
            _log.error("content %s of models %s failed its check and was set aside", note.digest, note.keys)
        if bad:
            self._loop.call_soon_threadsafe(changed)

    def _slowly(self, count: int) -> None:
        if self._closing:
            raise OSError("the agent stops")
        time.sleep(count / VERIFY_BYTES_S)
