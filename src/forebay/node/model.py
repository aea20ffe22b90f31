"""What decide() may look at: what the API said and what lies on the disk, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from forebay.cache.evict import Space
from forebay.cache.reservations import Reservation

JobPhase = Literal["active", "failed", "succeeded"]


@dataclass(frozen=True)
class Entry:
    """One model that this node shall hold. `model`: its key in the node's status, name or namespace/name.

    `verify` and `warm` are the times of the last requests, as given ("" for none).
    """

    model: str
    uri: str
    key: str
    uid: str = ""  # of the cache
    pinned: bool = False
    verify: str = ""
    warm: str = ""


@dataclass(frozen=True)
class JobView:
    """The newest download Job of an entry. `foreign`: its program writes into the staging folder."""

    phase: JobPhase
    message: str = ""
    foreign: bool = False


@dataclass(frozen=True)
class Copy:
    """One whole model on the disk. `phases` are seconds, `sources` bytes by origin. The times of requests are
    those answered; `verified`, `warmed` and `created` are seconds since 1970, `resident` a share of 1.
    """

    key: str
    revision: str
    size: int
    blobs: Mapping[str, int]
    last_used: float
    pinned: bool = False
    phases: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    created: float = 0.0
    verified: float = 0.0
    verified_for: str = ""
    warmed: float = 0.0
    warmed_for: str = ""
    resident: float | None = None
    refreshed_for: str = ""
    suffixes: tuple[str, ...] = ()  # of its files, in lower case; empty where there are too many kinds


@dataclass(frozen=True)
class Collected:
    """The answer to the last request to collect: its time as given, bytes freed, models that went, when."""

    requested: str = ""
    freed: int = 0
    models: int = 0
    at: float = 0.0


@dataclass(frozen=True)
class Ask:
    """A pull's reservation, and whether the pull lives."""

    said: Reservation
    alive: bool

    def is_for(self, entry: Entry) -> bool:
        """Whether it is about this entry, and not about an earlier cache of the same name."""
        if (self.said.model, self.said.key) != (entry.model, entry.key):
            return False
        return not (self.said.cache_uid and entry.uid) or self.said.cache_uid == entry.uid


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at. Nothing else exists.

    `entries` is None while the node's object is unknown: then nothing is removed. `neighbours` are the
    entries of other groups that keep their models in the same folder: theirs to publish and report, ours to
    leave alone. `entitled` and `withdrawn` are (model, key) pairs. `used` maps storage keys to the pods that
    use them; it is complete only if `pods_known`. `waiting` are the keys that a starting pod wants warm.
    `trouble` is what went wrong with a key at the last try.
    """

    entries: tuple[Entry, ...] | None
    space: Space
    neighbours: tuple[Entry, ...] = ()
    copies: Mapping[str, Copy] = field(default_factory=dict)
    views: frozenset[str] = frozenset()
    asks: tuple[Ask, ...] = ()
    jobs: Mapping[str, JobView] = field(default_factory=dict)
    entitled: frozenset[tuple[str, str]] = frozenset()
    withdrawn: frozenset[tuple[str, str]] = frozenset()
    used: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pods_known: bool = False
    waiting: frozenset[str] = frozenset()
    wanted_by_pods: frozenset[str] = frozenset()
    staged: frozenset[str] = frozenset()
    evicted: Mapping[str, str] = field(default_factory=dict)  # key -> for which model it made room
    complaints: Mapping[str, str] = field(default_factory=dict)
    trouble: Mapping[str, str] = field(default_factory=dict)
    loose: int = 0  # bytes of blobs that no model names
    stale_parts: bool = False
    now: float = 0.0  # seconds since 1970
    foreign_running: bool = False  # some foreign downloader works on this node
    checking: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # key -> bytes hashed, of how many
    warming: frozenset[str] = frozenset()  # keys
    damaged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # key -> files of the last check
    sweep: str = ""  # the last request to collect
    collected: Collected = Collected()
    paused: bool = False  # no check goes on
