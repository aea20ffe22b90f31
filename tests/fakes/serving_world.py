"""A world for the controllers: a real store, nodes, an agent that reports, and Jobs and pods that end as
told.

The agent and the workloads here are the only fakes; they write what theirs would write and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from forebay.api import kinds
from forebay.api.admission import Rules
from forebay.api.meta import Json, Key, Resource
from forebay.control import controllers
from forebay.home.look import StoreLook
from forebay.kit.clock import rfc3339
from forebay.store.loop import Controller
from forebay.store.protocol import Where, edit, edit_status
from forebay.store.sqlite import SqliteStore

JOBS = "kserve-localmodel-jobs"


class Ticking:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def pass_s(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class World:
    """Objects in a real store, and the controllers that work on them, turn by turn."""

    def __init__(self, folder: Path, *, checks: Sequence[Any] = ()) -> None:
        self.clock = Ticking()
        rules = Rules(StoreLook(lambda: self.store), checks)
        self.store = SqliteStore(folder / "forebay.db", rules, clock=self.clock)
        self.controllers = controllers(self.store, system_namespace="kserve", clock=self.clock)

    async def __aenter__(self) -> World:
        await self.store.open()
        for name in ("kserve", JOBS, "default"):
            await self.store.create(kinds.Namespace.new(name))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def apply(self, text: str, namespace: str = "default") -> None:
        """Create or replace what the YAML says."""
        for raw in yaml.safe_load_all(text):
            kind = next(k for k in kinds.ALL if k.kind == raw["kind"] and k.api_version == raw["apiVersion"])
            if kind.namespaced:
                raw["metadata"].setdefault("namespace", namespace)
            if kind is kinds.Secret and "stringData" in raw:
                raw["data"] = encoded(raw.pop("stringData"))
            await self.store.create(kind(raw))

    async def node(self, name: str, *, ready: bool = True, **labels: str) -> None:
        """Add a node, or change its readiness and labels."""
        found = {k.replace("__", "/").replace("_", "-"): v for k, v in labels.items()}
        found = {"kubernetes.io/hostname": name, **found}
        if not any(n.name == name for n in (await self.store.list(kinds.Node)).items):
            await self.store.create(kinds.Node.new(name, labels=found))
        condition = {"type": "Ready", "status": "True" if ready else "False"}

        def change(item: kinds.Node) -> None:
            item.raw["status"] = {"conditions": [condition]}

        await edit_status(self.store, kinds.Node, Key("", name), change)

    async def settle(self, turns_max: int = 40) -> int:
        """Every controller looks at every object until nobody writes any more; the number of turns."""
        for turn in range(turns_max):
            before = self.store.revision()
            for controller in self.controllers:
                for key in await self._keys(controller):
                    await controller.reconcile(key)
            if self.store.revision() == before:
                return turn
        raise AssertionError(f"still moving after {turns_max} turns")

    async def _keys(self, controller: Controller) -> Iterable[Key]:
        kind = controller.watches[0].kind
        found = {item.key: None for item in (await self.store.list(kind)).items}
        if kind is kinds.LocalModelNode:
            found.update({item.key: None for item in (await self.store.list(kinds.Node)).items})
        return list(found)

    async def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        """One object."""
        return await self.store.get(kind, Key(namespace, name))

    async def names(self, kind: type[Resource], namespace: str = "") -> list[str]:
        """Names of all objects of a kind."""
        return [i.name for i in (await self.store.list(kind, Where(namespace=namespace))).items]

    async def agent_says(self, node: str, key: str, state: str, **more: object) -> None:
        """What the node's agent would write about one model."""

        def change(item: kinds.LocalModelNode) -> None:
            status = item.raw.setdefault("status", {})
            status.setdefault("modelStatus", {})[key] = state
            if more:
                status.setdefault("models", {})[key] = dict(more)

        await edit_status(self.store, kinds.LocalModelNode, Key("", node), change)

    async def agents_prune(self) -> None:
        """Agents report no model that is not asked of them."""
        for item in (await self.store.list(kinds.LocalModelNode)).items:
            wanted = {
                "/".join(filter(None, (e.get("namespace"), e["modelName"])))
                for e in item.spec.get("localModels") or ()
            }

            def change(item: kinds.LocalModelNode, wanted: set[str] = wanted) -> None:
                status = item.raw.setdefault("status", {})
                for part in ("modelStatus", "models"):
                    status[part] = {k: v for k, v in (status.get(part) or {}).items() if k in wanted}

            await edit_status(self.store, kinds.LocalModelNode, item.key, change)

    async def job_ends(self, name: str, how: str, message: str = "") -> None:
        """A Job becomes Complete or Failed."""
        condition = {
            "type": how,
            "status": "True",
            "message": message,
            "lastTransitionTime": rfc3339(self.clock.now()),
        }

        def change(item: kinds.Job) -> None:
            item.raw["status"] = {"conditions": [condition]}

        await edit_status(self.store, kinds.Job, Key(JOBS, name), change)

    async def deployment_is(self, name: str, *, ready: int, namespace: str = "default") -> None:
        """The Deployment's pods, all of the newest template: `ready` of them are."""

        def change(item: kinds.Deployment) -> None:
            wanted = int(item.spec.get("replicas") or 0)
            item.raw["status"] = {
                "observedGeneration": item.generation,
                "replicas": wanted,
                "updatedReplicas": wanted,
                "readyReplicas": ready,
                "availableReplicas": ready,
                "conditions": [{"type": "Available", "status": "True" if ready >= wanted else "False"}],
            }

        await edit_status(self.store, kinds.Deployment, Key(namespace, name), change)

    async def change(self, kind: type[Any], name: str, change: Any, namespace: str = "") -> Any:
        """A user's edit."""
        return await edit(self.store, kind, Key(namespace, name), change)

    async def delete(self, kind: type[Resource], name: str, namespace: str = "") -> None:
        """A user's delete."""
        await self.store.delete(kind, Key(namespace, name))

    async def sweep(self) -> None:
        """What the home does about protection: volumes and claims that are marked go."""
        for kind in (kinds.PersistentVolumeClaim, kinds.PersistentVolume):
            for item in (await self.store.list(kind)).items:
                if item.deleting:
                    await edit(self.store, kind, item.key, lambda i: i.meta.update(finalizers=[]))


def encoded(data: dict[str, str]) -> dict[str, str]:
    """stringData as data."""
    import base64

    return {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}


def condition(item: Resource, type_: str) -> Json:
    """The object's condition of that type."""
    return next((c for c in item.status.get("conditions") or () if c["type"] == type_), {})
