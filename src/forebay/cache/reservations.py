"""Room, asked for and granted through files: the handshake of a pull with the agent of its node.

The pull owns its file: it writes `asked`, then progress. The agent answers `granted` or `refused`; a refused
request stays, and is granted once there is room. A pull that gives up leaves `failed` with the reason, for
the status. The lock beside the file is held for as long as the pull lives, so a killed pull holds no room.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from forebay.cache.layout import record_id
from forebay.cache.root import Root
from forebay.errors import Exhausted, Unavailable
from forebay.kit.disk import put, read
from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import built, parsed

State = Literal["asked", "granted", "refused", "failed"]
_LOOK_FIRST_S, _LOOK_MOST_S = 0.01, 0.5
_LOCK_WAIT_S = 3600.0


@dataclass(frozen=True)
class Progress:
    """How far a pull is: bytes, bytes a second, seconds left (None: unknown), who sends, what it does, when
    (1970).
    """

    bytes_done: int = 0
    bytes_total: int | None = None
    rate_bytes_s: float = 0.0
    eta_s: float | None = None
    source: str = ""
    phase: str = ""
    updated: float = 0.0


@dataclass(frozen=True)
class Reservation:
    """One pull's request. `model` is the key of the LocalModelNode's status (name, or namespace/name).

    `bytes_needed` are those still to come when it asked; `asked_at` is seconds since 1970. A failed one tells
    the error's `code` and what came all the same: bytes by origin, files that did not match.
    """

    id: str
    key: str
    model: str
    uri: str = ""
    bytes_needed: int = 0
    state: State = "asked"
    message: str = ""
    pid: int = 0
    revision: str = ""
    endpoint: str = ""
    asked_at: float = 0.0
    progress: Progress = Progress()
    code: str = ""
    sources: dict[str, int] = field(default_factory=dict)
    mismatches: int = 0
    cache_uid: str = ""  # of the cache that it was for


_FIELDS = frozenset(item.name for item in dataclasses.fields(Reservation))
# left out while empty: an older agent refuses them
_LATER = frozenset({"code", "sources", "mismatches", "cache_uid"})


def reservation_id(key: str, model: str) -> str:
    """One for each model of the node's status and each storage key."""
    return record_id(key, model)


def find(root: Root, name: str) -> Reservation | None:
    """The request with this id, or None; an unreadable one counts as none."""
    try:
        raw = parsed(read(root.disk, root.layout.reservations / f"{name}.json"))
        known = {name: value for name, value in raw.items() if name in _FIELDS}  # a newer pull may say more
        return built(Reservation, {**known, "progress": built(Progress, raw["progress"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def find_all(root: Root) -> list[Reservation]:
    """Every request, of dead pulls too."""
    names = [n for n in root.disk.list(root.layout.reservations) if n.endswith(".json") and n[0] != "."]
    found = [find(root, name.removesuffix(".json")) for name in names]
    return [reservation for reservation in found if reservation is not None]


def is_alive(root: Root, reservation: Reservation) -> bool:
    """Whether the pull behind a request still runs."""
    return root.disk.held(_lock(root, reservation.id))


def outstanding(root: Root, reservation: Reservation) -> int:
    """Bytes that a granted pull may still write."""
    if reservation.state != "granted" or not is_alive(root, reservation):
        return 0
    progress = reservation.progress
    if progress.bytes_total is None:
        return reservation.bytes_needed
    return min(reservation.bytes_needed, max(0, progress.bytes_total - progress.bytes_done))


def answer(root: Root, name: str, state: State, message: str = "") -> None:
    """The agent's word; only a request that waits for one is changed."""
    with root.locked():
        now = find(root, name)
        if (
            now is None
            or now.state not in ("asked", "refused")
            or (now.state, now.message) == (state, message)
        ):
            return
        _write(root, dataclasses.replace(now, state=state, message=message))


def forget(root: Root, name: str) -> None:
    """Remove a dead pull's request."""
    with root.locked():
        if root.disk.held(_lock(root, name)):
            return
        for path in (root.layout.reservations / f"{name}.json", _lock(root, name)):
            if root.disk.info(path) is not None:
                root.disk.unlink(path)


class Asker:
    """The pull's side of one request."""

    def __init__(self, root: Root, reservation: Reservation) -> None:
        self._root = root
        self._now = dataclasses.replace(reservation, pid=os.getpid(), asked_at=root.now())

    def ask(self, bytes_needed: int, revision: str, endpoint: str, *, wait_s: float) -> None:
        """Ask for room and wait for it. Raises Exhausted (refused until the end), Unavailable (no agent
        answered).
        """
        self._save(bytes_needed=bytes_needed, revision=revision, endpoint=endpoint, state="asked", message="")
        failpoint("cache.reservation.asked")
        deadline, look = time.monotonic() + wait_s, _LOOK_FIRST_S
        while time.monotonic() < deadline:
            found = find(self._root, self._now.id)
            if found is not None:
                self._now = found
            if self._now.state == "granted":
                return
            time.sleep(look)
            look = min(_LOOK_MOST_S, look * 1.3)
        if self._now.state == "refused":
            raise Exhausted(self._now.message)
        raise Unavailable(
            f"no node agent granted room within {wait_s:g} s; see that the agent of this group runs"
        )

    def progress(self, progress: Progress) -> None:
        """Tell how far it is; cheap, not durable."""
        if self._now.state == "granted":
            self._save(progress=progress)

    def fail(self, message: str, *, code: str, sources: Mapping[str, int], mismatches: int) -> None:
        """Leave the reason for the status, and the figures for the agent's metrics."""
        self._save(state="failed", message=message, code=code, sources=dict(sources), mismatches=mismatches)

    def release(self) -> None:
        """The work is done: take the request away."""
        path = self._root.layout.reservations / f"{self._now.id}.json"
        with self._root.locked():
            if self._root.disk.info(path) is not None:
                self._root.disk.unlink(path)

    def _save(self, **changes: Any) -> None:
        self._now = dataclasses.replace(self._now, **changes)
        _write(self._root, self._now)


@contextmanager
def asking(root: Root, *, key: str, model: str, uri: str, cache_uid: str = "") -> Iterator[Asker]:
    """Hold the lock that says this pull lives; a second pull for the same model waits here."""
    reservation = Reservation(reservation_id(key, model), key, model, uri, cache_uid=cache_uid)
    with root.disk.lock(_lock(root, reservation.id), _LOCK_WAIT_S):
        yield Asker(root, reservation)


def _lock(root: Root, name: str) -> Path:
    return root.layout.reservations / f"{name}.lock"


def _write(root: Root, reservation: Reservation) -> None:
    raw = dataclasses.asdict(reservation)
    said = {name: value for name, value in raw.items() if value or name not in _LATER}
    body = json.dumps(said).encode()
    put(root.disk, root.layout.reservations / f"{reservation.id}.json", body, durable=False)
