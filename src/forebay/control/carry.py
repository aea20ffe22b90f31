"""Carries out what a decision asked for, and writes its status."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api.conditions import holds, merged, no
from forebay.api.meta import Json, Key, Resource
from forebay.control.actions import Action, Create, Delete, Note, Replace
from forebay.errors import Absent, Clash, Denied, Exhausted, ForebayError, Invalid
from forebay.kit.clock import Clock, rfc3339
from forebay.kit.redact import redacted
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


async def carry_out_and_report(
    store: Store, about: Resource, actions: Iterable[Action], status: Json | None, *, clock: Clock
) -> None:
    """Act, then write the status; what the server refuses is told in the Ready condition, and raised."""
    try:
        await carry_out(store, about, actions, clock=clock)
    except (Invalid, Denied, Exhausted) as error:
        await report(store, about, refused(about, status, error, now=rfc3339(clock.now())))
        await record(
            store,
            about,
            "Warning",
            "ObjectRefused",
            error.message,
            component="forebay-control",
            now=clock.now(),
        )
        raise
    await report(store, about, status)


def refused(about: Resource, status: Json | None, error: ForebayError, *, now: str) -> Json:
    """The status with the refusal of a child object as the reason why `about` is not ready (pure)."""
    before = about.status.get("conditions")
    message = f"{error.message}; correct what it comes from, and this goes on by itself"
    told = no("Ready", "ObjectRefused", message)
    conditions = merged(before, [told], now=now, generation=about.generation)
    return {**(status or about.status), "conditions": conditions}


async def report_unreadable(
    store: Store, kind: type[Resource], key: Key, error: Invalid, *, clock: Clock
) -> None:
    """Say in the Ready condition that the settings cannot be read; what is ready stays so."""
    try:
        about = await store.get(kind, key)
    except Absent:
        return
    if holds(about, "Ready"):
        return
    told = [no("Ready", "SettingsInvalid", f"{error.message}; then this goes on by itself")]
    before, now = about.status.get("conditions"), rfc3339(clock.now())
    conditions = merged(before, told, now=now, generation=about.generation)
    await report(store, about, {**about.status, "conditions": conditions})


async def report(store: Store, about: Resource, status: Json | None) -> None:
    """Write the status, once, and only if it differs. None leaves it; a vanished object is no error."""
    status = shown(status)
    if status is None or status == about.status:
        return

    def change(item: Resource) -> None:
        item.raw["status"] = status

    try:
        await edit_status(store, type(about), about.key, change)
    except Absent:
        return


def shown(status: Json | None) -> Json | None:
    """The status without what is secret in the addresses that its conditions quote; pure."""
    if status is None or not status.get("conditions"):
        return status
    told = [
        {**c, "message": redacted(str(c["message"]))} if c.get("message") else c for c in status["conditions"]
    ]
    return {**status, "conditions": told}


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
