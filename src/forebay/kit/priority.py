"""Work that stands behind everything else on the machine: Linux' priorities of one thread."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from contextlib import suppress

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # asm/unistd.h
# linux/ioprio.h: one thread; best effort, last. Not idle: who holds a lock must get on in the end.
_ONE_THREAD, _LAST = 1, 2 << 13 | 7


def step_back() -> None:
    """Give the calling thread the lowest priority for CPU and disk. There is no way back without rights, so
    the thread is best one's own. Where it cannot be done, nothing happens.
    """
    thread = threading.get_native_id()
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, thread, 19)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None and platform.system() == "Linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, _ONE_THREAD, thread, _LAST)
