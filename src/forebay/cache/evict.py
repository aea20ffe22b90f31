"""Who makes room: pure decisions over a snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """One model on the node. `blobs` maps digests to bytes; the flags say why it has to stay."""

    key: str
    blobs: Mapping[str, int]
    last_used: float
    pinned: bool = False
    in_use: bool = False
    reserved: bool = False
    wanted: bool = True  # some cache still names it; what nobody names goes first

    @property
    def may_go(self) -> bool:
        return not (self.pinned or self.in_use or self.reserved)


@dataclass(frozen=True)
class Space:
    """Bytes. `limit` is the group's storageLimit (None: none), `used` all of blobs and parts, `free` what the
    file system has left (less what must stay free), `promised` granted to pulls and not yet written.
    """

    limit: int | None
    used: int
    free: int
    promised: int = 0

    @property
    def available(self) -> int:
        """Bytes that may be granted now."""
        below_limit = self.free if self.limit is None else min(self.free, self.limit - self.used)
        return max(0, below_limit - self.promised)


@dataclass(frozen=True)
class Plan:
    """`evict` in order; with a `refusal` nothing is evicted and the request waits."""

    evict: tuple[str, ...] = ()
    collect: bool = False
    refusal: str = ""


@dataclass(frozen=True)
class Request:
    """Room for one model. One that made room for others itself may not push others out (`may_evict`)."""

    model: str
    key: str
    bytes_needed: int
    may_evict: bool = True


class _Freed:
    """What going models give back: a blob counts when the last model that names it goes."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._staying = Counter(digest for model in held for digest in model.blobs)
        self.bytes = 0

    def go(self, model: Held) -> None:
        """One model more."""
        for digest, size in model.blobs.items():
            self._staying[digest] -= 1
            self.bytes += 0 if self._staying[digest] else size

    def stay(self, model: Held) -> None:
        """One that went does not."""
        for digest, size in model.blobs.items():
            self.bytes -= 0 if self._staying[digest] else size
            self._staying[digest] += 1


def plan_room(request: Request, space: Space, held: Iterable[Held], *, loose: int = 0) -> Plan:
    """Least recently used first, never what is pinned, in use or being pulled, and no more than needed.

    `loose` are bytes of blobs that no model names: they go before any model does.
    """
    everyone = list(held)
    models = [model for model in everyone if model.key != request.key]
    short = request.bytes_needed - space.available
    if short <= 0:
        return Plan()
    if short <= loose:
        return Plan(collect=True)
    freed = _Freed(everyone)
    order = sorted((m for m in models if m.may_go), key=lambda m: (m.wanted, m.last_used, m.key))
    if not request.may_evict:
        order = [model for model in order if not model.wanted]
    going: list[Held] = []
    for model in order:
        if loose + freed.bytes >= short:
            break
        going.append(model)
        freed.go(model)
    if loose + freed.bytes < short:
        return Plan(refusal=_refusal(request, space, loose + freed.bytes))
    needed = _no_more_than_needed(going, freed, short - loose)
    return Plan(tuple(model.key for model in needed), collect=loose > 0)


def _no_more_than_needed(going: list[Held], freed: _Freed, short: int) -> list[Held]:
    needed: list[Held] = []
    for model in reversed(going):
        freed.stay(model)
        if freed.bytes < short:
            freed.go(model)
            needed.append(model)
    return needed[::-1]


def _refusal(request: Request, space: Space, collectable: int) -> str:
    ways = ["delete or unpin a cache", "stop what uses one"]
    if (
        space.limit is not None
        and space.limit - space.used - space.promised + collectable < request.bytes_needed
    ):
        ways.append(f"raise the group's storageLimit of {human(space.limit)}")
    if space.free - space.promised + collectable < request.bytes_needed:
        ways.append("make room on the node's disk")
    return (
        f"no room for {request.model} (needs {human(request.bytes_needed)}, free {human(space.available)}, "
        f"could be collected {human(collectable)}); {', '.join(ways[:-1])}, or {ways[-1]}"
    )


def human(size: int) -> str:
    """Bytes for people: 1536 is "1.5 KiB"."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
