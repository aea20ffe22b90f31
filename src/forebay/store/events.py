"""Events for people: what happened to an object, counted instead of repeated."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime

from forebay.api.kinds import Event
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent, Clash, ForebayError
from forebay.kit.clock import rfc3339, rfc3339_micro
from forebay.kit.redact import redacted
from forebay.store.protocol import Store

_LOG = logging.getLogger(__name__)
_MESSAGE_MAX = 1024  # bytes, as kube-apiserver counts them once eventTime is set
_NAME_MAX = 253


async def record(store: Store, about: Resource, type_: str, reason: str, message: str, *, component: str,
                 now: datetime) -> None:  # fmt: skip
    """Note that something happened to `about`; the same thing again raises the count. Never raises.

    `type_` is Normal or Warning. The name is computed from object, reason, message and component, so that a
    repeat meets the first one; `eventTime` is the first one's, to the microsecond. Events of cluster-scoped
    objects go to the namespace default.
    """
    try:
        await _record(store, _event(about, type_, reason, _short(message), component=component, now=now))
    except ForebayError as error:
        _LOG.info("event %s on %s %s was not stored: %s", reason, about.kind, about.key, error.message)


async def _record(store: Store, event: Event) -> None:
    try:
        before = await store.get(Event, event.key)
    except Absent:
        try:
            await store.create(event)
        except Clash:
            await _again(store, event)
        return
    await _count(store, before, event)


async def _again(store: Store, event: Event) -> None:
    """Someone wrote the same event between our look and our write."""
    await _count(store, await store.get(Event, Key(event.namespace, event.name)), event)


async def _count(store: Store, before: Event, event: Event) -> None:
    grown = before.copy()
    grown.raw["count"] = int(before.raw.get("count") or 1) + 1
    grown.raw["lastTimestamp"] = event.raw["lastTimestamp"]
    await store.update(grown)


def _short(message: str) -> str:
    return redacted(message).encode("utf-8", "replace")[:_MESSAGE_MAX].decode("utf-8", "ignore")


def _event(about: Resource, type_: str, reason: str, message: str, *, component: str, now: datetime) -> Event:
    digest = hashlib.sha256("\0".join([about.kind, about.uid, type_, reason, message, component]).encode())
    name = f"{about.name[: _NAME_MAX - 17]}.{digest.hexdigest()[:16]}"
    involved: Json = {
        "apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid,
        "resourceVersion": about.revision,
    }  # fmt: skip
    if about.namespace:
        involved["namespace"] = about.namespace
    return Event.new(
        name, about.namespace or "default",
        involvedObject=involved, reason=reason, message=message, type=type_,
        source={"component": component}, reportingComponent=component, reportingInstance=component,
        action=reason, eventTime=rfc3339_micro(now), firstTimestamp=rfc3339(now), count=1,
        lastTimestamp=rfc3339_micro(now),  # with a fraction, which Kubernetes drops: clients sort by it
    )  # fmt: skip
