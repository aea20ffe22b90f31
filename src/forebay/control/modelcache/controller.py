"""Carries out what decide() says about caches. One class, two kinds: cluster-wide and namespaced."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api.kinds import (
    ClusterStorageContainer,
    ConfigMap,
    InferenceService,
    Job,
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ServiceAccount,
)
from forebay.api.meta import Key, Resource
from forebay.control.carry import carry_out_and_report, report_unreadable
from forebay.control.modelcache.decide import decide
from forebay.control.modelcache.job import DOWNLOAD_PODS
from forebay.control.modelcache.look import look
from forebay.control.modelcache.model import OWNER_NOTE, entries
from forebay.control.reading import Known
from forebay.errors import Invalid
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class ModelCacheController:
    """One of the two cache kinds. `system_namespace` holds the ConfigMap."""

    def __init__(
        self,
        store: Store,
        kind: type[LocalModelCache] | type[LocalModelNamespaceCache],
        *,
        system_namespace: str,
        clock: Clock,
    ) -> None:
        self.name = kind.__name__.lower()
        self._store, self._kind, self._clock = store, kind, clock
        self._system_namespace = system_namespace
        self._known = known = Known()
        config = Where(namespace=system_namespace)  # the settings, and the CA bundle that they name
        self.watches = (
            Watch(kind, wakes=known.own),
            Watch(Job, wakes=self._owner),
            Watch(Pod, wakes=self._owner, where=Where(labels=DOWNLOAD_PODS)),
            Watch(PersistentVolume, wakes=self._owner),
            Watch(PersistentVolumeClaim, wakes=self._owner),
            Watch(LocalModelNode, wakes=self._entries),
            Watch(InferenceService, wakes=known.everyone),
            Watch(Node, wakes=known.everyone),
            Watch(LocalModelNodeGroup, wakes=known.everyone),
            Watch(ClusterStorageContainer, wakes=known.everyone),
            Watch(ServiceAccount, wakes=known.everyone),
            Watch(Namespace, wakes=known.everyone),
            Watch(ConfigMap, wakes=known.everyone, where=config),
        )

    async def reconcile(self, key: Key) -> float | None:
        """Look, decide, act, report. Seconds until the next look."""
        place, clock = self._system_namespace, self._clock
        try:
            seen = await look(self._store, self._kind, key, system_namespace=place, clock=clock)
        except Invalid as error:
            await report_unreadable(self._store, self._kind, key, error, clock=clock)
            raise
        if seen is None:
            self._known.forget(key)
            return None
        decision = decide(seen)
        await carry_out_and_report(
            self._store, seen.cache, decision.actions, decision.status, clock=self._clock
        )
        return decision.look_again_s

    def _owner(self, item: Resource) -> Iterable[Key]:
        namespace, slash, name = item.annotations.get(OWNER_NOTE, "").rpartition("/")
        return (Key(namespace, name),) if slash and bool(namespace) == self._kind.namespaced else ()

    def _entries(self, item: LocalModelNode) -> Iterable[Key]:
        keys = {Key(str(e.get("namespace") or ""), str(e.get("modelName"))) for e in entries(item)}
        for told in item.status.get("modelStatus") or {}:
            namespace, _, name = told.rpartition("/")
            keys.add(Key(namespace, name))
        return [k for k in keys if bool(k.namespace) == self._kind.namespaced]
