"""Reads everything that the decision about one cache may look at."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api import names, wishes
from forebay.api.kinds import (
    ClusterStorageContainer,
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
    Secret,
)  # fmt: skip
from forebay.api.meta import Key, Resource
from forebay.control import containers, reading
from forebay.control.config import Settings
from forebay.control.credentials import Injection, Sources, injection
from forebay.control.modelcache.job import DOWNLOAD_PODS, credentials_name
from forebay.control.modelcache.model import Seen, finished
from forebay.kit.clock import Clock
from forebay.store.protocol import Store, Where


async def look(
    store: Store, kind: type[Resource], key: Key, *, system_namespace: str, clock: Clock
) -> Seen | None:
    """The sight of one cache, or None if it is gone."""
    cache = await reading.maybe(store, kind, key)
    if cache is None:
        return None
    settings = await reading.settings(store, system_namespace)
    jobs = (await store.list(Job, Where(namespace=settings.job_namespace))).items
    everywhere = (await store.list(Job, Where(labels=f"{names.UID_LABEL}={cache.uid}"))).items
    mine = tuple(j for j in everywhere if j.namespace == settings.job_namespace)
    found, sources = await _credentials(store, cache, settings)
    wanted = {str(g) for g in cache.spec.get("nodeGroups") or ()}
    groups = (await store.list(LocalModelNodeGroup)).items
    storage = (await store.list(ClusterStorageContainer)).items
    sibling = await _sibling(store, cache, names.storage_key(_uri(cache), found.endpoint))
    return Seen(
        cache=cache, settings=settings, now=clock.now().timestamp(),
        groups={g.name: g for g in groups if g.name in wanted and not g.deleting},
        nodes=tuple(n for n in (await store.list(Node)).items if not n.deleting),
        model_nodes=(await store.list(LocalModelNode)).items,
        jobs=mine, pods=await _pods(store, mine, settings), taken=frozenset(j.name for j in jobs),
        stray_jobs=tuple(j for j in everywhere if j.namespace != settings.job_namespace),
        job_namespace_missing=await reading.maybe(store, Namespace, Key("", settings.job_namespace)) is None,
        claims=await _claims(store, cache, settings),
        volumes=(await store.list(PersistentVolume)).items,
        containers=storage,
        services=await _services(store, cache),
        credentials=found, secrets=dict(sources.secrets),
        lent=await _lent(store, cache, storage, settings),
        copies=await _copies(store, cache, mine, settings),
        trust=await reading.trust(store, settings, system_namespace, settings.job_namespace),
        sibling_revision=sibling[0], sibling_refreshed=sibling[1],
    )  # fmt: skip


async def _pods(store: Store, jobs: tuple[Job, ...], settings: Settings) -> tuple[Pod, ...]:
    running = {j.uid for j in jobs if not finished(j)}
    if not running:
        return ()
    chosen = Where(settings.job_namespace, labels=DOWNLOAD_PODS)
    return tuple(p for p in (await store.list(Pod, chosen)).items if p.controller_uid() in running)


async def _credentials(store: Store, cache: Resource, settings: Settings) -> tuple[Injection, Sources]:
    """A cluster-wide cache may use the job namespace's credentials, a namespaced one its own namespace's
    only."""
    account, storage = str(cache.spec.get("serviceAccountName") or ""), cache.spec.get("storage")
    namespace = cache.namespace or settings.job_namespace
    if not account and (cache.namespace or storage):
        account = "default"
    sources = await reading.credential_sources(
        store, namespace, settings.credentials, account=account, storage=storage
    )
    return injection(sources, settings.credentials, namespace), sources


async def _lent(
    store: Store, cache: Resource, storage: Sequence[ClusterStorageContainer], settings: Settings
) -> dict[str, Secret]:
    """The administrator's Secrets that the download's container names, by name, where they are there."""
    chosen = containers.chosen(storage, _uri(cache), containers.DOWNLOAD_JOB)
    wanted = containers.secret_names(chosen.spec.get("container") or {}) if chosen is not None else []
    found = [await reading.maybe(store, Secret, Key(settings.job_namespace, name)) for name in wanted]
    return {s.name: s for s in found if s is not None}


async def _claims(store: Store, cache: Resource, settings: Settings) -> tuple[PersistentVolumeClaim, ...]:
    download = (await store.list(PersistentVolumeClaim, Where(namespace=settings.job_namespace))).items
    serving = (await store.list(PersistentVolumeClaim, Where(labels=f"{names.UID_LABEL}={cache.uid}"))).items
    return tuple({item.key: item for item in (*download, *serving)}.values())


async def _services(store: Store, cache: Resource) -> tuple[InferenceService, ...]:
    services = (await store.list(InferenceService, Where(namespace=cache.namespace))).items
    return tuple(s for s in services if uses(s, cache))


def uses(service: InferenceService, cache: Resource) -> bool:
    """Whether a service is served from this cache: its labels say so, and a namespaced cache is its
    neighbour's."""
    labels = service.labels
    if labels.get(names.LOCALMODEL) != names.label_value(cache.name):
        return False
    if cache.namespace and service.namespace != cache.namespace:
        return False
    return labels.get(names.LOCALMODEL_NAMESPACE, "") == cache.namespace


async def _copies(
    store: Store, cache: Resource, jobs: tuple[Job, ...], settings: Settings
) -> tuple[Secret, ...]:
    if not cache.namespace:
        return ()
    found = [
        await reading.maybe(store, Secret, Key(settings.job_namespace, credentials_name(j.name)))
        for j in jobs
    ]
    return tuple(s for s in found if s is not None and s.labels.get(names.UID_LABEL) == cache.uid)


async def _sibling(store: Store, cache: Resource, key: str) -> tuple[str, str]:
    """The revision that another cache of the same content was resolved to, and the request that led to it:
    one key, one revision."""
    everyone: list[Resource] = [
        *(await store.list(LocalModelCache)).items, *(await store.list(LocalModelNamespaceCache)).items,
    ]  # fmt: skip
    same = [
        c for c in everyone
        if c.uid != cache.uid and c.status.get("revision") and c.status.get("storageKey") == key
    ]  # fmt: skip
    same.sort(key=lambda c: (str(c.meta.get("creationTimestamp")), c.uid))
    first = max(same, key=lambda c: wishes.moment(_refreshed(c)), default=None)  # of equals the oldest
    return (str(first.status["revision"]), _refreshed(first)) if first else ("", "")


def _refreshed(cache: Resource) -> str:
    """The request that the cache's revision answers; one that still waits answers nothing."""
    said = cache.status.get("refresh") or {}
    return str(said.get("requested") or "") if said.get("revision") else ""


def _uri(cache: Resource) -> str:
    return str(cache.spec.get("sourceModelUri") or "")
