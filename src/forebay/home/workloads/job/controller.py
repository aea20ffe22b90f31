"""Reads and writes for Jobs."""

from __future__ import annotations

from forebay.api.kinds import Job, Pod
from forebay.api.meta import Key
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.job.decide import Seen, decide, released
from forebay.home.workloads.wakes import controller_of, owned_by
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class JobController:
    """Runs each Job to its end."""

    name = "job-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.watches: tuple[Watch, ...] = (Watch(Job), Watch(Pod, wakes=owned_by(Job)))

    async def reconcile(self, key: Key) -> float | None:
        pods = (await self._store.list(Pod, Where(namespace=key.namespace))).items
        try:
            job = await self._store.get(Job, key)
        except Absent:
            await self._release([pod for pod in pods if key in controller_of(pod, Job)])
            return None
        mine = tuple(pod for pod in pods if pod.controller_uid() == job.uid)
        seen = Seen(job, mine, frozenset(pod.name for pod in pods), self._clock.now())
        decision = decide(seen)
        await carry_out(self._store, decision.actions, component=self.name, clock=self._clock)
        return decision.look_again_s

    async def _release(self, orphans: list[Pod]) -> None:
        """Nobody counts the pods of a Job that is gone; their finalizer would hold them for ever."""
        await carry_out(self._store, released(orphans), component=self.name, clock=self._clock)
