"""Reads and writes for the scheduler."""

from __future__ import annotations

from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from forebay.api.meta import Key
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import carry_out_each
from forebay.home.workloads.scheduler.decide import SCHEDULER, Seen, decide, pending
from forebay.home.workloads.wakes import ALL, everything
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store


class SchedulerController:
    """Places pods; all pending ones in one pass, since they compete for room."""

    name = SCHEDULER

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.watches: tuple[Watch, ...] = (
            Watch(Pod, wakes=_of_pod),
            Watch(Node, wakes=everything),
            Watch(PersistentVolume, wakes=everything),
            Watch(PersistentVolumeClaim, wakes=everything),
            Watch(StorageClass, wakes=everything),
        )

    async def reconcile(self, key: Key) -> float | None:
        pods = (await self._store.list(Pod)).items
        if not any(pending(pod) for pod in pods):
            return None
        seen = Seen(
            pods,
            (await self._store.list(Node)).items,
            (await self._store.list(PersistentVolume)).items,
            (await self._store.list(PersistentVolumeClaim)).items,
            (await self._store.list(StorageClass)).items,
            self._clock.now(),
        )
        await carry_out_each(self._store, decide(seen), component=self.name, clock=self._clock)
        return None


def _of_pod(pod: Pod) -> tuple[Key, ...]:
    """A pod without a node asks for one; a pod that ends makes room. What runs is of no concern."""
    return (ALL,) if not pod.spec.get("nodeName") or pod.deleting or p.finished(pod) else ()
