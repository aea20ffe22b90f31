"""Reads and writes for volumes and claims."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from forebay.api.meta import Key
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Note, carry_out_each
from forebay.home.workloads.volumes.decide import Seen, claims_of, decide
from forebay.home.workloads.wakes import ALL, everything
from forebay.kit.clock import Clock, rfc3339
from forebay.store.loop import Watch
from forebay.store.protocol import Store


class VolumeController:
    """Binds claims and volumes; all of them at once, since they compete."""

    name = "persistentvolume-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._told: set[tuple[str, str, str]] = set()  # (uid, reason, message) of claims that wait
        self.watches: tuple[Watch, ...] = (
            Watch(PersistentVolume, wakes=everything),
            Watch(PersistentVolumeClaim, wakes=everything),
            Watch(StorageClass, wakes=everything),
            Watch(Pod, wakes=_of_pod),
        )

    async def reconcile(self, key: Key) -> float | None:
        seen = Seen(
            (await self._store.list(PersistentVolume)).items,
            (await self._store.list(PersistentVolumeClaim)).items,
            (await self._store.list(StorageClass)).items,
            tuple(pod for pod in (await self._store.list(Pod)).items if claims_of(pod)),
            (await self._store.list(Node)).items,
            rfc3339(self._clock.now()),
        )
        actions = self._untold(decide(seen))
        await carry_out_each(self._store, actions, component=self.name, clock=self._clock)
        return None

    def _untold(self, actions: Sequence[Action]) -> list[Action]:
        """Without the events that stand since the last look: why a claim waits is told once."""
        before, self._told, left = self._told, set(), list[Action]()
        for action in actions:
            if isinstance(action, Note):
                about = (action.about.uid, action.reason, action.message)
                self._told.add(about)
                if about in before:
                    continue
            left.append(action)
        return left


def _of_pod(pod: Pod) -> tuple[Key, ...]:
    """A claim may go when the last pod that mounts it has ended or is gone."""
    return (ALL,) if claims_of(pod) and (pod.deleting or p.finished(pod)) else ()
