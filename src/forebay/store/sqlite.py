"""The embedded home's store: objects in memory as JSON text, every confirmed write in one SQLite file."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from forebay.api.kinds import Pod
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent, Clash, ForebayError, Invalid
from forebay.kit.clock import Clock, SystemClock, rfc3339
from forebay.store import objects
from forebay.store.database import Change, Database
from forebay.store.history import History
from forebay.store.protocol import EVERYWHERE, Event, Page, T, Where
from forebay.store.where import wanted

BATCH_MAX = 64


class Rules(Protocol):
    """Defaults, pruning and validation, the same in both homes (promise S6)."""

    def prepare(self, kind: type[Resource], new: Json, old: Json | None, verb: str) -> Json:
        """The form to store. `verb` is create, update, status or delete. Raises Invalid, Denied."""


Compute = Callable[["_Batch"], Json]


class _Batch:
    """Objects as they will be after the writes of one transaction."""

    def __init__(self, store: SqliteStore, revision: int) -> None:
        self._store = store
        self.revision = revision
        self.changes: list[Change] = []
        self._new: dict[tuple[str, str, Key], str | None] = {}

    def find(self, kind: type[Resource], key: Key) -> str | None:
        place = (kind.group, kind.plural, key)
        return self._new[place] if place in self._new else self._store.committed(kind).get(key)

    def texts(self, kind: type[Resource]) -> dict[Key, str]:
        """All objects of a kind as they will be after this transaction so far."""
        here = {
            k: text
            for (group, plural, k), text in self._new.items()
            if (group, plural) == (kind.group, kind.plural)
        }
        merged = {**self._store.committed(kind), **here}
        return {key: text for key, text in merged.items() if text is not None}

    def put(self, kind: type[Resource], raw: Json, verb: str, previous: str) -> Json:
        self.revision += 1
        raw["metadata"]["resourceVersion"] = str(self.revision)
        key = Key(raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
        body = json.dumps(raw, separators=(",", ":"))
        self.changes.append(Change(self.revision, kind.group, kind.plural, *key, verb, body, previous))
        self._new[kind.group, kind.plural, key] = None if verb == "DELETED" else body
        return raw


class SqliteStore:
    """Seven verbs over one file (store/protocol.py), and what the API server needs besides.

    One task owns all writes: it takes what waits (at most 64), computes it, commits it in one transaction,
    and only then answers. Reads see committed objects only.
    """

    def __init__(self, path: Path, rules: Rules, *, clock: Clock | None = None) -> None:
        self._database = Database(path)
        self._rules = rules
        self._clock = clock or SystemClock()
        self._objects: dict[tuple[str, str], dict[Key, str]] = {}
        self._waiting: asyncio.Queue[tuple[Compute, asyncio.Future[Json]]] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._history = History([], 0)
        self._batch: _Batch | None = None  # set while writes are computed, which never waits for anything

    async def open(self) -> None:
        """Load the file and start the writer. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        current, log, revision = await loop.run_in_executor(self._database.thread, self._database.open)
        for group, plural, namespace, name, body in current:
            self._objects.setdefault((group, plural), {})[Key(namespace, name)] = body
        self._history = History(log, revision)
        self._writer = asyncio.create_task(self._write_all(), name="store writer")

    async def close(self) -> None:
        """Finish the write under way and close the file."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._database.thread, self._database.close)
        self._database.thread.shutdown()

    def revision(self) -> str:
        """The newest revision."""
        return str(self._history.revision)

    def committed(self, kind: type[Resource]) -> Mapping[Key, str]:
        """The JSON of all objects of a kind, as committed."""
        return self._objects.get((kind.group, kind.plural), {})

    def text(self, kind: type[Resource], key: Key) -> str | None:
        """The object's JSON, or None; admission sees what the transaction under way has written."""
        return self._batch.find(kind, key) if self._batch else self.committed(kind).get(key)

    def texts(self, kind: type[Resource]) -> Mapping[Key, str]:
        """The JSON of all objects of a kind; for admission as text()."""
        return self._batch.texts(kind) if self._batch else self.committed(kind)

    async def get(self, kind: type[T], key: Key) -> T:
        text = self.text(kind, key)
        if text is None:
            raise _absent(kind, key)
        return kind(_in_version(kind, json.loads(text)))

    async def list(
        self, kind: type[T], where: Where = EVERYWHERE, *, limit: int = 0, after: str = "", at: str = ""
    ) -> Page[T]:
        """As in the protocol; at most `limit` items, continuing behind the token `after`; as it was at
        revision `at`. All pages of one list show the same moment. Raises Clash when that is forgotten.
        """
        revision, start = (at or self.revision(), None) if not after else _read_token(after)
        texts = self._history.rewound(kind, self.committed(kind), int(revision))
        keys = sorted(
            key
            for key in texts
            if (start is None or key > start) and (not where.namespace or key.namespace == where.namespace)
        )
        items: list[T] = []
        for number, key in enumerate(keys):
            raw = json.loads(texts[key])
            if not wanted(where, raw):
                continue
            if limit and len(items) == limit:
                return Page(tuple(items), revision, _token(revision, items[-1].key), len(keys) - number)
            items.append(kind(_in_version(kind, raw)))
        return Page(tuple(items), revision)

    async def create(self, item: T, *, dry_run: bool = False) -> T:
        kind = type(item)

        def compute(batch: _Batch) -> Json:
            now = objects.creation_time(kind, self._clock.now())
            raw = objects.new_object(kind, item.raw, uid=str(uuid.uuid4()), now=now)
            raw = self._rules.prepare(kind, raw, None, "create")
            key = Key(raw["metadata"].get("namespace", ""), raw["metadata"].get("name", ""))
            if not key.name:
                told = "name or generateName is required"
                raise Invalid(
                    told, causes=(("metadata.name", "FieldValueRequired", f"Required value: {told}"),)
                )
            there = batch.find(kind, key)
            if there is not None:
                dying = json.loads(there)["metadata"].get("deletionTimestamp")
                told = "object is being deleted: " if dying else ""
                raise Clash(
                    f'{told}{objects.qualified(kind)} "{key.name}" already exists', reason="AlreadyExists"
                )
            return raw if dry_run else batch.put(kind, raw, "ADDED", "")

        return kind(await self._write(compute))

    async def update(self, item: T, *, dry_run: bool = False) -> T:
        kind, key = type(item), item.key

        def compute(batch: _Batch) -> Json:
            text, old = self._old(batch, kind, key)
            new = objects.updated_object(kind, item.raw, old)
            new = self._rules.prepare(kind, new, old, "update")
            if new == old:
                return old
            new = objects.bumped(kind, new, old)
            if dry_run:
                return new
            if new["metadata"].get("deletionTimestamp") and not objects.holds(kind, new):
                return batch.put(kind, new, "DELETED", text)
            return batch.put(kind, new, "MODIFIED", text)

        return kind(await self._write(compute))

    async def update_status(self, item: T, *, dry_run: bool = False) -> T:
        kind, key = type(item), item.key

        def compute(batch: _Batch) -> Json:
            text, old = self._old(batch, kind, key)
            objects.check_preconditions(kind, item.meta, old["metadata"])
            new = self._rules.prepare(kind, objects.with_status(item.raw, old), old, "status")
            return new if new == old or dry_run else batch.put(kind, new, "MODIFIED", text)

        return kind(await self._write(compute))

    async def delete(self, kind: type[T], key: Key, *, uid: str | None = None,
                     propagation: str = "Background", grace_s: int | None = None, dry_run: bool = False,
                     revision: str = "") -> T:  # fmt: skip
        """As in the protocol; returns the object as last stored, also when it is gone now."""
        now = rfc3339(self._clock.now())

        def compute(batch: _Batch) -> Json:
            text, old = self._old(batch, kind, key)
            objects.check_preconditions(kind, {"uid": uid, "resourceVersion": revision}, old["metadata"])
            self._rules.prepare(kind, old, old, "delete")
            new = objects.marked_for_deletion(kind, old, propagation=propagation, grace_s=grace_s, now=now)
            stays = objects.holds(kind, new)
            if dry_run or (stays and new == old):
                return new
            if stays:
                return batch.put(kind, new, "MODIFIED", text)
            # watchers of pods expect both steps
            if kind is Pod and not old["metadata"].get("deletionTimestamp"):
                batch.put(kind, new, "MODIFIED", text)
            return batch.put(kind, new, "DELETED", text)

        return kind(await self._write(compute))

    def watch(self, kind: type[T], where: Where = EVERYWHERE, *, since: str,
              bookmarks_s: float = 60.0) -> AsyncIterator[Event[T]]:  # fmt: skip
        return self._history.watch(kind, where, int(since), bookmarks_s)

    def _old(self, batch: _Batch, kind: type[Resource], key: Key) -> tuple[str, Json]:
        text = batch.find(kind, key)
        if text is None:
            raise _absent(kind, key)
        return text, json.loads(text)

    async def _write(self, compute: Compute) -> Json:
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((compute, answer))
        return await answer

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = [await self._waiting.get()]
            while not self._waiting.empty() and len(asked) < BATCH_MAX:
                asked.append(self._waiting.get_nowait())
            batch = self._batch = _Batch(self, self._history.revision)
            done = [(answer, _outcome(compute, batch)) for compute, answer in asked]
            self._batch = None
            failed: ForebayError | None = None
            if batch.changes:
                try:
                    write = partial(self._database.write, batch.changes, self._history.forgotten)
                    work = loop.run_in_executor(self._database.thread, write)
                    work.add_done_callback(_heard)  # closing leaves nobody to hear how it ended
                    await asyncio.shield(work)
                except ForebayError as error:
                    failed = error
                else:
                    self._publish(batch.changes)
            for answer, outcome in done:
                if not answer.done():
                    _settle(
                        answer,
                        failed if failed is not None and not isinstance(outcome, Exception) else outcome,
                    )

    def _publish(self, changes: Sequence[Change]) -> None:
        for c in changes:
            place = self._objects.setdefault((c.group, c.plural), {})
            if c.verb == "DELETED":
                place.pop(Key(c.namespace, c.name), None)
            else:
                place[Key(c.namespace, c.name)] = c.body
        self._history.append(changes)


def _outcome(compute: Compute, batch: _Batch) -> Json | Exception:
    mark, revision, new = len(batch.changes), batch.revision, dict(batch._new)
    try:
        return compute(batch)
    except Exception as error:  # noqa: BLE001 - handed to the caller that asked, whatever it is
        del batch.changes[mark:]
        batch.revision, batch._new = revision, new
        return error


def _settle(answer: asyncio.Future[Json], outcome: Json | Exception) -> None:
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _heard(work: asyncio.Future[None]) -> None:
    if not work.cancelled():
        work.exception()


def _absent(kind: type[Resource], key: Key) -> Absent:
    return Absent(f'{objects.qualified(kind)} "{key.name}" not found', reason="NotFound")


def _in_version(kind: type[Resource], raw: Json) -> Json:
    """The stored object under the version it is asked for (a custom kind may serve several)."""
    raw["apiVersion"] = kind.api_version
    return raw


def _token(revision: str, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *key]).encode()).decode()


def _read_token(token: str) -> tuple[str, Key]:
    try:
        data: Any = json.loads(base64.urlsafe_b64decode(token))
        return str(data[0]), Key(str(data[1]), str(data[2]))
    except (ValueError, IndexError, TypeError) as error:
        raise Invalid("the provided continue parameter is not valid", reason="BadRequest") from error
