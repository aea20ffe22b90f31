"""A pull as a person sees it: a bar on a terminal, JSON lines elsewhere, and the report of where the time
went."""

from __future__ import annotations

import json
import os
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
    "look": "looking at what is here already",
    "room": "waiting for room on this node, or for another pull of the model",
    "wait": "connecting, waiting for answers and before retries",
    "network": "receiving",
    "limit": "kept back by a limit that was set",
    "disk": "writing, and reading back what came out of order",
    "hash": "hashing",
    "fsync": "making it durable",
    "buffers": "receivers waiting for hashing or the disk",
    "commit": "unpacking, giving names",
    "other": "starting, stopping, deciding",
}
_LIMITED = {
    "resolve": ("origin", "the source, which was slow to say what the name means"),
    "look": ("disk", "reading what is here already, to see whether it is whole"),
    "room": ("room", "room on this node, or another pull of the model"),
    "wait": ("origin", "the source's answers: connecting, first bytes"),
    "network": ("network", "the network, or how fast the source sends"),
    "limit": ("limit", "the limit that was set"),
    "disk": ("disk", "the disk's speed"),
    "hash": ("hash", "hashing, which a core does one file at a time"),
    "fsync": ("disk", "the disk's cache flush"),
    "commit": ("disk", "unpacking"),
    "other": ("cpu", "starting and stopping: it was too short to say more"),
}


def limited_by(report: Report) -> tuple[str, str]:
    """What held the pull back: network, origin, disk, hash, cpu, limit, room or nothing; and a sentence."""
    spent = {name: report.wall.get(name, 0.0) for name in _WHAT}
    if not report.bytes_network and not any(spent[name] > 0.1 for name in ("wait", "room", "look")):
        return "nothing", "nothing was fetched"
    cores = report.cpu_s / report.wall_s if report.wall_s else 0.0
    buffers = spent.pop("buffers")
    if buffers > 0.2 * (spent["network"] + buffers):
        kind = "hash" if spent["hash"] >= spent["disk"] else "disk"
        slow = "hashing" if kind == "hash" else "the disk"
        told = f"{slow}: receivers waited for it ({_share(buffers, report)})"
    else:
        name = max(spent, key=lambda n: spent[n])
        kind, why = _LIMITED[name]
        told = f"{why} ({_share(spent[name], report)})"
        if name in ("wait", "network") and report.retries:
            told += f"; {report.retries} requests were repeated"
    machine = os.cpu_count() or 1
    if cores > 0.85 * machine and kind in ("hash", "disk", "network"):
        return "cpu", f"the cores: the pull used {cores:.1f} of {machine}; of the time, {told}"
    return kind, told


def _share(seconds: float, report: Report) -> str:
    return f"{100 * seconds / report.wall_s:.0f} % of the time" if report.wall_s else "0 s"


def explanation(report: Report, *, error: str = "") -> str:
    """Where the time went, in lines that add up to it, and what limited it; `error`: what ended it."""
    lines = [f"where the {report.wall_s:.2f} s went (threads at work at once share a moment):"]
    for name, what in _WHAT.items():
        seconds = report.wall.get(name, 0.0)
        if seconds >= 0.005:
            lines.append(f"  {name:<8} {seconds:8.2f} s {100 * seconds / report.wall_s:4.0f} %  {what}")
    lines.append(f"  {'all':<8} {sum(report.wall.values()):8.2f} s")
    lines.append(
        f"{report.requests} requests, {report.connections_most} connections at most, "
        f"{report.retries} retries, {report.cpu_s:.2f} s of CPU"
    )
    lines += [f"from {name}: {size_text(count)}" for name, count in report.bytes_by_origin.items()]
    why = limited_by(report)[1]
    lines.append(f"ended by an error: {error}" if error else f"limited by {why}")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def report_fields(report: Report) -> dict[str, object]:
    """The report for machines: seconds with three digits; `wall_seconds` add up to `wall_s`."""
    kind, why = limited_by(report)
    plain = {name: value for name, value in vars(report).items() if name not in ("seconds", "wall")}
    return {
        **plain,
        "wall_s": round(report.wall_s, 3),
        "cpu_s": round(report.cpu_s, 3),
        "wall_seconds": {name: round(s, 3) for name, s in report.wall.items()},
        "thread_seconds": {name: round(s, 3) for name, s in report.seconds.items() if name != "idle"},
        "bytes_network": report.bytes_network,
        "limited_by": kind,
        "limited_by_text": why,
    }


def report_json(uri: str, report: Report) -> str:
    """The report as one JSON line."""
    return json.dumps({"event": "pulled", "uri": uri, **report_fields(report)})


def to_stderr(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)
