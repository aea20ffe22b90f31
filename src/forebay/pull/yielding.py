"""A pull that runs is told to yield: a small file says how fast it may go now.

`echo 20M > FILE` lowers the rate within a second, removing the file gives it back. Several pulls that read
the same file share what it says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from forebay.errors import Invalid
from forebay.kit.rate import rate
from forebay.pull.limits import Limits

LOOK_EVERY_S = 1.0
_log = logging.getLogger("forebay.pull")


class RateFile:
    """Follows `path` into `limits`; `sharers` tells how many pulls divide the rate (at least one)."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        sharers: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._limits, self._sharers, self._clock = path, limits, sharers, clock
        self._next = 0.0
        self._said = 0.0
        self._bad = ""

    def look(self) -> None:
        """Cheap: called often, it reads the file once a second. What cannot be read changes nothing."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + LOOK_EVERY_S
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")[:100].strip()
            wanted = rate(text, f"{self._path}:") / max(1, self._sharers()) if text else 0.0
        except FileNotFoundError:
            wanted = 0.0
        except OSError:
            return
        except Invalid as error:
            if error.message != self._bad:
                self._bad = error.message
                _log.warning("%s; the rate stays as it is", error.message)
            return
        if wanted != self._said:
            self._said = wanted
            self._limits.yield_to(wanted or None)
