"""Where a pull's time goes: by thread and phase, and as shares of the time that a person waits."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType

from forebay.pull.model import Report


class Watch:
    """Seconds by phase; each thread has its own, so nobody waits for a lock to measure."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._now: tuple[str, float] | None = None

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the time of a block of code under `name`."""
        return _Phase(self, name)

    def begin(self, name: str) -> float:
        """A phase begins, at the time that is returned."""
        now = time.monotonic()
        self._now = name, now
        return now

    def end(self, name: str, start: float) -> None:
        """It is over."""
        self._now = None
        self.seconds[name] += time.monotonic() - start

    def spent(self, now: float) -> dict[str, float]:
        """Seconds by phase, with the one that still lasts; for another thread to look at."""
        found, last = dict(self.seconds.items()), self._now
        if last is not None:
            found[last[0]] = found.get(last[0], 0.0) + max(0.0, now - last[1])
        return found


class _Phase(AbstractContextManager[None]):
    """No generator: a small file has seven phases, and there may be a hundred thousand of them."""

    __slots__ = ("_name", "_start", "_watch")

    def __init__(self, watch: Watch, name: str) -> None:
        self._watch, self._name = watch, name

    def __enter__(self) -> None:
        self._start = self._watch.begin(self._name)

    def __exit__(self, *_: object) -> None:
        self._watch.end(self._name, self._start)


class Ledger:
    """Wall seconds by phase that add up to the time since `now`: each moment is shared equally by the threads
    at work in it, and one in which nobody works counts as "other". Times are monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._at = now
        self._before: dict[str, float] = {}

    def tick(self, now: float, spent: Mapping[str, float]) -> None:
        """`spent`: thread seconds by phase up to `now`."""
        wall, self._at = now - self._at, now
        new = {p: max(0.0, s - self._before.get(p, 0.0)) for p, s in spent.items() if p != "idle"}
        self._before = {p: max(s, self._before.get(p, 0.0)) for p, s in spent.items()}
        total = sum(new.values())
        for phase, seconds in new.items():
            self.seconds[phase] += seconds * (min(1.0, wall / total) if total else 0.0)
        self.seconds["other"] += max(0.0, wall - total)

    def all_to(self, phase: str, now: float) -> None:
        """The time since the last tick belongs to one phase."""
        self.seconds[phase] += now - self._at
        self._at = now


@dataclass(frozen=True)
class Pace:
    """Bytes a second over the last `span_s` seconds, and who sent most in the last two."""

    rate_bytes_s: float
    source: str
    span_s: float

    def eta_s(self, left: int) -> float | None:
        """Seconds until `left` bytes have come, or None while it would be a guess: at the very start, in a
        standstill, beyond a month."""
        if not left:
            return 0.0
        if self.rate_bytes_s <= 0 or self.span_s < 1.0:
            return None
        seconds = left / self.rate_bytes_s
        return seconds if seconds < 30 * 24 * 3600 else None


def pace_of(samples: Sequence[tuple[float, Mapping[str, int]]]) -> Pace:
    """From (monotonic seconds, bytes by origin so far), the latest last; at least one."""
    (start, first), (now, last) = samples[0], samples[-1]
    span = now - start
    rate = (sum(last.values()) - sum(first.values())) / span if span > 0 else 0.0
    before = next((seen for at, seen in reversed(samples) if now - at >= 2.0), first)
    lately = {name: count - before.get(name, 0) for name, count in last.items()}
    who = lately if any(lately.values()) else last
    return Pace(rate, max(who, key=lambda name: who[name], default=""), span)


class Trip:
    """One pull from the question to the last name. Its report is told at the end, however it ends."""

    def __init__(self, told: Callable[[Report], None], report: Report | None = None) -> None:
        self.report = report or Report()
        self._told, self._started, self._cpu = told, time.monotonic(), cpu_s()
        self.stages: dict[str, float] = {}

    def __enter__(self) -> Trip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        report = self.report
        report.wall_s, report.cpu_s = time.monotonic() - self._started, cpu_s() - self._cpu
        report.seconds.update(self.stages)
        for name, seconds in self.stages.items():
            report.wall[name] = report.wall.get(name, 0.0) + seconds
        told = sum(report.wall.values())
        report.wall["other"] = report.wall.get("other", 0.0) + max(0.0, report.wall_s - told)
        self._told(report)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the wall time of a block of code, outside the engine, under `name`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - start

    def fetched(self, report: Report) -> None:
        """What the engine says, of a failure too."""
        vars(self.report).update(vars(report))


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime
