"""Carries out what decide() said; thinks nothing. Blocking: runs beside the event loop."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from forebay.cache import adopt, entitled, gc, manifests, reservations, views
from forebay.cache.entitled import Entitlement
from forebay.cache.root import Root, translated
from forebay.errors import Exhausted, ForebayError
from forebay.kit.disk import put, remove_tree
from forebay.kit.disk_errors import is_full
from forebay.kit.failpoints import failpoint
from forebay.kit.redact import redacted
from forebay.node.chores import Chores
from forebay.node.decide import (
    Action,
    Adopt,
    Answer,
    Check,
    Collect,
    Collected,
    DropStaged,
    Entitle,
    Entry,
    ForgetAsk,
    ForgetRecord,
    Publish,
    Remove,
    Sweep,
    Warm,
    Withdraw,
)  # fmt: skip

_FREES = Remove | Collect | Sweep | DropStaged | ForgetAsk | ForgetRecord
_log = logging.getLogger("forebay.node")


class Hands:
    """Changes one root. `trouble` collects what went wrong, by storage key; `chores` takes what is slow;
    `evictions` counts models that had to make room."""

    def __init__(self, root: Root, trouble: dict[str, str], chores: Chores) -> None:
        self._root = root
        self._trouble = trouble
        self._chores = chores
        self._owed: dict[str, str] = {}  # evicted, and for whom: not noted yet
        self.evictions = 0

    def carry_out(self, actions: tuple[Action, ...]) -> bool:
        """Do these in order; False if one of them failed (the next look decides anew). On a full disk what
        frees room does not wait for what needs some."""
        full = False
        for action in actions:
            if full and not isinstance(action, _FREES):
                continue
            try:
                with translated(f"the cache {self._root.layout.root}"):
                    self._do(action)
            except ForebayError as error:
                _log.log(error.level, "%s: %s", type(action).__name__, error.message)
                key = action.entry.key if isinstance(action, Adopt | Entitle) else getattr(action, "key", "")
                if isinstance(action, Publish | Adopt):
                    self._trouble[key] = error.message
                    continue
                if not isinstance(error, Exhausted):
                    return False
                full = True
        return not full

    def _do(self, action: Action) -> None:
        root = self._root
        self._pay()
        match action:
            case Withdraw(model, key):
                entitled.withdraw(root, key, model)
            case ForgetRecord(model, key):
                entitled.forget(root, key, model)
            case Entitle(entry):
                self._entitle(entry)
            case Adopt(entry):
                adopt.adopt(root, key=entry.key, uri=redacted(entry.uri))
                self._trouble.pop(entry.key, None)
            case DropStaged(key):
                remove_tree(root.disk, root.layout.staged(key))
            case Publish(key):
                views.publish(root, key)
                self._trouble.pop(key, None)
                _log.info("published the view of model %s", key)
            case Remove(key, evicted_for):
                self._remove(key, evicted_for)
            case Answer(name, state, message):
                reservations.answer(root, name, state, message)
                failpoint("node.answered")
            case ForgetAsk(name):
                reservations.forget(root, name)
            case Collect(keep):
                freed = gc.collect(root, keep_parts=keep, to_heal=keep)
                _log.info("collected %d bytes", freed)
            case Warm(key, request):
                self._chores.warm(key, request)
            case Check(key, request):
                self._chores.check(key, request)
            case Sweep(request, keys, keep):
                self._sweep(request, keys, keep)

    def _entitle(self, entry: Entry) -> None:
        manifest = manifests.find(self._root, entry.key)
        if manifest is None:
            return  # its adoption failed; the reason is in `trouble`
        now = self._root.now()
        entitled.record(self._root, Entitlement(entry.model, entry.key, manifest.uri, manifest.revision,
                                                manifest.endpoint, now, cache_uid=entry.uid))  # fmt: skip

    def _remove(self, key: str, evicted_for: str) -> None:
        if evicted_for:
            self._owed[key] = evicted_for
            self._note_evicted(key)
        failpoint("node.evicting")
        manifests.remove(self._root, key)
        self.evictions += bool(evicted_for)
        _log.info("removed model %s%s", key, f" to make room for {evicted_for}" if evicted_for else "")

    def _note_evicted(self, key: str) -> None:
        """Note for whom a model makes room; a disk that is too full for that gets it with a later action."""
        body = json.dumps({"for": self._owed[key], "at": self._root.now()}).encode()
        try:
            put(self._root.disk, self._root.layout.evicted / f"{key}.json", body)
        except OSError as error:
            if not is_full(error):
                raise
            return
        del self._owed[key]

    def _pay(self) -> None:
        """Write the notes that had no room; not of models that came again meanwhile."""
        for key in list(self._owed):
            if self._root.disk.info(self._root.layout.manifest(key)) is None:
                self._note_evicted(key)
            else:
                del self._owed[key]

    def _sweep(self, request: str, keys: tuple[str, ...], keep: frozenset[str]) -> None:
        """The answer is written last: a crash before it sweeps again, and counts what is left."""
        before = gc.usage(self._root)
        gone = sum(manifests.remove(self._root, key) for key in keys)
        gc.collect(self._root, keep_parts=keep, to_heal=keep)
        freed = max(0, before - gc.usage(self._root))
        body = asdict(Collected(request, freed, gone, self._root.now()))
        put(self._root.disk, self._root.layout.collected, json.dumps(body).encode())
        _log.info("collected %d bytes, %d models, as was asked", freed, gone)
