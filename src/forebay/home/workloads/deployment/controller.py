"""Reads and writes for Deployments."""

from __future__ import annotations

from forebay.api.kinds import Deployment, Pod, ReplicaSet
from forebay.api.meta import Key
from forebay.api.selectors import match_expressions
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.deployment.decide import Seen, decide
from forebay.home.workloads.wakes import controller_of
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class DeploymentController:
    """Rolls and scales each Deployment."""

    name = "deployment-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._owner_of: dict[Key, tuple[Key, ...]] = {}  # ReplicaSet -> its Deployment, for changes of pods
        self.watches: tuple[Watch, ...] = (
            Watch(Deployment), Watch(ReplicaSet, wakes=self._of_set), Watch(Pod, wakes=self._of_pod)
        )  # fmt: skip

    def _of_set(self, item: ReplicaSet) -> tuple[Key, ...]:
        self._owner_of[item.key] = controller_of(item, Deployment)
        return self._owner_of[item.key]

    def _of_pod(self, pod: Pod) -> tuple[Key, ...]:
        return tuple(key for rs in controller_of(pod, ReplicaSet) for key in self._owner_of.get(rs, ()))

    async def reconcile(self, key: Key) -> float | None:
        try:
            owner = await self._store.get(Deployment, key)
        except Absent:
            self._owner_of = {rs: owners for rs, owners in self._owner_of.items() if key not in owners}
            return None
        decision = decide(await self._look(owner))
        await carry_out(self._store, decision.actions, component=self.name, clock=self._clock)
        return decision.look_again_s

    async def _look(self, owner: Deployment) -> Seen:
        where = Where(namespace=owner.namespace)
        every = (await self._store.list(ReplicaSet, where)).items
        for rs in every:
            if not rs.controller_uid() and match_expressions(owner.spec.get("selector"), rs.labels):
                await self._adopt(rs, owner)
        mine = tuple(rs for rs in every if rs.controller_uid() == owner.uid)
        uids = {rs.uid for rs in mine}
        pods = tuple(
            pod for pod in (await self._store.list(Pod, where)).items if pod.controller_uid() in uids
        )
        return Seen(owner, mine, pods, frozenset(rs.name for rs in every), self._clock.now())

    async def _adopt(self, orphan: ReplicaSet, owner: Deployment) -> None:
        """A set left behind by `delete --cascade=orphan` comes back to the Deployment that selects it."""
        if owner.deleting or orphan.deleting:
            return
        orphan.meta["ownerReferences"] = [*orphan.owners, owner.owner_reference()]
        orphan.raw = (await self._store.update(orphan)).raw
