"""What follows from an object's owners and its deletion (Kubernetes' garbagecollector); pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.api.meta import Json, Resource
from forebay.home.workloads.actions import Action, Delete, Update

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True)
class Seen:
    """An object, its owners by uid as they are now (without the absent ones), and those it owns.

    `unknown` are uids of owners whose kind is not served: nothing can be said of them.
    """

    item: Resource
    owners: Mapping[str, Resource]
    dependents: tuple[Resource, ...]
    unknown: frozenset[str] = frozenset()


def decide(seen: Seen) -> tuple[Action, ...]:
    """Delete what lost its last owner; finish deletions that wait for dependents."""
    item = seen.item
    if ORPHAN in item.finalizers and item.deleting:
        return (*(_freed(child, item) for child in seen.dependents), _without(item, ORPHAN))
    if FOREGROUND in item.finalizers and item.deleting:
        return _foreground(seen)
    if item.deleting:
        return ()
    return _owned(seen)


def _foreground(seen: Seen) -> tuple[Action, ...]:
    """The owner waits for those that block it; each of them decides by all its owners whether it goes."""
    if any(_blocks(child, seen.item) for child in seen.dependents):
        return ()
    return (_without(seen.item, FOREGROUND),)


def _blocks(child: Resource, owner: Resource) -> bool:
    return any(o.get("uid") == owner.uid and o.get("blockOwnerDeletion") for o in child.owners)


def _owned(seen: Seen) -> tuple[Action, ...]:
    """With a solid owner left, dangling references are dropped; with none, the object goes."""
    if not seen.item.owners:
        return ()
    gone = [
        o for o in seen.item.owners if o.get("uid") not in seen.owners and o.get("uid") not in seen.unknown
    ]
    waiting = [o for o in seen.item.owners if _waits(seen.owners.get(str(o.get("uid"))))]
    solid = [o for o in seen.item.owners if o not in gone and o not in waiting]
    if solid:
        return (_with_owners(seen.item, solid),) if gone or waiting else ()
    if waiting:
        return (Delete(seen.item, propagation="Foreground"),)
    return (Delete(seen.item),)


def _waits(owner: Resource | None) -> bool:
    return owner is not None and owner.deleting and FOREGROUND in owner.finalizers


def _freed(child: Resource, owner: Resource) -> Update:
    return _with_owners(child, [o for o in child.owners if o.get("uid") != owner.uid])


def _with_owners(item: Resource, owners: list[Json]) -> Update:
    new = item.copy()
    new.meta["ownerReferences"] = owners
    return Update(new)


def _without(item: Resource, finalizer: str) -> Update:
    new = item.copy()
    new.meta["finalizers"] = [name for name in item.finalizers if name != finalizer]
    return Update(new)
