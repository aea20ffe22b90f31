"""Asking something of a cached model and waiting for the answer: the wish is an annotation, the answer stands
in a status (see forebay.api.wishes). Ending the wait ends nothing: the agents go on.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import click

from forebay.api import wishes
from forebay.api.kinds import LocalModelNode, LocalModelNodeGroup
from forebay.api.meta import Json, Key, Resource
from forebay.cli.caches import Cached, Copy, find
from forebay.cli.output import is_live, plain, size
from forebay.errors import Absent, Invalid, Unavailable
from forebay.store.protocol import Store, edit

POLL_S = 0.2


def now_text(*earlier: object) -> str:
    """A request's time: RFC 3339 with microseconds, so that two requests of one second differ; later than the
    `earlier` ones, even if the clock was set back since then.
    """
    last = datetime.fromtimestamp(max(map(wishes.moment, earlier), default=0.0), UTC)
    asked = max(datetime.now(UTC), last + timedelta(milliseconds=1))
    return asked.isoformat(timespec="microseconds").replace("+00:00", "Z")


async def annotate(store: Store, kind: type[Resource], key: Key, notes: Mapping[str, str]) -> None:
    """Set annotations; an empty value takes one away. Raises Absent."""

    def change(item: Resource) -> None:
        kept: Json = {**item.annotations, **notes}
        item.meta["annotations"] = {name: value for name, value in kept.items() if value}

    await edit(store, kind, key, change)


def chosen(model: Cached, node: str) -> list[Copy]:
    """The copies that a command is about. Raises Absent, Invalid."""
    if not model.copies:
        raise Invalid(f"no node is to hold {model.name}; see `kubectl describe` of the cache")
    found = [copy for copy in model.copies if node in ("", copy.node)]
    if not found:
        raise Absent(
            f"{model.name} has no copy on node {node}; it is on {', '.join(c.node for c in model.copies)}"
        )
    return found


class Teller:
    """Says what changes, on standard error; on a terminal one line that is written anew."""

    def __init__(self) -> None:
        self._terminal = is_live(sys.stderr)
        self._said = ""

    def say(self, text: str) -> None:
        """The present state, in one line."""
        text = plain(text)
        if text != self._said:
            click.echo(f"\r\x1b[K{text}" if self._terminal else text, err=True, nl=not self._terminal)
            self._said = text

    def end(self) -> None:
        """The line is finished."""
        if self._terminal and self._said:
            click.echo("", err=True)


async def wait(
    store: Store, model: Cached, node: str, is_over: Callable[[Cached, list[Copy]], str], *, timeout_s: float
) -> Cached:
    """Look until `is_over` says "" (anything else is what is waited for). Raises Unavailable, Absent."""
    deadline, teller = time.monotonic() + timeout_s, Teller()
    try:
        while True:
            now = await find(store, model.item.name, model.item.namespace)
            if now.item.uid != model.item.uid:
                raise Absent(f"{model.name} was deleted while we waited for it")
            waits = is_over(now, chosen(now, node))
            if not waits:
                return now
            teller.say(f"{model.name}: {waits}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{model.name} after {timeout_s:g} s: {waits}; the nodes go on with it")
            await asyncio.sleep(POLL_S)
    finally:
        teller.end()


def answered(copy: Copy, what: str, asked: str) -> bool:
    """Whether a node has answered a request of this time or a later one."""
    said = copy.said.get(what) or {}
    return bool(said.get("requested")) and not wishes.is_newer(asked, said.get("requested"))


def checks(asked: str, found: dict[str, set[str]]) -> Callable[[Cached, list[Copy]], str]:
    """Waits for `verify`; damaged files are gathered in `found`, by node, as soon as they are known."""

    def is_over(model: Cached, copies: list[Copy]) -> str:
        waits = []
        for copy in copies:
            said = copy.said.get("verified") or {}
            if not said.get("requested") or answered(copy, "verified", asked):
                found.setdefault(copy.node, set()).update(said.get("damaged") or ())
            if not answered(copy, "verified", asked):
                waits.append(f"{copy.node}: {_checking(copy)}")
        return "; ".join(waits)

    return is_over


def _checking(copy: Copy) -> str:
    if not copy.is_ready:
        return str(copy.said.get("message") or f"is {copy.state}")
    at = copy.said.get("verifying")
    if not at:
        return "waits for its turn"
    return f"hashed {size(at.get('bytesDone', 0))} of {size(at.get('bytesTotal'))}"


def warmings(asked: str) -> Callable[[Cached, list[Copy]], str]:
    """Waits for `warm`."""

    def is_over(model: Cached, copies: list[Copy]) -> str:
        left = [copy for copy in copies if not answered(copy, "warmed", asked)]
        return "; ".join(
            f"{c.node}: {'being read' if c.is_ready else c.said.get('message') or c.state}" for c in left
        )

    return is_over


def refreshes(asked: str) -> Callable[[Cached, list[Copy]], str]:
    """Waits for `refresh`: the name is resolved, and every node that is up holds that revision."""

    def is_over(model: Cached, copies: list[Copy]) -> str:
        said = model.item.status.get("refresh") or {}
        if wishes.is_newer(asked, said.get("requested")) or not said.get("revision"):
            return str(said.get("message") or "what the name means now is asked")
        old = [c for c in copies if c.said.get("revision") != said["revision"] or not c.is_ready]
        return "; ".join(f"{c.node}: {_fetching(c)}" for c in old)

    return is_over


def _fetching(copy: Copy) -> str:
    said = copy.said
    if said.get("bytesTotal") and said.get("bytesDone") is not None and not copy.is_ready:
        return f"{size(said['bytesDone'])} of {size(said['bytesTotal'])}"
    return str(said.get("refused") or said.get("message") or "waits for the new revision")


async def collect(store: Store, node: str, *, timeout_s: float) -> list[Json]:
    """Ask every node (or one) to collect; what each of its groups has freed. Raises Absent, Unavailable."""
    if node:
        await store.get(LocalModelNode, Key("", node))
    nodes = [i for i in (await store.list(LocalModelNode)).items if node in ("", i.name)]
    asked, names = now_text(*(i.annotations.get(wishes.GC) for i in nodes)), [i.name for i in nodes]
    known = {item.name for item in (await store.list(LocalModelNodeGroup)).items}
    for name in names:
        await annotate(store, LocalModelNode, Key("", name), {wishes.GC: asked})
    deadline, answers = time.monotonic() + timeout_s, dict[tuple[str, str], Json]()
    while True:
        waiting = []
        for name in names:
            groups = (await store.get(LocalModelNode, Key("", name))).status.get("groups") or {}
            for group, said in ((g, s) for g, s in groups.items() if g in known):
                answer = said.get("collected") or {}
                if wishes.is_newer(asked, answer.get("requested")):
                    waiting.append(f"{name} ({group})")
                else:
                    answers[name, group] = {"node": name, "group": group, **answer}
        if not waiting:
            return [answers[at] for at in sorted(answers)]
        if time.monotonic() > deadline:
            raise Unavailable(
                f"no answer from the agents of {', '.join(waiting)} after {timeout_s:g} s; do they run?"
            )
        await asyncio.sleep(POLL_S)


async def pause_checks(store: Store, node: str, *, paused: bool) -> list[str]:
    """Hold the checks of one node, or all; or let them go on. The nodes' names. Raises Absent."""
    names = [node] if node else [item.name for item in (await store.list(LocalModelNode)).items]
    for name in names:
        value = "true" if paused else ""
        await annotate(store, LocalModelNode, Key("", name), {wishes.VERIFY_PAUSED: value})
    return names
