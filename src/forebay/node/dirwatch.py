"""Wakes the agent when a file appears in a folder: inotify where there is one, else a look now and then.

An idle agent must cost nothing, and a pull that asks for room must not wait: hence no polling on Linux.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from forebay.kit.clock import Clock

_CLOSE_WRITE, _MOVED_TO, _DELETE = 0x8, 0x80, 0x200  # Linux, include/uapi/linux/inotify.h
LOOK_EVERY_S = 0.5


async def watch_folders(folders: Sequence[Path], wake: Callable[[], None], *, clock: Clock) -> None:
    """Call `wake()` for every file that is renamed into, closed or deleted in a folder, until cancelled."""
    descriptor = _inotify(folders)
    if descriptor is None:
        await _look_now_and_then(folders, wake, clock)
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        wake()

    loop.add_reader(descriptor, read)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _inotify(folders: Sequence[Path]) -> int | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        return None  # the user's limit of inotify instances is reached
    for folder in folders:
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO | _DELETE) < 0:
            os.close(descriptor)
            return None
    return descriptor


async def _look_now_and_then(folders: Sequence[Path], wake: Callable[[], None], clock: Clock) -> None:
    before: object = None
    while True:
        now = [folder.stat().st_mtime_ns for folder in folders]
        if before is not None and now != before:
            wake()
        before = now
        await clock.sleep(LOOK_EVERY_S)
