"""Carries out what a decision asked for, and writes its status."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api.meta import Json, Key, Resource
from forebay.control.actions import Action, Create, Delete, Note, Replace
from forebay.errors import Absent, Clash
from forebay.kit.clock import Clock
from forebay.store.events import record
from forebay.store.protocol import Store, edit_status


async def carry_out(store: Store, about: Resource, actions: Iterable[Action], *, clock: Clock) -> None:
    """Do the actions in order; stops at the first error. Raises Clash when something was read too early."""
    for action in actions:
        match action:
            case Create(item):
                await _create(store, item)
            case Replace(item):
                await store.update(item)
            case Delete(kind, key, uid):
                await _delete(store, kind, key, uid)
            case Note(reason, message, warning):
                type_ = "Warning" if warning else "Normal"
                await record(
                    store, about, type_, reason, message, component="forebay-control", now=clock.now()
                )


async def report(store: Store, about: Resource, status: Json | None) -> None:
    """Write the status, once, and only if it differs. None leaves it; a vanished object is no error."""
    if status is None or status == about.status:
        return

    def change(item: Resource) -> None:
        item.raw["status"] = status

    try:
        await edit_status(store, type(about), about.key, change)
    except Absent:
        return


async def _create(store: Store, item: Resource) -> None:
    try:
        await store.create(item)
    except Clash:
        return


async def _delete(store: Store, kind: type[Resource], key: Key, uid: str) -> None:
    try:
        await store.delete(kind, key, uid=uid)
    except (Absent, Clash):  # gone, or another object of that name by now
        return
