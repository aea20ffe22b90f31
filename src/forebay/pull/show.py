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
PLAIN_EVERY_S = 5.0
BAR_WIDTH = 20


@contextmanager
def progress_on(out: TextIO, title: str) -> Iterator[Callable[[Progress], None]]:
    """A function that shows progress on `out`: a bar if that is a terminal (a plain line every few seconds if
    it can write over nothing), else a JSON line every two seconds."""
    if out.isatty() and os.environ.get("TERM") in ("dumb", "unknown", ""):
        yield _plain(out, title)
    elif out.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield _lines(out, title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    width = min(BAR_WIDTH, console.width // 5)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=width),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Bar(*columns, console=console) as bar:
        short = shortened(title, console.width // 3)
        task = bar.add_task(escape(short), total=None, state="asking the source")

        def show(progress: Progress) -> None:
            state = progress_text(progress, console.width - len(short) - width - 3)
            bar.update(task, completed=progress.bytes_done, total=progress.bytes_total, state=state)

        yield show


def _plain(out: TextIO, title: str) -> Callable[[Progress], None]:
    next_at = [time.monotonic() + PLAIN_EVERY_S]

    def show(progress: Progress) -> None:
        if time.monotonic() >= next_at[0]:
            next_at[0] = time.monotonic() + PLAIN_EVERY_S
            print(f"{title}: {progress_text(progress, 200)}", file=out, flush=True)

    return show


def progress_text(progress: Progress, room: int) -> str:
    """`1.2 GB of 4.3 GB, 310.0 MB/s, 10 s left, from hf`, as much of it as `room` characters hold."""
    done, total = size_text(progress.bytes_done), progress.bytes_total
    parts = [done if total is None else f"{done} of {size_text(total)}"]
    if progress.rate_bytes_s:
        parts.append(f"{size_text(progress.rate_bytes_s)}/s")
    if progress.eta_s:
        parts.append(f"{time_text(progress.eta_s)} left")
    if progress.source:
        parts.append(f"from {progress.source}")
    while len(parts) > 1 and len(", ".join(parts)) > room:
        parts.pop()
    return shortened(", ".join(parts), room)


def time_text(seconds: float) -> str:
    """Seconds for people: 8 s, 2 min 5 s, 3 h 20 min, 2 days 4 h."""
    whole = max(1, round(seconds))
    for size, name, small, small_name in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def shortened(text: str, room: int) -> str:
    """`text`, with an ellipsis in its middle if it is longer than `room` (at least 5)."""
    room = max(5, room)
    return text if len(text) <= room else f"{text[: room // 2 - 1]}…{text[len(text) - (room - room // 2) :]}"


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


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def summary(report: Report) -> str:
    """One line: what came, from where, how fast."""
    if not report.bytes_network and report.files_had == report.files:
        were = f"{_count(report.files, 'file')} {'was' if report.files == 1 else 'were'}"
        return f"{were} there already, nothing was fetched ({report.wall_s * 1000:.0f} ms)"
    rate = report.bytes_total / report.wall_s if report.wall_s else 0.0
    sources = ", ".join(f"{size_text(n)} from {name}" for name, n in report.bytes_by_origin.items())
    resumed = f", {size_text(report.bytes_resumed)} kept from before" if report.bytes_resumed else ""
    fetched = report.files - report.files_had
    speed = f"{report.wall_s:.1f} s, {size_text(rate)}/s"
    return f"{_count(fetched, 'file')}, verified and durable: {sources}{resumed}; {speed}"


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
_ALWAYS = {"resolve", "wait", "network", "disk", "hash", "fsync"}  # people look for these
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
    if buffers > 0.2 * (spent["network"] + buffers) and buffers > 0.05 * report.wall_s:
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
        if seconds >= 0.005 or name in _ALWAYS:
            lines.append(
                f"  {name:<8} {seconds:8.2f} s {100 * seconds / (report.wall_s or 1):4.0f} %  {what}"
            )
    lines.append(f"  {'all':<8} {sum(report.wall.values()):8.2f} s")
    lines.append(
        f"{_count(report.requests, 'request')}, {_count(report.connections_most, 'connection')} at most, "
        f"{report.retries} {'retry' if report.retries == 1 else 'retries'}, {report.cpu_s:.2f} s of CPU"
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
