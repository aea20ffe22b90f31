"""What a decision asks for, and the one place that carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.meta import Resource
from forebay.errors import Absent, Clash, ForebayError
from forebay.kit.clock import Clock
from forebay.store.events import record
from forebay.store.protocol import Store


@dataclass(frozen=True)
class Create:
    """A new object; that it exists already is success, since names are computed.

    When the store refuses it, `owner` (if given) gets the event FailedCreate, as in Kubernetes.
    """

    item: Resource
    owner: Resource | None = None


@dataclass(frozen=True)
class Update:
    """The object as it should be, at the revision it was seen at."""

    item: Resource


@dataclass(frozen=True)
class Status:
    """The status as it should be; written only if it differs from what was seen."""

    item: Resource


@dataclass(frozen=True)
class Both:
    """Status first, then the rest, of one object; refused if it moved since it was seen."""

    item: Resource


@dataclass(frozen=True)
class Delete:
    """Remove what was seen; gone already is success. `grace_s` 0 removes a pod without its kubelet."""

    item: Resource
    propagation: str = "Background"
    grace_s: int | None = None


@dataclass(frozen=True)
class Note:
    """An event about an object."""

    about: Resource
    type: str
    reason: str
    message: str


Action = Create | Update | Status | Both | Delete | Note


async def carry_out(store: Store, actions: Sequence[Action], *, component: str, clock: Clock) -> None:
    """Do them in order; stops at the first error that is not success in disguise, and raises it."""
    for action in actions:
        await _do(store, action, component=component, clock=clock)


async def carry_out_each(store: Store, actions: Sequence[Action], *, component: str, clock: Clock) -> None:
    """Do them all; one that fails does not stop the others, and the first error is raised at the end.

    For controllers whose one key stands for many objects that have nothing to do with one another. The events
    that follow a failed write would tell of what did not happen; they are left out.
    """
    trouble: ForebayError | None = None
    failed = False
    for action in actions:
        if failed and isinstance(action, Note):
            continue
        try:
            await _do(store, action, component=component, clock=clock)
            failed = False
        except ForebayError as error:
            trouble, failed = trouble or error, True
    if trouble is not None:
        raise trouble


async def _do(store: Store, action: Action, *, component: str, clock: Clock) -> None:
    match action:
        case Create(item, owner):
            try:
                await _create(store, item)
            except ForebayError as error:
                if owner is not None:
                    refusal = Note(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
                    await _do(store, refusal, component=component, clock=clock)
                raise
        case Update(item):
            await store.update(item)
        case Status(item):
            await store.update_status(item)
        case Both(item):
            stored = await store.update_status(item)
            rest = item.copy()
            rest.meta["resourceVersion"] = stored.revision
            await store.update(rest)
        case Delete():
            await _delete(store, action)
        case Note(about, type_, reason, message):
            await record(store, about, type_, reason, message, component=component, now=clock.now())


async def _create(store: Store, item: Resource) -> None:
    try:
        await store.create(item)
    except Clash as error:
        if "being deleted" in error.message:
            raise


async def _delete(store: Store, action: Delete) -> None:
    item = action.item
    try:
        await store.delete(
            type(item), item.key, uid=item.uid, propagation=action.propagation, grace_s=action.grace_s
        )
    except Absent:
        return
    except Clash:
        return  # another object has the name by now


def changed_status(item: Resource, status: dict[str, object], *, shared: bool = False) -> tuple[Status, ...]:
    """A Status action if `status` differs from the item's, otherwise nothing.

    `shared` when others write it too: then the write is refused if the object moved meanwhile.
    Otherwise the writer is alone, and an Update of the same object in the same decision is not in its way.
    """
    if item.raw.get("status") == status:
        return ()
    new = item.copy()
    new.raw["status"] = status
    if not shared:
        new.meta.pop("resourceVersion", None)
    return (Status(new),)
