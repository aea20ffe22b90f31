"""A pull as a person sees it: a bar on a terminal, JSON lines elsewhere, and the report of where the time
went."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from forebay.pull.model import Progress, Report

LINE_EVERY_S = 2.0


@contextmanager
def progress_on(out: TextIO, title: str) -> Iterator[Callable[[Progress], None]]:
    """A function that shows progress on `out`: a bar if that is a terminal, else a JSON line every two
    seconds."""
    if out.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield _lines(out, title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[source]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, source="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.bytes_done,
                total=progress.bytes_total,
                source=f"from {progress.source}",
            )

        yield show


def _lines(out: TextIO, title: str) -> Callable[[Progress], None]:
    last = [0.0]

    def show(progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase != "done" and now - last[0] < LINE_EVERY_S:
            return
        last[0] = now
        line = {
            "event": "progress",
            "uri": title,
            "phase": progress.phase,
            "bytes_done": progress.bytes_done,
            "bytes_total": progress.bytes_total,
            "files_done": progress.files_done,
            "files_total": progress.files_total,
            "rate_bytes_s": round(progress.rate_bytes_s),
            "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
            "source": progress.source,
            "connections": progress.connections,
        }
        print(json.dumps(line), file=out, flush=True)

    return show


def size_text(count: float) -> str:
    """Bytes for people: 4.3 GB (decimal, as disks and networks count)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def summary(report: Report) -> str:
    """One line: what came, from where, how fast."""
    if not report.bytes_network and report.files_had == report.files:
        return f"{report.files} files were there already, nothing was fetched ({report.wall_s * 1000:.0f} ms)"
    rate = report.bytes_total / report.wall_s if report.wall_s else 0.0
    sources = ", ".join(f"{size_text(n)} from {name}" for name, n in report.bytes_by_origin.items())
    resumed = f", {size_text(report.bytes_resumed)} kept from before" if report.bytes_resumed else ""
    fetched = report.files - report.files_had
    speed = f"{report.wall_s:.1f} s, {size_text(rate)}/s"
    return f"{fetched} files, verified and durable: {sources}{resumed}; {speed}"


_WHAT = {
    "resolve": "asking the source what the name means",
    "wait": "connecting, waiting for answers and before retries",
    "network": "receiving",
    "limit": "kept back by a limit on bytes per second",
    "disk": "writing (and reading back what came out of order)",
    "hash": "hashing",
    "fsync": "making it durable",
    "buffers": "waiting for a free buffer (hashing or disk behind)",
}


def limit(report: Report) -> str:
    """What held the pull back, in words: the phase whose threads were busiest, judged by what it waits
    for."""
    spent = {name: report.seconds.get(name, 0.0) for name in _WHAT}
    if not report.bytes_network:
        return "nothing was fetched"
    if spent["resolve"] > 0.5 * report.wall_s:
        return "resolving: the source is slow to answer"
    spent.pop("resolve")
    if spent["buffers"] > 0.2 * (spent["network"] + spent["buffers"]):
        slower = "hashing" if spent["hash"] >= spent["disk"] else "the disk"
        return f"{slower}: receivers waited for it"
    name = max(spent, key=lambda n: spent[n])
    words = {
        "wait": "the source's answers (latency, retries)",
        "network": "the network or the source",
        "limit": "the limit that was set",
        "disk": "the disk",
        "hash": "hashing (CPU)",
        "fsync": "the disk's cache flush",
    }
    return words.get(name, name)


def explanation(report: Report) -> str:
    """Where the time went, as a table of thread seconds, and what limited it."""
    lines = [
        f"{report.wall_s:.2f} s in all, {report.cpu_s:.2f} s of CPU, {report.requests} requests, "
        f"{report.connections_most} connections at most, {report.retries} retries"
    ]
    for name, what in _WHAT.items():
        lines.append(f"  {name:<8} {report.seconds.get(name, 0.0):8.2f} s  {what}")
    lines += [f"  from {name}: {size_text(count)}" for name, count in report.bytes_by_origin.items()]
    lines.append(f"limited by {limit(report)}")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def report_json(uri: str, report: Report) -> str:
    """The report as one JSON line."""
    body = {
        "event": "pulled",
        "uri": uri,
        **{k: v for k, v in report.__dict__.items() if k != "seconds"},
        "seconds": {k: round(v, 3) for k, v in report.seconds.items() if k != "idle"},
        "bytes_network": report.bytes_network,
        "limited_by": limit(report),
    }
    return json.dumps(body)


def to_stderr(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)
