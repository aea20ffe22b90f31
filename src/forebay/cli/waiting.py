"""Waiting for models and services, with progress."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from forebay.api.kinds import InferenceService, LocalModelCache, LocalModelNamespaceCache
from forebay.api.meta import Json, Resource
from forebay.api.states import NodeState
from forebay.cli.output import is_live, plain, size
from forebay.errors import ALL, Absent, ForebayError, Unavailable
from forebay.store.protocol import Store

POLL_S = 0.2
DELETED = "Deleted"  # reason of Absent: what we waited for is gone
NAME_WIDTH, BAR_WIDTH = 22, 14
WAITED = (LocalModelCache, LocalModelNamespaceCache, InferenceService)


def condition(item: Resource, type_: str) -> Json:
    """One condition of an object, or an empty mapping."""
    return next((c for c in item.status.get("conditions") or [] if c["type"] == type_), {})


def is_ready(item: Resource) -> bool:
    """Whether the Ready condition is about this generation and true."""
    seen = item.status.get("observedGeneration", item.generation)
    return condition(item, "Ready").get("status") == "True" and seen >= item.generation


@dataclass(frozen=True)
class Transfer:
    """Bytes of a cache over all its nodes; rate in bytes a second, eta in seconds, where they are known."""

    done: int
    total: int
    rate: int
    eta_s: int | None
    source: str

    def __str__(self) -> str:
        return self.within(1000)

    def within(self, room: int) -> str:
        """As much as fits into `room` characters; the source goes first, then the rate, then the rest."""
        if not self.total:
            return ""
        moving = self.done < self.total
        bytes_ = f"{size(self.done)} of {size(self.total)}" if moving else size(self.total)
        rate = f"{size(self.rate)}/s" if self.rate and moving else ""
        left = f"{self.eta_s} s left" if self.eta_s is not None and moving else ""
        source = f"from {self.source}" if self.source else ""
        for parts in ((bytes_, rate, left, source), (bytes_, rate, left), (bytes_, left), (bytes_,)):
            text = ", ".join(filter(None, parts))
            if len(text) <= room:
                break
        return text


def transferred(item: Resource) -> Transfer:
    """What a cache's status says of its transfers, summed over the nodes (pure)."""
    nodes = list((item.status.get("nodes") or {}).values())
    etas = [int(n["etaSeconds"]) for n in nodes if n.get("etaSeconds") is not None]
    return Transfer(
        done=sum(int(n.get("bytesDone") or 0) for n in nodes),
        total=sum(int(n.get("bytesTotal") or 0) for n in nodes),
        rate=sum(int(n.get("rate") or 0) for n in nodes),
        eta_s=max(etas) if etas else None,
        source=", ".join(sorted({str(n["source"]) for n in nodes if n.get("source")})),
    )


class Board:
    """One line per object: a bar and what it waits for on a terminal, changed lines otherwise."""

    def __init__(self) -> None:
        self._terminal = is_live(sys.stderr)
        console = Console(stderr=True)
        self._room = max(20, console.width - NAME_WIDTH - BAR_WIDTH - 4)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[state]}"),
        )
        self._progress = Progress(*columns, console=console, disable=not self._terminal)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, item: Resource) -> None:
        """Bring the object's line up to date; what another object's line says already is not said again."""
        name = f"{item.singular}/{item.name}"
        transfer = transferred(item)
        waits = str(condition(item, "Ready").get("message") or "waiting")
        for other, said in self._said.items():
            if other != name and said and f"({said})" in waits:
                waits = waits.partition(f" ({said})")[0]
        ready = "ready" if is_ready(item) else ""
        room = self._room - (len(ready) + 2 if ready else 0) if self._terminal else 1000
        state = plain(": ".join(filter(None, [ready, transfer.within(room)])) or waits)
        if not self._terminal:
            if self._said.get(name) != state:
                click.echo(f"{name}: {state}", err=True)
            self._said[name] = state
            return
        if name not in self._tasks:
            short = item.name if len(item.name) <= NAME_WIDTH else item.name[: NAME_WIDTH - 1] + "…"
            self._tasks[name] = self._progress.add_task(short.ljust(NAME_WIDTH), total=None, state="")
        if len(state) > self._room and self._said.get(name) != state:  # the line below would cut it
            self._progress.console.print(f"{name}: {state}", markup=False, highlight=False, soft_wrap=True)
        self._said[name] = state
        done, total = (1, 1) if is_ready(item) else (transfer.done, transfer.total or None)
        shown = state if len(state) <= self._room else state[: self._room - 1] + "…"
        self._progress.update(self._tasks[name], completed=done, total=total, state=shown)


async def wait_for_all(
    store: Store, items: Iterable[Resource], *, timeout_s: float, give_up_on: frozenset[str] = frozenset()
) -> None:
    """Return when all caches and services among `items` are ready. Raises Unavailable (too late) or the class
    of the error that gave Ready one of the reasons `give_up_on` while we looked (what failed before may be
    mended by now).
    """
    left: list[Resource] = [item for item in items if isinstance(item, WAITED)]
    deadline = time.monotonic() + timeout_s
    before: dict[str, Json] = {}
    with Board() as board:
        while left:
            left = [item for item in await _fresh(store, left) if not _show(board, item)]
            for item in left:
                _give_up(item, before.setdefault(item.uid, condition(item, "Ready")), give_up_on)
            if left and time.monotonic() > deadline:
                raise Unavailable(f"not ready after {timeout_s:g} s: {_reasons(left)}")
            await asyncio.sleep(POLL_S)


def _give_up(item: Resource, before: Json, reasons: frozenset[str]) -> None:
    now = condition(item, "Ready")
    if now.get("reason") in reasons and now != before:
        family = failure_class(item)
        raise family(f"{item.singular}/{item.name}: {now.get('message') or now['reason']}")


def failure_class(item: Resource) -> type[ForebayError]:
    """The class of the error that a cache's Ready condition tells, by its node's reason; or Unavailable."""
    said, states = item.status.get("nodes") or {}, item.status.get("nodeStatus") or {}
    failed = next((node for node in sorted(states) if states[node] == NodeState.ERROR), "")
    word = (said.get(failed) or {}).get("reason")
    return next((family for family in ALL if family.code.capitalize() == word), Unavailable)


def _show(board: Board, item: Resource) -> bool:
    board.show(item)
    return is_ready(item)


async def _fresh(store: Store, items: Sequence[Resource]) -> list[Resource]:
    found = []
    for item in items:
        try:
            found.append(await store.get(type(item), item.key))
        except Absent as error:
            told = f"{item.singular}/{item.name} was deleted while we waited for it"
            raise Absent(told, reason=DELETED) from error
    return found


def _reasons(items: Sequence[Resource]) -> str:
    return "; ".join(
        f"{i.singular}/{i.name}: {condition(i, 'Ready').get('message') or 'no status yet'}" for i in items
    )
