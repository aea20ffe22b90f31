"""Who is asked for a file, and who is to blame when it is not what was promised.

A file from one sender accuses him. A file from several is kept aside as evidence and fetched again from one
of them; when that copy is good, the two are compared and only those whose bytes differ are named. No lock
here: the board's holds, except for `differing`, which reads files and touches nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from forebay.pull.parts import disk_errors
from forebay.pull.plan import Ranges
from forebay.pull.state import Origin, Transfer

_STEP = 1 << 20
LEFT_MAX = 4  # files that a peer fails before nothing more is asked of it


@dataclass
class Origins:
    """The origins of a pull in the order in which they are asked; `distrusted` have sent bad bytes."""

    all: tuple[Origin, ...]
    notes: list[str]
    distrusted: dict[int, str] = field(default_factory=dict)
    failures: int = 0  # files that did not match
    welcoming: set[int] = field(default_factory=set)  # indexes of those that have handed out something
    clock: Callable[[], float] = time.monotonic
    _resting: dict[int, float] = field(default_factory=dict)  # origin index: until when others are asked

    _left: dict[int, int] = field(default_factory=dict)  # origin index: files for which it is avoided

    def is_last(self, origin: Origin) -> bool:
        """Whether this is the source itself, which has no stand-in."""
        return origin is self.all[-1]

    def rest(self, origin: Origin, seconds: float, why: str = "") -> bool:
        """Ask others for a while. False for the source itself."""
        if self.is_last(origin):
            return False
        if why and origin.index not in self._resting:
            self.notes.append(f"{origin.name}: {why}; others are asked meanwhile")
        self._resting[origin.index] = self.clock() + seconds
        return True

    def back(self, origin: Origin) -> None:
        """It may be asked again."""
        self._resting.pop(origin.index, None)

    def first(self) -> Origin:
        """Who is asked first now, as far as no file has had trouble with it."""
        return next((o for o in self.all if self._is_awake(o)), self.all[-1])

    def _is_awake(self, origin: Origin) -> bool:
        return origin.index not in self.distrusted and self._resting.get(origin.index, 0.0) <= self.clock()

    def of(self, transfer: Transfer) -> Origin | None:
        """Who is asked for this file now: the first that has not failed it, distrusted ones last."""
        left = [o for o in self.all if o.index not in transfer.avoid]
        if transfer.only is not None:
            left = [o for o in left if o.index == transfer.only] or left
        trusted = [o for o in left if o.index not in self.distrusted] or left
        return next((o for o in trusted if self._is_awake(o)), trusted[0] if trusted else None)

    def avoid(self, transfer: Transfer, origin: Origin, why: str) -> bool:
        """Ask this origin no more for this file. False if nobody else is left (then it stays)."""
        if origin.index in transfer.avoid:
            return True
        if not any(o.index not in transfer.avoid and o is not origin for o in self.all):
            return False
        transfer.avoid[origin.index] = why
        transfer.single = False
        if transfer.only == origin.index:
            transfer.only = None
        self._left[origin.index] = self._left.get(origin.index, 0) + 1
        if self._left[origin.index] <= LEFT_MAX:
            self.notes.append(f"{origin.name} is avoided for {transfer.file.path}: {why}")
        if self._left[origin.index] == LEFT_MAX and not self.is_last(origin):
            self.notes.append(f"{origin.name} is avoided for all that is left")
            self._resting[origin.index] = float("inf")
        return True

    def accuse(self, transfer: Transfer, aside: Path) -> bool:
        """The file does not match and its bytes are `aside`. True if another try may end better."""
        self.failures += 1
        senders = [o for o in self.all if o.name in transfer.senders]
        if transfer.resumed or len(transfer.senders) > 1:
            if transfer.evidence is None:
                transfer.evidence = (aside, dict(transfer.sent))
            left = [o for o in self.all if o.index not in transfer.avoid and o.index not in self.distrusted]
            transfer.only = left[-1].index if left else None  # the source itself comes last
            return True
        return bool(senders) and self._condemn(transfer, senders[0])

    def _condemn(self, transfer: Transfer, origin: Origin) -> bool:
        why = "it sent bytes that do not match the digest"
        self.distrusted.setdefault(origin.index, why)
        return self.avoid(transfer, origin, why)

    def name(self, transfer: Transfer, guilty: Iterable[tuple[str, int, int]]) -> None:
        """The good copy and the evidence were compared: `guilty` are names with the range that differed."""
        bad = {name: f"bytes {start} to {end}" for name, start, end in guilty}
        for origin in self.all:
            if origin.name in bad:
                where = f"{bad[origin.name]} of {transfer.file.path}"
                self.distrusted.setdefault(origin.index, "it sent bytes that do not match the digest")
                self.notes.append(f"{origin.name} is avoided: what it sent for {where} was wrong")
        if not any(origin.name in bad for origin in self.all):
            self.notes.append(f"{transfer.file.path}: bytes kept from an earlier run were wrong")
        transfer.evidence, transfer.only = None, None


def differing(evidence: tuple[Path, dict[str, Ranges]], good: Path) -> list[tuple[str, int, int]]:
    """Who sent bytes that differ from the good copy, with the first range of each. Raises our disk errors."""
    aside, sent = evidence
    out = []
    with disk_errors(f"compare {aside}"), open(aside, "rb") as left, open(good, "rb") as right:
        for name, ranges in sorted(sent.items()):
            for at, end in _steps(ranges):
                left.seek(at)
                right.seek(at)
                if left.read(end - at) != right.read(end - at):
                    out.append((name, at, end))
                    break
    return out


def _steps(ranges: Ranges) -> Iterable[tuple[int, int]]:
    for start, end in ranges:
        for at in range(start, end, _STEP):
            yield at, min(end, at + _STEP)
