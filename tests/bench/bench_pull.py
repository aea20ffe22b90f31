"""The table of pull demands D1 to D15, each as a ratio to a limit or a peer of the same round.

`python -m tests.bench.bench_pull [--quick] [--rounds 3] [--only near,far]`. Origin and client share the
machine.
Peers that are not installed are left out, with a sentence that says so; `make bench-peers` installs them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import pull_cases, pull_serving
from tests.bench.pull_measure import Bench
from tests.bench.pull_peers import Peers

FULL_GB, QUICK_GB = 4.3, 1.07
CASES = ("near", "https", "far", "killed", "drops", "small", "serving", "warming", "second")


@dataclass
class Row:
    """A demand: what was seen, the limit, and whether more is better."""

    name: str
    against: str
    seen: float | None
    limit: float
    more: bool = False

    @property
    def verdict(self) -> str:
        if self.seen is None:
            return "not measured"
        kept = self.seen >= self.limit if self.more else self.seen <= self.limit
        return "kept" if kept else "MISSED"

    def cells(self) -> tuple[str, str, str, str, str]:
        """For the table."""
        seen = "" if self.seen is None else f"{self.seen:.3g}"
        return self.name, self.against, f"{'≥' if self.more else '≤'} {self.limit:g}", seen, self.verdict


@dataclass
class Found:
    """What the cases that are no runs of tools have found."""

    bench: Bench
    killed: list[float] = field(default_factory=list)
    drops: list[float] = field(default_factory=list)
    serving: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=dict)
    warmed: list[dict[str, float]] = field(default_factory=list)
    loads: list[tuple[float, float]] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    second_bytes: int = 0

    def case(self, name: str, peers: Peers) -> None:
        """Measure one group of demands."""
        bench = self.bench
        if name in ("killed", "drops"):
            setattr(self, name, getattr(pull_cases, name)(bench, peers))
        elif name == "serving":
            self.serving = pull_serving.serving(bench)
        elif name == "warming":
            self.warmed, self.loads = pull_serving.warming(bench)
        elif name == "second":
            self.second, self.second_bytes = pull_cases.second(bench)
        else:
            getattr(pull_cases, name)(bench, peers)


def middle(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def inverse(value: float | None) -> float | None:
    """For demands that say how many times faster."""
    return 1 / value if value else None


def rows(found: Found) -> list[Row]:
    """The fifteen demands in their order."""
    bench = found.bench
    ratio, ours = bench.ratio, "forebay hf"
    rates = [_served(found, n, 0) for n in (1, 4)]
    costs = [_served(found, n, 1) for n in (1, 4)]
    cpu = bench.median(ours, "cpu")
    alone = bench.gb * 1e9 / 75e6
    far = bench.median("far forebay")
    return [
        Row("D1 time", "dd conv=fsync", ratio(ours, ["dd conv=fsync"]), 1.25),
        Row("D2 time", "curl, one stream", ratio(ours, ["curl, one stream"]), 0.6),
        Row("D3 times faster", "snapshot_download", inverse(ratio(ours, ["snapshot_download"])), 4, True),
        Row("D3 times faster", "KServe's hf:// downloader", inverse(ratio(ours, ["kserve hf"])), 4, True),
        Row("D4 time", "s5cmd", ratio("forebay s3", ["s5cmd"]), 1.0),
        Row("D4 time", "obstore", ratio("forebay s3", ["obstore"]), 1.0),
        Row("D4 time", "opendal", ratio("forebay s3", ["opendal"]), 1.0),
        Row("D5 CPU s/GB", "absolute", cpu / bench.gb if cpu else None, 1.2),
        Row("D6 peak RSS MB", "absolute", bench.median(ours, "rss"), 128),
        Row("D7 HTTPS time", "s5cmd", ratio("tls forebay", ["tls s5cmd"]), 1.1),
        Row("D7 HTTPS time", "snapshot_download", ratio("tls forebay", ["tls snapshot_download"]), 0.4),
        Row("D8 times faster", "one stream of 75 MB/s (computed)", alone / far if far else None, 10, True),
        Row("D8 time", "best of s5cmd, rclone, aria2",
            ratio("far forebay", ["far s5cmd", "far rclone", "far aria2"]), 1.1),
        Row("D9 bytes in all", "the model's bytes", middle(found.killed), 1.06),
        Row("D10 bytes", "the model's bytes", middle(found.drops), 1.02),
        Row("D10 time", "undisturbed", ratio("drops for D10", ["near for D10"]), 2.0),
        Row("D11 time", "best of s5cmd, obstore, opendal, rclone",
            ratio("small forebay", [f"small {n}" for n in ("s5cmd", "obstore", "opendal", "rclone")]), 1.0),
        Row("D12 speed, worse of 1 and 4 connections", "nginx", _least(rates), 0.85, True),
        Row("D12 CPU, worse of 1 and 4 connections", "nginx", _least(costs, max), 1.5),
        Row("D13 resident share", "absolute", middle([w["resident"] for w in found.warmed]), 0.99, True),
        Row("D13 CPU s/GB", "absolute", middle([w["cpu"] / bench.gb for w in found.warmed]), 0.1),
        Row("D14 load after pre-warm", "cold load", middle([a / b for a, b in found.loads]), 0.25),
        Row("D15 second request, ms", "absolute", _thousand(middle(found.second)), 50),
        Row("D15 bytes of files", "absolute", float(found.second_bytes) if found.second else None, 0),
    ]  # fmt: skip


def _served(found: Found, count: int, which: int) -> float | None:
    ours, theirs = found.serving.get(("forebay", count)), found.serving.get(("nginx", count))
    if not ours or not theirs:
        return None
    return statistics.median(a[which] / max(1e-9, b[which]) for a, b in zip(ours, theirs, strict=True))


def _least(values: Sequence[float | None], pick: Callable[[Sequence[float]], float] = min) -> float | None:
    known = [v for v in values if v is not None]
    return pick(known) if known else None


def _thousand(value: float | None) -> float | None:
    return None if value is None else value * 1000


def text(found: Found, peers: Peers) -> str:
    """The table as Markdown, with what a reader has to know about the run."""
    bench = found.bench
    head = ("demand", "against", "limit", "seen", "verdict")
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows(found)]
    loads = sorted(r.foreign for runs in bench.runs.values() for r in runs) or [0.0]
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    said = [
        f"{when}: {bench.gb:g} GB in 4 shards and 7 small files, {bench.rounds} rounds in random order, "
        f"medians of the rounds' ratios; {os.cpu_count()} cores, origin and client share them. Foreign load "
        f"during the runs: median {bench.foreign():.1f} cores, {loads[0]:.1f} to {loads[-1]:.1f}."
    ]
    said += [f"- {note}" for note in [*peers.missing(), *bench.notes]]
    return "\n".join([*said, "", *lines])


def main() -> int:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("build/bench-pull"))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_GB} GB instead of {FULL_GB}")
    parser.add_argument("--gb", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CASES))
    options = parser.parse_args()
    gb = options.gb or (QUICK_GB if options.quick else FULL_GB)
    root = options.dir.resolve() / f"{gb:g}"
    root.mkdir(parents=True, exist_ok=True)
    bench = Bench(root, gb, options.rounds)
    peers, found = Peers(bench), Found(bench)
    pull_cases.make_model(bench)
    for name in options.only.split(","):
        print(name, flush=True)
        found.case(name, peers)
    shutil.rmtree(bench.out, ignore_errors=True)
    print(f"\n{text(found, peers)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
