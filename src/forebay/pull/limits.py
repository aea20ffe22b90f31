"""Limits on bytes per second that may change while a pull runs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping

from forebay.errors import Invalid
from forebay.kit.bucket import Bucket
from forebay.kit.rate import rate

__all__ = ["Bucket", "Limits", "Slots", "limits_from"]


class Slots:
    """How many connections each origin gets at once; `most` 0: any number. Thread-safe."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: dict[str, int] = {}
        self._free = threading.Condition()

    def take(self, origin: str, over: Callable[[], bool]) -> bool:
        """Wait for one; False when the pull is over."""
        with self._free:
            while self.most and self._taken.get(origin, 0) >= self.most:
                if over():
                    return False
                self._free.wait(0.2)
            self._taken[origin] = self._taken.get(origin, 0) + 1
            return True

    def give(self, origin: str) -> None:
        """Give one back; its connection must be closed."""
        with self._free:
            self._taken[origin] -= 1
            self._free.notify()


class Limits:
    """Bytes per second for a pull as a whole and per origin (by name); `yield_to` lowers it while others need
    the line."""

    def __init__(
        self, bytes_per_s: float = 0.0, *, per_origin: dict[str, float] | None = None, connections: int = 0
    ) -> None:
        self.slots = Slots(connections)
        self._all = Bucket(bytes_per_s)
        self._wanted = bytes_per_s
        self._origins = {name: Bucket(rate) for name, rate in (per_origin or {}).items()}

    def set_rate(self, bytes_per_s: float) -> None:
        """Limit of the whole pull; 0 lifts it."""
        self._wanted = bytes_per_s
        self._all.set_rate(bytes_per_s)

    def yield_to(self, bytes_per_s: float | None) -> None:
        """Go down to a rate for a while; None goes back to what `set_rate` said, which is never exceeded."""
        rates = [rate for rate in (self._wanted, bytes_per_s) if rate]
        self._all.set_rate(min(rates, default=0.0))

    @property
    def is_limited(self) -> bool:
        """Whether any rate is set: then slowness is nobody's fault."""
        return bool(self._all.rate) or any(bucket.rate for bucket in self._origins.values())

    def piece(self, origin: str, most: int) -> int:
        """How many bytes to move at once so that a limit is kept smoothly: `most` without one."""
        rates = [b.rate for b in (self._all, self._origins.get(origin)) if b is not None and b.rate]
        return most if not rates else max(4096, min(most, int(min(rates) / 8) // 4096 * 4096))

    def wait(self, origin: str, count: int, stop: threading.Event) -> float:
        """Wait until `count` bytes may move, or `stop`; returns the seconds waited."""
        seconds = self._all.wait_s(count)
        if origin in self._origins:
            seconds = max(seconds, self._origins[origin].wait_s(count))
        if seconds > 0:
            stop.wait(seconds)
        return seconds


def limits_from(env: Mapping[str, str], bytes_per_s: float = 0.0) -> Limits:
    """The limits of a process: `bytes_per_s` (0: FOREBAY_PULL_RATE says), FOREBAY_PULL_ORIGIN_RATES as
    `hf=50M,s3=1Gi`, FOREBAY_PULL_ORIGIN_CONNECTIONS for each origin. Raises Invalid."""
    said = env.get("FOREBAY_PULL_RATE", "").strip()
    origins: dict[str, float] = {}
    for item in env.get("FOREBAY_PULL_ORIGIN_RATES", "").split(","):
        name, _, text = item.partition("=")
        if item.strip():
            origins[name.strip()] = rate(text, f"FOREBAY_PULL_ORIGIN_RATES, {name.strip()[:60]}:")
    most = env.get("FOREBAY_PULL_ORIGIN_CONNECTIONS", "").strip() or "0"
    if not re.fullmatch(r"[0-9]{1,6}", most):
        raise Invalid(f"FOREBAY_PULL_ORIGIN_CONNECTIONS must be a whole number, not {most[:60]!r}")
    whole = bytes_per_s or (rate(said, "FOREBAY_PULL_RATE") if said else 0.0)
    return Limits(whole, per_origin=origins, connections=int(most))
