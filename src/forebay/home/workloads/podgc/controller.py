"""Reads and writes for the removal of forgotten pods."""

from __future__ import annotations

from datetime import datetime

from forebay.api.kinds import Node, Pod
from forebay.api.meta import Key
from forebay.home.workloads.actions import carry_out_each
from forebay.home.workloads.podgc.decide import Seen, decide
from forebay.home.workloads.wakes import everything
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store

LOOK_S = 20.0


class PodCollector:
    """Looks every 20 s, as Kubernetes' pod collector does."""

    name = "pod-garbage-collector"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._missing_since: dict[str, datetime] = {}
        self.watches: tuple[Watch, ...] = (Watch(Node, wakes=everything),)

    async def reconcile(self, key: Key) -> float | None:
        nodes = frozenset(node.name for node in (await self._store.list(Node)).items)
        pods = (await self._store.list(Pod)).items
        now = self._clock.now()
        named = {str(pod.spec["nodeName"]) for pod in pods if pod.spec.get("nodeName")} - nodes
        self._missing_since = {node: self._missing_since.get(node, now) for node in named}
        actions = decide(Seen(pods, nodes, self._missing_since, now))
        await carry_out_each(self._store, actions, component=self.name, clock=self._clock)
        return LOOK_S
