"""How many pods each ReplicaSet of a Deployment should have next; pure arithmetic over counts.

The steps are those of Kubernetes' rolling update: up to `maxSurge` above, never fewer than promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """One set: pods asked for and pods available. `old` are given from the oldest to the youngest."""

    size: int
    available: int

    @property
    def answering(self) -> int:
        """Available pods that will stay: what was already asked to go is not counted."""
        return min(self.size, self.available)


@dataclass(frozen=True)
class Limits:
    """Pods wanted, and how far a rollout may go above and below."""

    wanted: int
    surge: int
    unavailable: int

    @property
    def least(self) -> int:
        """The promise: this many stay available."""
        return max(0, self.wanted - self.unavailable)


def rolling(new: Count, old: Sequence[Count], limits: Limits) -> tuple[int, list[int]]:
    """Next sizes of the new and of the old sets. One side moves at a time, as in Kubernetes."""
    grown = next_new(new, old, limits)
    if grown != new.size:
        return grown, [count.size for count in old]
    return grown, _next_old(new, old, limits)


def next_new(new: Count, old: Sequence[Count], limits: Limits) -> int:
    """Size of the new set: down to what is wanted, or up as far as the surge allows."""
    if new.size >= limits.wanted:
        return limits.wanted
    room = limits.wanted + limits.surge - new.size - sum(count.size for count in old)
    return new.size + max(0, min(room, limits.wanted - new.size))


def _next_old(new: Count, old: Sequence[Count], limits: Limits) -> list[int]:
    sizes = [count.size for count in old]
    not_yet = new.size - new.answering
    spare = new.size + sum(sizes) - limits.least - not_yet
    for at, count in enumerate(old):  # first those that answer nobody
        gone = max(0, min(spare, count.size - count.answering))
        sizes[at] -= gone
        spare -= gone
    spare = new.answering + sum(count.answering for count in old) - limits.least
    for at in range(len(old)):
        gone = max(0, min(spare, sizes[at]))
        sizes[at] -= gone
        spare -= gone
    return sizes


def proportional(sizes: Sequence[int], wanted: int) -> list[int]:
    """Sizes scaled so that they sum to `wanted`, in the same proportions; the largest takes the rest."""
    total = sum(sizes)
    if total == 0 or not sizes:
        return list(sizes)
    scaled = [size * wanted // total for size in sizes]
    scaled[max(range(len(sizes)), key=lambda at: sizes[at])] += wanted - sum(scaled)
    return scaled
