"""Posted CustomResourceDefinitions: accepted, established, served, and cleaned up when they go.

Source: k8s.io/apiextensions-apiserver, controllers status, establish and finalizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.api import schema
from forebay.api.kinds import CustomResourceDefinition
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent
from forebay.home.apiserver.registry import Registry, Served
from forebay.kit.clock import Clock, rfc3339
from forebay.store.loop import Watch
from forebay.store.protocol import edit, edit_status
from forebay.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from forebay.home.apiserver.context import Api

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
LOOK_AGAIN_S = 1.0


class CrdController:
    """Keeps the registry and the status of definitions in step with what is stored."""

    name = "crd"
    watches = (Watch(CustomResourceDefinition),)

    def __init__(self, *, store: SqliteStore, registry: Registry, clock: Clock) -> None:
        self._store, self._registry, self._clock = store, registry, clock

    async def reconcile(self, key: Key) -> float | None:
        """Serve one definition, or take it away."""
        try:
            crd = await self._store.get(CustomResourceDefinition, key)
        except Absent:
            self._registry.drop(key.name)
            return None
        kinds = served_kinds(crd.raw)
        self._registry.post(key.name, () if self._is_ours(crd) else kinds)
        if crd.deleting:
            return await self._clean(crd, kinds)
        await edit(self._store, CustomResourceDefinition, key, _hold)
        now = rfc3339(self._clock.now())
        await edit_status(self._store, CustomResourceDefinition, key, lambda item: establish(item.raw, now))
        return None

    def _is_ours(self, crd: CustomResourceDefinition) -> bool:
        spec = crd.spec
        return self._registry.owns(spec["group"], spec["names"]["plural"])

    async def _clean(self, crd: CustomResourceDefinition, kinds: tuple[Served, ...]) -> float | None:
        if FINALIZER not in crd.finalizers:
            return None
        left = False
        if kinds and not self._is_ours(crd):
            left = await self._empty(kinds[0].stored)
        if left:
            return LOOK_AGAIN_S  # somebody's finalizers hold objects back
        await edit(self._store, CustomResourceDefinition, crd.key, _release)
        return None

    async def _empty(self, kind: type[Resource]) -> bool:
        for item in (await self._store.list(kind)).items:
            try:
                await self._store.delete(kind, item.key)
            except Absent:
                continue
        return bool((await self._store.list(kind)).items)


def served_kinds(crd: Json) -> tuple[Served, ...]:
    """The kinds of a definition's served versions."""
    found = []
    for version in crd["spec"]["versions"]:
        if version.get("served"):
            kind = schema.kind_of_crd(crd, version["name"])
            found.append(Served(kind, kind, deprecated=_deprecation(kind, version)))
    return tuple(found)


def _deprecation(kind: type[Resource], version: Json) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{kind.api_version} {kind.kind} is deprecated")


def _hold(item: CustomResourceDefinition) -> None:
    if FINALIZER not in item.finalizers:
        item.meta["finalizers"] = [*item.finalizers, FINALIZER]


def _release(item: CustomResourceDefinition) -> None:
    item.meta["finalizers"] = [name for name in item.finalizers if name != FINALIZER]


def establish(raw: Json, now: str) -> None:
    """Write the status of an accepted definition; conditions that stand keep their time."""
    status = raw.setdefault("status", {})
    names = dict(raw["spec"]["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    status["acceptedNames"] = names
    storage = [v["name"] for v in raw["spec"]["versions"] if v.get("storage")]
    status["storedVersions"] = list(dict.fromkeys([*status.get("storedVersions", ()), *storage]))
    standing = {c["type"]: c for c in status.get("conditions", ())}
    status["conditions"] = [
        standing.get(type_) or {
            "type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now,
        }
        for type_, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]  # fmt: skip


def controller(api: Api) -> CrdController:
    """The controller of one server."""
    return CrdController(store=api.store, registry=api.registry, clock=api.clock)


async def load(api: Api) -> None:
    """Serve every stored definition: called once, before the first request."""
    for crd in (await api.store.list(CustomResourceDefinition)).items:
        api.registry.post(crd.name, () if controller(api)._is_ours(crd) else served_kinds(crd.raw))


async def after_write(api: Api, item: Resource) -> Resource:
    """A definition is served before its writer has the answer, so that the next command finds it."""
    if isinstance(item, CustomResourceDefinition):
        await controller(api).reconcile(item.key)
    return item


async def after_delete(api: Api, item: Resource) -> None:
    """The same for a deletion."""
    if isinstance(item, CustomResourceDefinition):
        await controller(api).reconcile(item.key)
