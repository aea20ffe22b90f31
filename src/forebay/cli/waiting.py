"""Waiting for models and services, with progress."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from forebay.api.kinds import InferenceService, LocalModelCache, LocalModelNamespaceCache
from forebay.api.meta import Json, Resource
from forebay.errors import Absent, Unavailable
from forebay.store.protocol import Store

POLL_S = 0.2
WAITED = (LocalModelCache, LocalModelNamespaceCache, InferenceService)


def condition(item: Resource, type_: str) -> Json:
    """One condition of an object, or an empty mapping."""
    return next((c for c in item.status.get("conditions") or [] if c["type"] == type_), {})


def is_ready(item: Resource) -> bool:
    """Whether the Ready condition is about this generation and true."""
    seen = item.status.get("observedGeneration", item.generation)
    return condition(item, "Ready").get("status") == "True" and seen >= item.generation


def transferred(item: Resource) -> tuple[int, int, str]:
    """Bytes done, bytes in all and the phase over all nodes of a cache."""
    nodes = item.status.get("nodes") or {}
    done = sum(int(n.get("bytesDone") or 0) for n in nodes.values())
    total = sum(int(n.get("bytesTotal") or 0) for n in nodes.values())
    phases = sorted({str(n.get("source") or "") for n in nodes.values()} - {""})
    return done, total, ", ".join(phases)


class Board:
    """One line per object: bars on a terminal, changed lines otherwise."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not self._terminal)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, item: Resource) -> None:
        """Bring the object's line up to date."""
        name = f"{item.singular}/{item.name}"
        state = "Ready" if is_ready(item) else str(condition(item, "Ready").get("message") or "waiting")
        if not self._terminal:
            if self._said.get(name) != state:
                click.echo(f"{name}: {state}", err=True)
            self._said[name] = state
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, state="")
        done, total, source = transferred(item)
        shown = f"{state} ({source})" if source and not is_ready(item) else state
        if total:
            self._progress.update(self._tasks[name], completed=done, total=total, state=shown[:80])
        elif is_ready(item):
            self._progress.update(self._tasks[name], completed=1, total=1, state=shown[:80])
        else:
            self._progress.update(self._tasks[name], state=shown[:80])


async def wait_for_all(store: Store, items: Iterable[Resource], *, timeout_s: float) -> None:
    """Return when all caches and services among `items` are ready. Raises Unavailable."""
    left: list[Resource] = [item for item in items if isinstance(item, WAITED)]
    deadline = time.monotonic() + timeout_s
    with Board() as board:
        while left:
            left = [item for item in await _fresh(store, left) if not _show(board, item)]
            if left and time.monotonic() > deadline:
                raise Unavailable(f"not ready after {timeout_s:g} s: {_reasons(left)}")
            await asyncio.sleep(POLL_S)


def _show(board: Board, item: Resource) -> bool:
    board.show(item)
    return is_ready(item)


async def _fresh(store: Store, items: Sequence[Resource]) -> list[Resource]:
    found = []
    for item in items:
        try:
            found.append(await store.get(type(item), item.key))
        except Absent as error:
            raise Absent(f"{item.singular}/{item.name} was deleted while we waited for it") from error
    return found


def _reasons(items: Sequence[Resource]) -> str:
    return "; ".join(
        f"{i.singular}/{i.name}: {condition(i, 'Ready').get('message') or 'no status yet'}" for i in items
    )
