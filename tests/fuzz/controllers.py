"""`python -m tests.fuzz.controllers [SECONDS] [SEED]`: caches and services as people, and chance, write them.

Random objects, edits and reports go through admission into a real store; after each step the controllers must
come to rest: no exception but the errors they know, no write that is answered by another for ever. A finding
prints its seed and the steps that led there; tests/property/test_control_worlds.py runs a few seeds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from forebay.api import kinds
from forebay.api.meta import Json, Key, Resource
from forebay.api.rules_serving import CHECKS
from forebay.control.shipped import shipped
from forebay.errors import Absent, Clash, Denied, Exhausted, ForebayError, Invalid
from forebay.store.protocol import Where, edit, edit_status
from tests.fakes.serving_world import JOBS, World
from tests.fuzz.shapes import GROUPS, URIS, Shapes

STEPS, TURNS_MAX = 25, 30
NODES, TEAMS = ("n1", "n2", "n3"), ("team", "default")
STATES = ("", "ModelDownloadPending", "ModelDownloading", "ModelDownloaded", "ModelDownloadError", "Odd")
OWNED = (
    kinds.LocalModelCache,
    kinds.LocalModelNamespaceCache,
    kinds.InferenceService,
    kinds.LocalModelNodeGroup,
    kinds.LocalModelNode,
    kinds.Node,
    kinds.Job,
    kinds.Deployment,
    kinds.Service,
    kinds.PersistentVolume,
    kinds.PersistentVolumeClaim,
    kinds.Secret,
    kinds.ConfigMap,
    kinds.HorizontalPodAutoscaler,
    kinds.DaemonSet,
)


class Chance(Shapes):
    """One world and a generator; `log` are the steps so far."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(seed)
        self.world, self.log = world, list[str]()
        self.steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self.cache,
            self.cache,
            self.service,
            self.service,
            self.service_edit,
            self.group,
            self.group_edit,
            self.node,
            self.node_gone,
            self.secret,
            self.config,
            self.agent,
            self.agent,
            self.job,
            self.job,
            self.rollout,
            self.pod,
            self.delete,
            self.time,
            self.storage,
            self.prune,
        )

    async def step(self) -> None:
        act = self.random.choice(self.steps)
        self.log.append(act.__name__)
        try:
            await act()
        except (Invalid, Denied, Clash, Absent) as error:
            self.log[-1] += f" (refused: {error.message[:60]})"

    async def put(self, item: Resource) -> None:
        self.log[-1] += f" {item.raw}"
        await self.world.store.create(item)

    # --- what people write

    async def cache(self) -> None:
        spec = {
            "sourceModelUri": self.one(*URIS),
            "nodeGroups": self.random.choices(GROUPS, k=self.one(1, 1, 2)),
        }
        spec |= self.some(
            modelSize=self.one("1Gi", 7, "0"),
            serviceAccountName="sa",
            storage=self.one({}, {"key": "k"}, {"key": ""}),
        )
        if spec.get("storage") is not None and self.one(True, False):
            spec["storage"] = {
                **spec.get("storage", {}),
                "parameters": {"type": "s3", "endpoint_url": "http://e"},
            }
        name, notes = self.one("a", "b", "a-g1", "m" * 70), self.some(**{"forebay.dev/pinned": "true"})
        if self.one(True, False):
            await self.put(kinds.LocalModelCache.new(name, spec=spec, annotations=notes))
        else:
            await self.put(
                kinds.LocalModelNamespaceCache.new(name, self.one(*TEAMS), spec=spec, annotations=notes)
            )

    async def service(self) -> None:
        spec: Json = {"predictor": self.predictor(), **self.some(transformer={"containers": [{}]}, canary=[])}
        await self.put(
            kinds.InferenceService.new(
                self.one("s1", "s2"), self.one(*TEAMS), spec=spec, annotations=self.notes()
            )
        )

    async def service_edit(self) -> None:
        item = await self.any(kinds.InferenceService)

        def change(there: Resource) -> None:
            there.meta["annotations"] = {**there.annotations, **self.notes()}
            there.raw["spec"] = {"predictor": self.predictor()} if self.one(True, False) else there.spec

        await edit(self.world.store, kinds.InferenceService, item.key, change)

    async def group(self) -> None:
        claim = self.one(
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}, {}
        )
        spec = {
            "storageLimit": self.one("1Gi", 7),
            "persistentVolumeSpec": self.volume(),
            "persistentVolumeClaimSpec": claim,
        }
        await self.put(kinds.LocalModelNodeGroup.new(self.one(*GROUPS), spec=spec))

    async def group_edit(self) -> None:
        item = await self.any(kinds.LocalModelNodeGroup)
        volume = self.volume()
        await edit(
            self.world.store,
            kinds.LocalModelNodeGroup,
            item.key,
            lambda there: there.spec.update(persistentVolumeSpec=volume),
        )

    async def secret(self) -> None:
        data = self.one(
            {"k": '{"type": "s3", "bucket": "b"}'},
            {"k": "no json"},
            {"k": "[]"},
            {"HF_TOKEN": "t"},
            {"default": "{}"},
        )
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        where = self.one(JOBS, *TEAMS)
        try:
            await self.put(kinds.Secret.new("storage-config", where, data=encoded))
            await self.put(kinds.ServiceAccount.new("sa", where, secrets=[{"name": "storage-config"}]))
        except Clash:
            await edit(
                self.world.store,
                kinds.Secret,
                Key(where, "storage-config"),
                lambda i: i.raw.update(data=encoded),
            )

    async def config(self) -> None:
        text = self.one(
            '{"enabled": false}',
            "{}",
            '{"disableVolumeManagement": true}',
            "no json",
            "[]",
            '{"enabled": true}',
        )
        key = self.one("localModel", "localModel", "storageInitializer")
        if key == "storageInitializer":
            text = self.one(
                "{}",
                '{"caBundleConfigMapName": "inferenceservice-config"}',
                '{"image": "kserve/storage-initializer:1"}',
            )
        await edit(
            self.world.store,
            kinds.ConfigMap,
            Key("kserve", "inferenceservice-config"),
            lambda i: i.raw["data"].update({key: text}),
        )

    async def storage(self) -> None:
        spec = {
            "container": {"name": "c", "image": self.one("mine:1", "kserve/storage-initializer")},
            "supportedUriFormats": [
                self.one({"prefix": "own://"}, {"regex": "^hf://.*"}, {"prefix": "s3://"})
            ],
            "workloadType": self.one("localModelDownloadJob", "initContainer"),
        }
        await self.put(kinds.ClusterStorageContainer.new(self.one("own", "other"), spec=spec))

    async def delete(self) -> None:
        item = await self.any(
            self.one(*OWNED[:4], kinds.Job, kinds.PersistentVolumeClaim, kinds.Secret, kinds.Deployment)
        )
        await self.world.store.delete(type(item), item.key)

    # --- what programs report

    async def node(self) -> None:
        await self.world.node(self.one(*NODES), ready=self.one(True, True, False), group=self.one(*GROUPS))

    async def node_gone(self) -> None:
        await self.world.delete(kinds.Node, self.one(*NODES))

    async def agent(self) -> None:
        item = await self.any(kinds.LocalModelNode)
        for entry in item.spec.get("localModels") or ():
            model = "/".join(filter(None, (entry.get("namespace"), entry["modelName"])))
            more = self.some(
                revision=self.one("r1", "r2"), bytesDone=3, bytesTotal=7, message="m", suffixes=[".gguf"]
            )
            if self.one(True, True, False):
                more["cacheUid"] = entry.get("cacheUid", "")
            await self.world.agent_says(item.name, model, self.one(*STATES), **more)

    async def prune(self) -> None:
        await self.world.agents_prune()
        await self.world.sweep()

    async def job(self) -> None:
        item = await self.any(kinds.Job)
        await self.world.job_ends(item.name, self.one("Complete", "Failed"), "why")

    async def rollout(self) -> None:
        item = await self.any(kinds.Deployment)
        await self.world.deployment_is(item.name, ready=self.one(0, 1), namespace=item.namespace)

    async def pod(self) -> None:
        service = await self.any(kinds.InferenceService)
        state = self.one(
            {"running": {"startedAt": "x"}},
            {"terminated": {"exitCode": 1}},
            {"waiting": {"reason": "CrashLoopBackOff"}},
            {},
        )
        ready = [{"type": "Ready", "status": self.one("True", "False")}]
        status = {
            "conditions": ready,
            self.one("containerStatuses", "initContainerStatuses"): [{"name": "c", "state": state}],
        }
        pod = kinds.Pod.new(
            self.one("p1", "p2"),
            service.namespace,
            labels={"serving.kserve.io/inferenceservice": service.name},
            spec={"containers": [{"name": "c", "image": "x"}]},
        )
        with contextlib.suppress(Clash):
            await self.world.store.create(pod)
        await edit_status(self.world.store, kinds.Pod, pod.key, lambda i: i.raw.update(status=status))

    async def time(self) -> None:
        self.world.clock.pass_s(self.one(1, 11, 61, 700))

    async def any(self, kind: type[Any]) -> Any:
        items = (await self.world.store.list(kind, Where())).items
        if not items:
            raise Absent("nothing there")
        return self.random.choice(items)


async def rest(world: World) -> list[ForebayError]:
    """Let every controller look at everything until nothing is written any more; the last turn's errors."""
    for _ in range(TURNS_MAX):
        before, errors = await shape(world), list[ForebayError]()
        for controller in world.controllers:
            for key in await world._keys(controller):
                try:
                    await controller.reconcile(key)
                except ForebayError as error:
                    errors.append(error)
        if await shape(world) == before:
            return errors
    raise AssertionError(f"still moving after {TURNS_MAX} turns")


async def shape(world: World) -> list[tuple[str, Key, str]]:
    """What is there, in which revision; events left out."""
    pages = [await world.store.list(kind) for kind in OWNED]
    return [(i.kind, i.key, i.revision) for page in pages for i in page.items]


async def one_life(folder: Path, seed: int, steps: int = STEPS) -> None:
    """One world from its beginning. Raises AssertionError or whatever a controller could not bear."""
    async with World(folder, checks=CHECKS) as world:
        await world.store.create(kinds.Namespace.new("team"))
        for item in shipped():
            if not isinstance(item, kinds.Namespace):
                await world.store.create(item)
        chance = Chance(world, seed)
        for start in (chance.node, chance.group, chance.group, chance.cache, chance.service):
            chance.log.append(start.__name__)
            with contextlib.suppress(Invalid, Denied, Clash):
                await start()
        try:
            for _ in range(steps):
                await chance.step()
                errors = await rest(world)
                odd = [e for e in errors if not isinstance(e, Invalid | Denied | Exhausted)]
                assert not odd, odd
        except Exception as error:
            error.add_note(f"seed {seed}:\n" + "\n".join(chance.log))
            raise


def main() -> None:
    """Lives until the time is over."""
    seconds, seed = (
        float(sys.argv[1]) if len(sys.argv) > 1 else 30.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
    end, first = time.monotonic() + seconds, seed
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(one_life(Path(folder), seed))
        seed += 1
    print(f"seeds {first} to {seed - 1}: nothing found")


if __name__ == "__main__":
    main()
