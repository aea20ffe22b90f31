"""Carries out what decide() says about node groups."""

from __future__ import annotations

from forebay.api import names
from forebay.api.kinds import ConfigMap, DaemonSet, LocalModelNode, LocalModelNodeGroup, Node
from forebay.api.meta import Key, Resource
from forebay.control import reading
from forebay.control.carry import carry_out
from forebay.control.nodegroup.decide import Seen, decide
from forebay.control.reading import Known
from forebay.control.when import LOOK_S
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class NodeGroupController:
    """LocalModelNodeGroup -> DaemonSet `<group>-agent` and status."""

    name = "localmodelnodegroup"

    def __init__(self, store: Store, *, system_namespace: str, clock: Clock) -> None:
        self._store, self._clock, self._system_namespace = store, clock, system_namespace
        self._known = known = Known()
        config = Where(namespace=system_namespace, name=names.CONFIG_MAP)
        self.watches = (
            Watch(LocalModelNodeGroup, wakes=known.own),
            Watch(DaemonSet, wakes=self._owner, where=Where(namespace=system_namespace)),
            Watch(LocalModelNode, wakes=known.everyone),
            Watch(Node, wakes=known.everyone),
            Watch(ConfigMap, wakes=known.everyone, where=config),
        )

    async def reconcile(self, key: Key) -> float | None:
        """Look, decide, act."""
        group = await reading.maybe(self._store, LocalModelNodeGroup, key)
        if group is None:
            self._known.forget(key)
            return None
        daemonset = Key(self._system_namespace, names.agent_daemonset(key.name))
        seen = Seen(
            group=group,
            settings=await reading.settings(self._store, self._system_namespace),
            system_namespace=self._system_namespace,
            now=self._clock.now().timestamp(),
            nodes=(await self._store.list(Node)).items,
            model_nodes=(await self._store.list(LocalModelNode)).items,
            daemonset=await reading.maybe(self._store, DaemonSet, daemonset),
        )
        await carry_out(self._store, group, decide(seen), clock=self._clock)
        return LOOK_S

    def _owner(self, item: Resource) -> list[Key]:
        return [Key("", o["name"]) for o in item.owners if o.get("kind") == LocalModelNodeGroup.kind]
