"""Reads everything that the decision about one InferenceService may look at."""

from __future__ import annotations

from forebay.api import names
from forebay.api.kinds import (
    ClusterServingRuntime,
    ClusterStorageContainer,
    Deployment,
    HorizontalPodAutoscaler,
    InferenceService,
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Service,
    ServingRuntime,
)
from forebay.api.meta import Key
from forebay.control import reading
from forebay.control.config import Settings
from forebay.control.credentials import Sources
from forebay.control.inferenceservice.children import child_name, endpoint_name
from forebay.control.inferenceservice.model import Seen
from forebay.control.inferenceservice.predictor import Predictor, predictor_of
from forebay.kit.clock import Clock
from forebay.store.protocol import Store, Where


async def look(store: Store, key: Key, *, system_namespace: str, clock: Clock) -> Seen | None:
    """The sight of one service, or None if it is gone."""
    service = await reading.maybe(store, InferenceService, key)
    if service is None:
        return None
    settings = await reading.settings(store, system_namespace)
    predictor = predictor_of(service)
    here = Where(namespace=key.namespace)
    child = Key(key.namespace, child_name(service, predictor))
    label = f"{names.ISVC_LABEL}={names.label_value(service.name)}"
    return Seen(
        service=service,
        settings=settings,
        now=clock.now().timestamp(),
        runtimes=(await store.list(ServingRuntime, here)).items,
        cluster_runtimes=(await store.list(ClusterServingRuntime)).items,
        caches=(
            *(await store.list(LocalModelNamespaceCache, here)).items,
            *(await store.list(LocalModelCache)).items,
        ),
        groups={g.name: g for g in (await store.list(LocalModelNodeGroup)).items},
        nodes=(await store.list(Node)).items,
        model_nodes=(await store.list(LocalModelNode)).items,
        containers=(await store.list(ClusterStorageContainer)).items,
        sources=await _sources(store, service, predictor, settings),
        trust=await reading.trust(store, settings, system_namespace, key.namespace),
        deployment=await reading.maybe(store, Deployment, child),
        endpoint=await reading.maybe(store, Service, Key(key.namespace, endpoint_name(service))),
        autoscaler=await reading.maybe(store, HorizontalPodAutoscaler, child),
        pods=(await store.list(Pod, Where(namespace=key.namespace, labels=label))).items,
        claims=(await store.list(PersistentVolumeClaim, here)).items,
        volumes=(await store.list(PersistentVolume)).items,
    )


async def _sources(
    store: Store, service: InferenceService, predictor: Predictor, settings: Settings
) -> Sources:
    model = predictor.model or {}
    storage = dict(model.get("storage") or {}) if not model.get("storageUri") else {}
    if storage:
        storage.setdefault("key", "")
    return await reading.credential_sources(
        store,
        service.namespace,
        settings.credentials,
        account=str(predictor.raw.get("serviceAccountName") or "default"),
        storage=storage or None,
        secret_name=service.annotations.get(settings.credentials.secret_annotation, ""),
    )
