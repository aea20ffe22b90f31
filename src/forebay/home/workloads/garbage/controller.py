"""Reads and writes for garbage collection. Keys name the kind, too: Key(namespace, "group/plural/name")."""

from __future__ import annotations

from forebay.api.kinds import CustomResourceDefinition, Event
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.discover import BUILT_IN, kinds
from forebay.home.workloads.garbage.decide import FOREGROUND, ORPHAN, Seen, decide
from forebay.home.workloads.wakes import ALL
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where

WAITING_S = 1.0  # a child that is let go by its owner tells nobody
SWEEP_S = 30.0  # objects of user-defined kinds are not watched but visited
Place = tuple[type[Resource], Key]


class GarbageCollector:
    """Follows owner references over every kind."""

    name = "garbage-collector"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._children: dict[str, dict[Key, None]] = {}  # owner uid -> keys of what referred to it
        self._visited: dict[Key, None] = {}  # what user-defined kinds own: their owners wake nobody
        self._kinds = {(kind.group, kind.plural): kind for kind in BUILT_IN}
        watched = [kind for kind in BUILT_IN if kind not in (Event, CustomResourceDefinition)]
        self.watches: tuple[Watch, ...] = (
            *(Watch(kind, wakes=self._wakes) for kind in watched),
            Watch(CustomResourceDefinition, wakes=lambda crd: (*self._wakes(crd), ALL)),
        )

    def _wakes(self, item: Resource) -> tuple[Key, ...]:
        """The object; what it owns, when it is going; what owns it, since that may wait for it."""
        self._note(item)
        keys = [_key(type(item), item.key)] if item.owners or item.deleting else []
        if not item.deleting:
            return tuple(keys)
        keys += list(self._children.get(item.uid, ()))
        if not item.finalizers:
            self._forget(item)
        return (*keys, *(_key(*place) for o in item.owners if (place := self._place(item, o))))

    def _note(self, item: Resource) -> None:
        for owner in item.owners:
            key, place = _key(type(item), item.key), self._place(item, owner)
            self._children.setdefault(str(owner.get("uid")), {})[key] = None
            if place is None or place[0] not in BUILT_IN:
                self._visited[key] = None

    def _forget(self, item: Resource) -> None:
        """It is gone, or as good as gone: nothing of it is kept in mind."""
        self._children.pop(item.uid, None)
        for owner in item.owners:
            self._children.get(str(owner.get("uid")), {}).pop(_key(type(item), item.key), None)

    def _place(self, item: Resource, owner: Json) -> Place | None:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        kind = next(
            (k for k in self._kinds.values() if k.group == group and k.kind == owner.get("kind")), None
        )
        if kind is None:
            return None
        return kind, Key(item.namespace if kind.namespaced else "", str(owner.get("name")))

    async def reconcile(self, key: Key) -> float | None:
        if key == ALL:
            return await self._sweep()
        group, plural, name = key.name.split("/", 2)
        kind = self._kinds.get((group, plural))
        if kind is None:
            return None
        try:
            item = await self._store.get(kind, Key(key.namespace, name))
        except Absent:
            self._visited.pop(key, None)
            return None
        seen = await self._look(item)
        await carry_out(self._store, decide(seen), component=self.name, clock=self._clock)
        return WAITING_S if seen.dependents else None

    async def _look(self, item: Resource) -> Seen:
        owners, unknown = dict[str, Resource](), set[str]()
        for reference in item.owners:
            place = self._place(item, reference)
            if place is None:
                unknown.add(str(reference.get("uid")))
                continue
            found = await self._get(*place)
            # a cluster-scoped object cannot be owned by a namespaced one: such a reference points nowhere
            if found is not None and found.uid == reference.get("uid"):
                owners[found.uid] = found
        return Seen(item, owners, await self._dependents(item), frozenset(unknown))

    async def _get(self, kind: type[Resource], key: Key) -> Resource | None:
        if kind.namespaced and not key.namespace:
            return None
        try:
            return await self._store.get(kind, key)
        except Absent:
            return None

    async def _dependents(self, owner: Resource) -> tuple[Resource, ...]:
        """What refers to an owner that waits for it. Read, not remembered: a child that was made a moment ago
        would be missed, and an orphan's owner would take it along."""
        if not owner.deleting or not {FOREGROUND, ORPHAN} & set(owner.finalizers):
            return ()
        found: list[Resource] = []
        for kind in self._kinds.values():
            if kind.namespaced or not owner.namespace:
                items = (await self._store.list(kind, Where(namespace=owner.namespace))).items
                found += [item for item in items if any(o.get("uid") == owner.uid for o in item.owners)]
        return tuple(found)

    async def _sweep(self) -> float | None:
        """Objects of user-defined kinds: learn the kinds, note their references, decide about each."""
        every = await kinds(self._store)
        self._kinds = {(kind.group, kind.plural): kind for kind in every}
        custom = every[len(BUILT_IN) :]
        for kind in custom:
            for item in (await self._store.list(kind)).items:
                self._note(item)
                if item.owners or item.deleting:
                    seen = await self._look(item)
                    await carry_out(self._store, decide(seen), component=self.name, clock=self._clock)
        for key in list(self._visited):
            await self.reconcile(key)
        return SWEEP_S if custom else None


def _key(kind: type[Resource], key: Key) -> Key:
    return Key(key.namespace, f"{kind.group}/{kind.plural}/{key.name}")
