"""Events live for an hour; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay.api.kinds import Event
from forebay.home.workloads.actions import Delete
from forebay.kit.clock import parse_rfc3339

EVENT_TTL = timedelta(hours=1)


def decide(events: Sequence[Event], now: datetime) -> tuple[Delete, ...]:
    """Delete what was last seen more than an hour ago."""
    return tuple(Delete(event) for event in events if _last(event) + EVENT_TTL <= now)


def _last(event: Event) -> datetime:
    """The newest of the times that an event may carry."""
    series = event.raw.get("series") or {}
    texts = [
        series.get("lastObservedTime"), event.raw.get("lastTimestamp"), event.raw.get("eventTime"),
        event.meta.get("creationTimestamp"),
    ]  # fmt: skip
    return max(parse_rfc3339(str(text)) for text in texts if text)
