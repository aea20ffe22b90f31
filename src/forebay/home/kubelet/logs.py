"""Reading the logs that supervisors write, as `kubectl logs` asks for them.

A log line on disk is `TIME STREAM FLAG TEXT` (the container runtimes' format); FLAG P means that the line
goes on in the next record. `N.log` is run N, `N.log.1` its older part, and `N.log.end` says that nothing
will follow.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from forebay.api.kinds import Pod
from forebay.api.meta import Json
from forebay.errors import Absent, Invalid
from forebay.home.kubelet.settings import pod_log_dir
from forebay.kit.tasks import in_thread

CHUNK = 256 * 1024
LOOK_S = 0.1


class Query(Protocol):
    """What was asked; None where nothing was. `since_s` in seconds back from now."""

    @property
    def container(self) -> str: ...
    @property
    def previous(self) -> bool: ...
    @property
    def follow(self) -> bool: ...
    @property
    def timestamps(self) -> bool: ...
    @property
    def tail(self) -> int | None: ...
    @property
    def since_s(self) -> float | None: ...
    @property
    def limit_bytes(self) -> int | None: ...


@dataclass(frozen=True)
class LogQuery:
    """A plain Query."""

    container: str = ""
    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since_s: float | None = None
    limit_bytes: int | None = None


class Printer:
    """Turns records into what is shown; keeps the half record and the half line between chunks."""

    def __init__(self, *, timestamps: bool, since: bytes) -> None:
        self._timestamps, self._since = timestamps, since
        self._rest = b""
        self._inside = False

    def show(self, data: bytes) -> bytes:
        """The text of the whole records in `data`."""
        *records, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self._shown(record) for record in records)

    def _shown(self, record: bytes) -> bytes:
        time, _, flag, text = (record.split(b" ", 3) + [b""] * 3)[:4]
        if time < self._since:
            return b""
        head = time + b" " if self._timestamps and not self._inside else b""
        self._inside = flag == b"P"
        return head + text + (b"" if self._inside else b"\n")


async def read_logs(data_dir: Path, pod: Pod, query: Query) -> AsyncIterator[bytes]:
    """Chunks of a container's log; with `follow` until the run ends.

    `functools.partial(read_logs, data_dir)` is what the API server wants. Raises Invalid (reason BadRequest)
    when the container is not one of the pod's or has no log, Absent when the pod is on no node.
    """
    log = await in_thread(find_log, data_dir, pod, query)
    left = query.limit_bytes
    printer = Printer(timestamps=query.timestamps, since=_since(query.since_s))
    async for data in _read(log, query):
        text = printer.show(data)
        if left is not None:
            text, left = text[:left], left - len(text[:left])
        if text:
            yield text
        if left == 0:
            return


def find_log(data_dir: Path, pod: Pod, query: Query) -> Path:
    """The file of the run that was asked for. Raises Invalid, Absent."""
    container = _container(pod, query.container)
    node = pod.spec.get("nodeName")
    if not node:
        raise Absent(f'pod "{pod.name}" does not have a host assigned', reason="BadRequest")
    folder = pod_log_dir(data_dir, node, (pod.namespace, pod.name, pod.uid)) / container
    runs = sorted(int(path.stem) for path in folder.glob("*.log") if path.stem.isdigit())
    state = _status(pod, container)
    if query.previous:
        crashed = "waiting" in (state.get("state") or {})  # then the newest run is the one that ended
        runs = runs if crashed else runs[:-1]
        if not runs:
            raise Invalid(
                f'previous terminated container "{container}" in pod "{pod.name}" not found',
                reason="BadRequest",
            )
    if not runs:
        reason = ((state.get("state") or {}).get("waiting") or {}).get("reason", "ContainerCreating")
        raise Invalid(
            f'container "{container}" in pod "{pod.name}" is waiting to start: {reason}', reason="BadRequest"
        )
    return folder / f"{runs[-1]}.log"


def _container(pod: Pod, wanted: str) -> str:
    names = [c["name"] for group in ("containers", "initContainers") for c in pod.spec.get(group) or []]
    if wanted in names:
        return wanted
    if wanted:
        raise Invalid(f"container {wanted} is not valid for pod {pod.name}", reason="BadRequest")
    if len(names) == 1:
        return str(names[0])
    choice = " ".join(names)
    raise Invalid(
        f"a container name must be specified for pod {pod.name}, choose one of: [{choice}]",
        reason="BadRequest",
    )


def _status(pod: Pod, container: str) -> Json:
    groups = ("containerStatuses", "initContainerStatuses")
    statuses = [item for group in groups for item in pod.status.get(group) or []]
    return next((item for item in statuses if item["name"] == container), {})


def _since(seconds: float | None) -> bytes:
    if seconds is None:
        return b""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()


async def _read(log: Path, query: Query) -> AsyncIterator[bytes]:
    """The run's records from where `tail` begins: the older file, the newer one, then what is added."""
    old, skip = log.with_name(log.name + ".1"), 0
    paths = [log]
    if old.exists():
        paths = [old, log]
    if query.tail is not None:
        paths, skip = await in_thread(_tail, paths, query.tail)
    for path in paths[:-1]:
        async for data in _whole(path, skip):
            yield data
        skip = 0
    try:
        file = await in_thread(lambda: paths[-1].open("rb"))
    except FileNotFoundError:
        return
    with file:
        file.seek(skip)
        async for data in _grow(file, log, follow=query.follow):
            yield data


async def _whole(path: Path, skip: int) -> AsyncIterator[bytes]:
    try:
        file = await in_thread(lambda: path.open("rb"))
    except FileNotFoundError:
        return
    with file:
        file.seek(skip)
        while data := await in_thread(file.read, CHUNK):
            yield data


async def _grow(file: BinaryIO, log: Path, *, follow: bool) -> AsyncIterator[bytes]:
    """What is in the file and, with `follow`, what is added (also after a rotation) until the run ends."""
    current = file
    try:
        while True:
            over = not follow or _over(log)  # looked at before the read, or a line is lost
            rotated = follow and not _same(current, log)
            while data := await in_thread(current.read, CHUNK):
                yield data
            if rotated:
                fresh = await in_thread(lambda: log.open("rb"))
                if current is not file:
                    current.close()
                current = fresh
            elif over:
                return
            else:
                await asyncio.sleep(LOOK_S)
    finally:
        if current is not file:
            current.close()


def _over(log: Path) -> bool:
    """The run has ended, or its files are gone; in the middle of a rotation only the older one is there."""
    there = log.exists() or log.with_name(log.name + ".1").exists()
    return not there or log.with_name(log.name + ".end").exists()


def _same(file: BinaryIO, log: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == log.stat().st_ino
    except FileNotFoundError:
        return True


def _tail(paths: list[Path], lines: int) -> tuple[list[Path], int]:
    """Which files to read, and from which offset in the first, for the last `lines` lines."""
    missing = lines
    for index in range(len(paths) - 1, -1, -1):
        found, offset = _from_end(paths[index], missing)
        missing -= found
        if missing <= 0 or index == 0:
            return paths[index:], offset
    return paths, 0


def _from_end(path: Path, lines: int) -> tuple[int, int]:
    """How many of the last `lines` lines the file has, and the offset at which they begin."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            if lines <= 0:
                return 0, end
            found = 0
            for offset, record in _backwards(file, end):
                if record.split(b" ", 3)[2:3] == [b"F"] or offset + len(record) + 1 >= end:
                    if found == lines:
                        return found, offset + len(record) + 1
                    found += 1
    except FileNotFoundError:
        return 0, 0
    return found, 0


def _backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Records from the last to the first, each with its offset."""
    rest, at = b"", end
    while at > 0:
        size = min(CHUNK, at)
        at -= size
        file.seek(at)
        pieces = (file.read(size) + rest).split(b"\n")
        rest, offset = pieces[0], at + sum(len(piece) + 1 for piece in pieces)
        for piece in reversed(pieces[1:]):
            offset -= len(piece) + 1
            if piece:
                yield offset, piece
    if rest:
        yield 0, rest
