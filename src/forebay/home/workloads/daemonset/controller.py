"""Reads and writes for DaemonSets."""

from __future__ import annotations

from forebay.api.kinds import ControllerRevision, DaemonSet, Node, Pod
from forebay.api.meta import Key
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.daemonset.decide import Seen, decide
from forebay.home.workloads.wakes import Known, owned_by
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class DaemonSetController:
    """Keeps one pod of each DaemonSet on every node that fits."""

    name = "daemonset-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock, self._known = store, clock, Known()
        self.watches: tuple[Watch, ...] = (
            Watch(DaemonSet),
            Watch(Pod, wakes=owned_by(DaemonSet)),
            Watch(ControllerRevision, wakes=owned_by(DaemonSet)),
            Watch(Node, wakes=self._known.all),
        )

    async def reconcile(self, key: Key) -> float | None:
        try:
            owner = await self._store.get(DaemonSet, key)
        except Absent:
            self._known.forget(key)
            return None
        self._known.remember(key)
        where = Where(namespace=key.namespace)
        nodes = (await self._store.list(Node)).items
        pods = (await self._store.list(Pod, where)).items
        history = (await self._store.list(ControllerRevision, where)).items
        mine = tuple(pod for pod in pods if pod.controller_uid() == owner.uid)
        own = tuple(r for r in history if r.controller_uid() == owner.uid)
        taken = frozenset(pod.name for pod in pods)
        decision = decide(Seen(owner, nodes, mine, own, taken, self._clock.now()))
        await carry_out(self._store, decision.actions, component=self.name, clock=self._clock)
        return decision.look_again_s
