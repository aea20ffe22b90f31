"""The newest changes in memory, and watches over them."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence

from forebay.api.meta import Json, Key, Resource
from forebay.errors import Clash
from forebay.store.database import KEEP_LOG_BYTES, KEEP_LOG_ROWS, Change
from forebay.store.protocol import Event, EventType, T, Where
from forebay.store.where import wanted


class _Growth:
    """Wakes the watches of one kind once; `floor` is the last revision before the change that did it."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.floor = 0


class History:
    """An ordered list of changes that only grows at its end and is cut at its start."""

    def __init__(self, changes: list[Change], revision: int) -> None:
        self._changes = changes
        self._revisions = [c.revision for c in changes]
        self._bytes = sum(c.weight for c in changes)
        self.revision = revision
        self._growth: dict[tuple[str, str], _Growth] = {}

    def append(self, changes: Sequence[Change]) -> None:
        """Take committed changes and wake the watches of their kinds."""
        floor = self.revision
        self._changes += changes
        self._revisions += [c.revision for c in changes]
        self.revision = self._revisions[-1]
        self._bytes += sum(c.weight for c in changes)
        if len(self._changes) > 2 * KEEP_LOG_ROWS or self._bytes > 2 * KEEP_LOG_BYTES:
            self._cut(len(changes))
        for place in {(c.group, c.plural) for c in changes}:
            growth = self._growth.pop(place, None)
            if growth is not None:
                growth.floor = floor
                growth.event.set()

    @property
    def forgotten(self) -> int:
        """The newest revision whose change is gone."""
        return self._revisions[0] - 1 if self._revisions else self.revision

    def _cut(self, least: int) -> None:
        """Forget the oldest changes, but none of the `least` newest: nobody has been told of those."""
        kept = bytes_ = 0
        for change in reversed(self._changes[-KEEP_LOG_ROWS:]):
            bytes_ += change.weight
            if kept >= least and bytes_ > KEEP_LOG_BYTES:
                bytes_ -= change.weight
                break
            kept += 1
        del self._changes[:-kept]
        del self._revisions[:-kept]
        self._bytes = bytes_

    def since(self, revision: int) -> list[Change]:
        """Changes after `revision`. Raises Clash when some of them are gone (HTTP 410), or it lies ahead."""
        if revision < self.forgotten:
            raise Clash(f"too old resource version: {revision} ({self.revision})", reason="Expired")
        if revision > self.revision:
            raise Clash(f"Too large resource version: {revision}, current: {self.revision}", reason="Expired")
        return self._changes[bisect_right(self._revisions, revision) :]

    def rewound(self, kind: type[Resource], texts: Mapping[Key, str], revision: int) -> Mapping[Key, str]:
        """All objects of a kind as they were at `revision`, from those of now. Raises Clash as since()."""
        changes = [c for c in self.since(revision) if (c.group, c.plural) == (kind.group, kind.plural)]
        if not changes:
            return texts
        then = dict(texts)
        for change in reversed(changes):
            key = Key(change.namespace, change.name)
            if change.previous:
                then[key] = change.previous
            else:
                then.pop(key, None)
        return then

    async def watch(
        self, kind: type[T], where: Where, since: int, bookmarks_s: float
    ) -> AsyncIterator[Event[T]]:
        """Events of one kind after `since`; a bookmark whenever `bookmarks_s` pass in silence."""
        at, place = since, (kind.group, kind.plural)
        while True:
            growth = self._growth.setdefault(place, _Growth())  # before reading: a change in between wakes us
            for change in self.since(at):
                at = change.revision
                event = as_event(kind, where, change)
                if event is not None:
                    yield event
            while not growth.event.is_set():
                try:
                    async with asyncio.timeout(bookmarks_s):
                        await growth.event.wait()
                except TimeoutError:
                    if not growth.event.is_set():  # else the bookmark would skip what has just come
                        yield Event("BOOKMARK", kind(bookmark(kind, self.revision)))
            at = max(at, growth.floor)  # until then other kinds changed; it may be forgotten


def bookmark(kind: type[Resource], revision: int) -> Json:
    """An object that says nothing but how far the watch has come."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"resourceVersion": str(revision)}}


def as_event(kind: type[T], where: Where, change: Change) -> Event[T] | None:
    """What a watcher with this selector sees of a change: leaving the selection is DELETED, entering is
    ADDED.
    """
    if (change.group, change.plural) != (kind.group, kind.plural):
        return None
    if (where.namespace and change.namespace != where.namespace) or (
        where.name and change.name != where.name
    ):
        return None
    body = json.loads(change.body)
    selects = bool(where.labels or where.fields)
    is_in = wanted(where, body) if selects else True
    verb: EventType = change.verb  # type: ignore[assignment]
    if not selects:
        return Event(verb, kind(body))
    previous = json.loads(change.previous) if change.previous else None
    was_in = previous is not None and wanted(where, previous)
    if verb == "DELETED":
        return Event("DELETED", kind(body)) if was_in else None
    if is_in:
        return Event("MODIFIED" if was_in else "ADDED", kind(body))
    if was_in:
        assert previous is not None
        previous["metadata"]["resourceVersion"] = str(change.revision)
        return Event("DELETED", kind(previous))
    return None
