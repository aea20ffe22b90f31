"""Reads and writes for the end of events."""

from __future__ import annotations

from forebay.api.kinds import Event, Namespace
from forebay.api.meta import Key
from forebay.home.workloads.actions import carry_out_each
from forebay.home.workloads.expiry.decide import decide
from forebay.home.workloads.wakes import everything
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store

LOOK_S = 300.0


class EventExpiry:
    """Looks every five minutes; events themselves do not wake it, there are too many."""

    name = "event-expiry"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.watches: tuple[Watch, ...] = (Watch(Namespace, wakes=everything),)

    async def reconcile(self, key: Key) -> float | None:
        events = (await self._store.list(Event)).items
        actions = decide(events, self._clock.now())
        await carry_out_each(self._store, actions, component=self.name, clock=self._clock)
        return LOOK_S
