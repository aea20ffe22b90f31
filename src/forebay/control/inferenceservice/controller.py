"""Carries out what decide() says about InferenceServices."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api import names
from forebay.api.kinds import (
    ClusterServingRuntime,
    ClusterStorageContainer,
    ConfigMap,
    Deployment,
    HorizontalPodAutoscaler,
    InferenceService,
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNodeGroup,
    Node,
    PersistentVolumeClaim,
    Pod,
    Service,
    ServiceAccount,
    ServingRuntime,
)  # fmt: skip
from forebay.api.meta import Key, Resource
from forebay.control.carry import carry_out_and_report, report_unreadable
from forebay.control.inferenceservice.decide import decide
from forebay.control.inferenceservice.look import look
from forebay.control.reading import Known
from forebay.errors import Invalid
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class InferenceServiceController:
    """InferenceService -> Deployment, Service, volumes, status."""

    name = "inferenceservice"

    def __init__(self, store: Store, *, system_namespace: str, clock: Clock) -> None:
        self._store, self._clock, self._system_namespace = store, clock, system_namespace
        self._known = known = Known()
        config = Where(namespace=system_namespace)  # the settings, and the CA bundle that they name
        shared = (
            LocalModelCache, LocalModelNamespaceCache, LocalModelNodeGroup, Node, ServingRuntime,
            ClusterServingRuntime, ClusterStorageContainer, ServiceAccount,
        )  # fmt: skip
        owned = (Deployment, Service, HorizontalPodAutoscaler)
        self.watches = (
            Watch(InferenceService, wakes=known.own),
            *(Watch(kind, wakes=_owners) for kind in owned),
            Watch(PersistentVolumeClaim, wakes=self._claim),
            Watch(Pod, wakes=_pod, where=Where(labels=names.ISVC_LABEL)),
            *(Watch(kind, wakes=known.everyone) for kind in shared),
            Watch(ConfigMap, wakes=known.everyone, where=config),
        )

    async def reconcile(self, key: Key) -> float | None:
        """Look, decide, act, report. Seconds until the next look."""
        place, clock = self._system_namespace, self._clock
        try:
            seen = await look(self._store, key, system_namespace=place, clock=clock)
        except Invalid as error:
            await report_unreadable(self._store, InferenceService, key, error, clock=clock)
            raise
        if seen is None:
            self._known.forget(key)
            return None
        decision = decide(seen)
        await carry_out_and_report(
            self._store, seen.service, decision.actions, decision.status, clock=self._clock
        )
        return decision.look_again_s

    def _claim(self, item: PersistentVolumeClaim) -> Iterable[Key]:
        """A shared claim that leaves with its last service may keep a new one waiting; it makes another."""
        return self._known.everyone(item) if item.deleting else _owners(item)


def _owners(item: Resource) -> Iterable[Key]:
    return [Key(item.namespace, o["name"]) for o in item.owners if o.get("kind") == InferenceService.kind]


def _pod(item: Pod) -> Iterable[Key]:
    return (Key(item.namespace, item.labels.get(names.ISVC_LABEL, "")),)
