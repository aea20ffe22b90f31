"""Cached models as people name and see them: both kinds of cache, with what each node says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forebay.api import wishes
from forebay.api.kinds import LocalModelCache, LocalModelNamespaceCache, LocalModelNode
from forebay.api.meta import Json, Key, Resource
from forebay.api.names import status_key
from forebay.api.states import ModelState
from forebay.cli.output import plain, size
from forebay.errors import Denied
from forebay.store.protocol import Store, Where

SHORT = 12  # characters of a commit that people read
AS_FETCHED = "when fetched"  # every pull hashes what it writes; nobody has read it back since


@dataclass(frozen=True)
class Copy:
    """One node's part of a cached model; `said` is what its agent reports beyond the state."""

    node: str
    state: str
    said: Json

    @property
    def is_ready(self) -> bool:
        return self.state == ModelState.DOWNLOADED


@dataclass(frozen=True)
class Cached:
    """One cached model."""

    item: Resource
    copies: tuple[Copy, ...] = ()
    users: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """NAME, or NAMESPACE/NAME of a namespaced cache."""
        return status_key(self.item.namespace, self.item.name)

    @property
    def pinned(self) -> bool:
        return self.item.annotations.get(wishes.PINNED) == "true"

    @property
    def verified(self) -> str:
        """When every copy was last found whole: the earliest of the nodes' times, "" if one never was."""
        times = [str((copy.said.get("verified") or {}).get("time") or "") for copy in self.copies]
        return min(times, default="")

    def machine(self) -> Json:
        """The form of -o json|yaml."""
        status = self.item.status
        return {
            "name": self.item.name,
            "namespace": self.item.namespace or None,
            "sourceModelUri": self.item.spec.get("sourceModelUri"),
            "revision": status.get("revision"),
            "storageKey": status.get("storageKey"),
            "bytes": status.get("bytes"),
            "ready": sum(copy.is_ready for copy in self.copies),
            "total": len(self.copies),
            "pinned": self.pinned,
            "inUseBy": list(self.users),
            "lastVerified": self.verified or None,
            "nodes": {copy.node: {"state": copy.state, **copy.said} for copy in self.copies},
        }


def key_of(name: str, namespace: str) -> tuple[type[Resource], Key]:
    """NAME, NAMESPACE/NAME, or NAME with -n as kind and key."""
    space, slash, rest = name.rpartition("/")
    if slash or namespace:
        return LocalModelNamespaceCache, Key(space or namespace, rest)
    return LocalModelCache, Key("", name)


async def find(store: Store, name: str, namespace: str) -> Cached:
    """One cached model. Raises Absent."""
    kind, key = key_of(name, namespace)
    return cached(await store.get(kind, key), (await store.list(LocalModelNode)).items)


async def find_all(store: Store, namespace: str = "") -> list[Cached]:
    """Every cached model, cluster-wide ones first; only one namespace's if it is given."""
    items = [
        *([] if namespace else (await store.list(LocalModelCache)).items),
        *await namespaced(store, namespace),
    ]
    nodes = (await store.list(LocalModelNode)).items if items else ()
    return [cached(item, nodes) for item in items]


async def namespaced(store: Store, namespace: str = "") -> tuple[Resource, ...]:
    """Caches of one namespace, or of all; who may not see all and names none sees none of them."""
    try:
        return tuple((await store.list(LocalModelNamespaceCache, Where(namespace=namespace))).items)
    except Denied:
        if namespace:
            raise
        return ()


def cached(item: Resource, nodes: Iterable[LocalModelNode]) -> Cached:
    """A cache with its copies, from the nodes' objects (pure)."""
    model, found = status_key(item.namespace, item.name), []
    for node in sorted(nodes, key=lambda node: node.name):
        if any(_is_of(item, entry) for entry in node.spec.get("localModels") or ()):
            said: Json = dict((node.status.get("models") or {}).get(model) or {})
            if said.get("cacheUid", item.uid) != item.uid:
                found.append(Copy(node.name, ModelState.PENDING.value, {}))
                continue
            state = str((node.status.get("modelStatus") or {}).get(model) or ModelState.PENDING.value)
            found.append(Copy(node.name, state, said))
    users = tuple(f"{u.get('namespace')}/{u.get('name')}" for u in item.status.get("inferenceServices") or ())
    return Cached(item, tuple(found), users)


def _is_of(item: Resource, entry: Mapping[str, object]) -> bool:
    return entry.get("modelName") == item.name and (entry.get("namespace") or "") == item.namespace


HEAD = ["NAME", "NAMESPACE", "URI", "REVISION", "SIZE", "NODES", "PINNED", "IN USE BY", "LAST VERIFIED"]
NODES_HEAD = ["NAME", "NAMESPACE", "NODE", "STATE", "REVISION", "SIZE", "SOURCE", "LAST VERIFIED", "MESSAGE"]


def rows(models: Iterable[Cached]) -> list[list[str]]:
    """A line for each model."""
    return [HEAD, *(_row(model) for model in models)]


def _row(model: Cached) -> list[str]:
    status = model.item.status
    ready = sum(copy.is_ready for copy in model.copies)
    return [
        model.item.name, model.item.namespace or "-", str(model.item.spec.get("sourceModelUri") or ""),
        _short(status.get("revision")), _size(status.get("bytes")), f"{ready}/{len(model.copies)}",
        "yes" if model.pinned else "no", ", ".join(model.users) or "-",
        model.verified or (AS_FETCHED if ready else "-"),
    ]  # fmt: skip


def node_rows(models: Iterable[Cached]) -> list[list[str]]:
    """A line for each copy."""
    found = [NODES_HEAD]
    for model in models:
        for copy in model.copies:
            said = copy.said
            found.append([
                model.item.name, model.item.namespace or "-", copy.node, copy.state.removeprefix("Model"),
                _short(said.get("revision")), _size(said.get("bytesTotal")), str(said.get("source") or "-"),
                str((said.get("verified") or {}).get("time") or (AS_FETCHED if copy.is_ready else "-")),
                str(said.get("message") or said.get("refused") or _progress(said)),
            ])  # fmt: skip
    return found


def _progress(said: Json) -> str:
    """How far a transfer is, while one runs."""
    if not said.get("phase"):
        return ""
    parts = [f"{_size(said.get('bytesDone'))} of {_size(said.get('bytesTotal'))}"]
    if said.get("rate"):
        parts.append(f"{_size(said['rate'])}/s")
    if said.get("etaSeconds"):
        parts.append(f"{said['etaSeconds']} s left")
    return ", ".join(parts)


def columns(lines: list[list[str]]) -> str:
    """Cells in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        plain("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        for line in lines
    )


def _short(revision: object) -> str:
    return str(revision)[:SHORT] if revision else "-"


def _size(count: object) -> str:
    return size(float(count)) if isinstance(count, int | float) else "-"
