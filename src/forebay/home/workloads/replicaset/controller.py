"""Reads and writes for ReplicaSets."""

from __future__ import annotations

from forebay.api.kinds import Pod, ReplicaSet
from forebay.api.meta import Key
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.replicaset.decide import Seen, decide
from forebay.home.workloads.wakes import Known, controller_of
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class ReplicaSetController:
    """Keeps the pods of each ReplicaSet."""

    name = "replicaset-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock, self._known = store, clock, Known()
        self.watches: tuple[Watch, ...] = (Watch(ReplicaSet), Watch(Pod, wakes=self._wakes))

    def _wakes(self, pod: Pod) -> tuple[Key, ...]:
        if pod.controller_uid():
            return controller_of(pod, ReplicaSet)
        return self._known.in_namespace(pod.namespace)

    async def reconcile(self, key: Key) -> float | None:
        try:
            owner = await self._store.get(ReplicaSet, key)
        except Absent:
            self._known.forget(key)
            return None
        self._known.remember(key)
        pods = await self._store.list(Pod, Where(namespace=key.namespace))
        decision = decide(Seen(owner, pods.items, self._clock.now()))
        await carry_out(self._store, decision.actions, component=self.name, clock=self._clock)
        return decision.look_again_s
