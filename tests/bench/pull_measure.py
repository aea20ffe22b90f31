"""One measured command of the pull bench: fresh folder, warm memory, its own CPU, and who else used the
machine meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Tool:
    """A command under a name; `env` is added to the process environment."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    check: Callable[[Path], bool] | None = None  # whether the target holds what it should


@dataclass
class Run:
    """Seconds until exit and until durable, CPU seconds, peak RSS in MB, foreign cores, exit code."""

    wall: float
    durable: float
    cpu: float
    rss: float
    foreign: float
    code: int


@dataclass
class Bench:
    """The folders and the collected runs: `runs[name][n]` belongs to round n."""

    root: Path
    gb: float
    rounds: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    origin_pid: int = 0

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def bytes(self) -> int:
        """Of the model."""
        return sum(p.stat().st_size for p in (self.root / "s3/bkt/m").iterdir())

    def rounds_of(self, tools: Sequence[Tool], *, of: str = "m") -> None:
        """All tools in each round, in random order; they fetch folder `of` of the bucket."""
        for number in range(self.rounds):
            for tool in random.Random(number).sample(list(tools), len(tools)):
                self.run(tool, of=of)

    def run(self, tool: Tool, *, keep: bool = False, of: str = "m") -> Run:
        """Run a command on warm memory, the origin's too, and, unless `keep`, an empty target."""
        if not keep:
            shutil.rmtree(self.out, ignore_errors=True)
            self.out.mkdir()
        os.sync()
        warm(int(max(1.2, self.gb * 1.2) * 1e9))
        if self.origin_pid:
            heat(list((self.root / "s3/bkt" / of).iterdir()))
        before = (busy_s(), process_s(self.origin_pid), os.times())
        start = time.monotonic()
        argv = ["nice", "-n", "-5", *tool.argv] if os.geteuid() == 0 else list(tool.argv)
        child = subprocess.Popen(
            argv,
            env={**os.environ, "no_proxy": "*", **tool.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert child.stderr is not None
        said = child.stderr.read()
        _, status, use = os.wait4(child.pid, 0)
        child.stderr.close()
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        syncfs(self.out)
        durable = time.monotonic() - start
        cpu = use.ru_utime + use.ru_stime
        own = cpu + process_s(self.origin_pid) - before[1] + sum(os.times()[:2]) - sum(before[2][:2])
        foreign = max(0.0, busy_s() - before[0] - own) / durable
        code = child.returncode or (0 if tool.check is None or tool.check(self.out) else 99)
        run = Run(wall, durable, cpu, use.ru_maxrss / 1024, foreign, code)
        self.runs.setdefault(tool.name, []).append(run)
        tail = "" if code == 0 else f"  FAILED ({code}) {said[-300:].decode(errors='replace')}"
        print(
            f"  {tool.name:<22} {run.durable:7.2f} s durable  {run.cpu / self.gb:5.2f} CPU s/GB"
            f"  {run.rss:5.0f} MB  {run.foreign:4.1f} foreign cores{tail}",
            flush=True,
        )
        return run

    def median(self, name: str, what: str = "durable") -> float | None:
        """The median of what went well."""
        good = [getattr(r, what) for r in self.runs.get(name, []) if r.code == 0]
        return statistics.median(good) if good else None

    def ratio(self, name: str, peers: Sequence[str], what: str = "durable") -> float | None:
        """The median over the rounds of ours against the best peer of the same round."""
        found = []
        for number, run in enumerate(self.runs.get(name, [])):
            seen = [self.runs[p][number] for p in peers if len(self.runs.get(p, [])) > number]
            good = [getattr(r, what) for r in seen if r.code == 0]
            if good and run.code == 0:
                found.append(getattr(run, what) / min(good))
        return statistics.median(found) if found else None

    def foreign(self) -> float:
        """Median of the cores that others used during all runs."""
        seen = [r.foreign for runs in self.runs.values() for r in runs]
        return statistics.median(seen) if seen else 0.0


def busy_s() -> float:
    """CPU seconds that this machine has spent on anybody, and that its host took from it."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, soft, steal = (int(n) for n in stat.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICKS


def process_s(pid: int) -> float:
    """CPU seconds of a process and its ended children; 0 if there is none."""
    if not pid:
        return 0.0
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(n) for n in fields[11:15]) / TICKS
    return 0.0


def available() -> int:
    """Bytes of memory that programs may have now."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found else 0


def warm(count: int) -> None:
    """Touch memory in a child, so that the pages it frees are the host's no longer.

    Without it the same tool varies tenfold: the first touch of a page that the host has taken back costs
    whoever touches it one to three seconds per gigabyte.
    """
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            area = mmap.mmap(-1, count)
            with contextlib.suppress(OSError):
                area.madvise(mmap.MADV_HUGEPAGE)
            page = b"\1" * (1 << 24)
            for at in range(0, count - len(page), len(page)):
                area[at : at + len(page)] = page
        os._exit(0)
    os.waitpid(pid, 0)


def syncfs(folder: Path) -> None:
    """Wait until everything of this file system is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(descriptor)
    os.close(descriptor)


def evict(paths: Sequence[Path]) -> None:
    """Take files out of the page cache."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def heat(paths: Sequence[Path]) -> None:
    """Read files once: what is measured is neither an origin's disk nor pages that the host has taken from
    it, which whoever fetches them pays for (a third of a fast pull)."""
    buffer = bytearray(8 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
