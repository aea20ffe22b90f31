"""Weaknesses of KServe's cache that these controllers must not have; docs/reference/against-kserve.md names
which test stands for which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.serving_world import JOBS, World, condition
from tests.unit.control.test_caches import CACHE, GROUP, KEY, NAMESPACED, URI, on, started
from tests.unit.control.test_services import pods_of, prepared, served, the_service

from forebay.api import kinds
from forebay.errors import Unavailable
from forebay.kit.clock import SystemClock
from forebay.store.loop import run_controllers

pytestmark = pytest.mark.anyio
CONFIG = "inferenceservice-config"


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """The controllers run by themselves: what wakes them is what they watch."""
    task = asyncio.create_task(run_controllers(world.store, world.controllers, clock=SystemClock()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that comes by itself."""
    async with asyncio.timeout(20):
        while not await check():
            await asyncio.sleep(0.01)


async def groups_on(world: World, node: str) -> dict[str, str]:
    """Which group keeps which model on a node."""
    for item in (await world.store.list(kinds.LocalModelNode)).items:
        if item.name == node:
            return {e["modelName"]: e["nodeGroup"] for e in item.spec["localModels"]}
    return {}


async def test_a_canary_of_another_model_never_reads_the_stable_ones_copy(tmp_path: Path) -> None:
    """W9: there is no canary yet; what it names must not leak into the pods of the stable predictor."""
    async with World(tmp_path) as world:
        await prepared(world)
        spec = await served(world)

        def canary(item: kinds.InferenceService) -> None:
            model = {"modelFormat": {"name": "huggingface"}, "storageUri": "s3://elsewhere/other"}
            item.spec["canary"] = [{"predictor": {"name": "next", "model": model}, "trafficPercent": 10}]

        await world.change(kinds.InferenceService, "svc", canary, "default")
        await world.settle()
        assert await pods_of(world) == spec
        assert await world.names(kinds.Deployment, "default") == ["svc-predictor"]
        assert "canary" in condition(await the_service(world), "Unsupported")["message"]


async def test_names_that_run_into_each_other_stay_two_volumes(tmp_path: Path) -> None:
    """W11: cache a-b in group c and cache a in group b-c both want the name a-b-c."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        for group in ("c", "b-c"):
            await world.apply(GROUP.format(name=group).replace("values: [" + group, "values: [gpu1"))
        await world.apply(CACHE.format(name="a-b", uri="s3://one/m", groups="c"))
        await world.apply(CACHE.format(name="a", uri="s3://two/m", groups="b-c"))
        await world.settle()
        for cache in ("a-b", "a"):
            await world.agent_says("a", cache, "ModelDownloaded", revision="r")
        await world.settle()
        claims = set()
        for name, uri in (("one", "s3://one/m"), ("two", "s3://two/m")):
            spec = await served(world, name, uri=uri)
            claims.add(spec["volumes"][0]["persistentVolumeClaim"]["claimName"])
        assert len(claims) == 2 and "a-b-c" in claims
        paths = {
            v.spec["claimRef"]["name"]: v.spec["hostPath"]["path"]
            for v in (await world.store.list(kinds.PersistentVolume)).items
            if v.spec["claimRef"]["namespace"] == "default"
        }
        assert set(paths) == claims and len(set(paths.values())) == 2


async def test_every_input_of_a_cache_wakes_it(tmp_path: Path) -> None:
    """W17, W19: nodes and their labels, groups and their terms, services, settings."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        async with running(world):
            await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1, gpu2"))
            await until(lambda: _is(groups_on(world, "a"), {"iris": "gpu1"}))
            await world.node("b")
            await world.change(kinds.Node, "b", lambda i: i.meta["labels"].update(_labels("gpu2")))
            await until(lambda: _is(groups_on(world, "b"), {"iris": "gpu2"}))
            await world.change(kinds.Node, "a", lambda i: i.meta["labels"].update(_labels("none")))
            await until(lambda: _is(groups_on(world, "a"), {}))

            def anywhere(item: kinds.LocalModelNodeGroup) -> None:
                terms = item.spec["persistentVolumeSpec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
                terms[0]["matchExpressions"][0]["values"].append("none")

            await world.change(kinds.LocalModelNodeGroup, "gpu1", anywhere)
            await until(lambda: _is(groups_on(world, "a"), {"iris": "gpu1"}))

            def off(item: kinds.ConfigMap) -> None:
                item.raw["data"]["localModel"] = '{"enabled": false}'

            async def is_off() -> bool:
                cache = await world.get(kinds.LocalModelCache, "iris")
                return bool(condition(cache, "Ready").get("reason") == "Disabled")

            await world.change(kinds.ConfigMap, CONFIG, off, "kserve")
            await until(is_off)


async def test_a_cache_that_comes_later_wakes_the_services_that_wait_for_it(tmp_path: Path) -> None:
    """W19: a service is looked at again when a cache of its model appears."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        async with running(world):
            await world.apply(
                "{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: svc}, "
                "spec: {predictor: {model: {modelFormat: {name: huggingface}, storageUri: '" + URI + "'}}}}"
            )

            async def downloads() -> bool:
                there = await world.names(kinds.Deployment, "default")
                return bool(there) and "initContainers" in await pods_of(world)

            await until(downloads)
            await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))

            async def cached() -> bool:
                return not await downloads()

            await until(cached)


async def test_an_error_of_the_server_is_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W16: nothing else happens that could wake the controller."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        create, failures = world.store.create, 3

        async def failing(item: kinds.Job, *, dry_run: bool = False) -> kinds.Job:
            nonlocal failures
            if isinstance(item, kinds.Job) and failures:
                failures -= 1
                raise Unavailable("the server is away", retry_after_s=0.01)
            return await create(item, dry_run=dry_run)

        monkeypatch.setattr(world.store, "create", failing)
        async with running(world):
            await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
            await until(lambda: _is(world.names(kinds.Job, JOBS), ["iris-a"]))
        assert failures == 0


async def test_every_controller_looks_again_even_if_nothing_wakes_it(tmp_path: Path) -> None:
    """W16: a lost event costs minutes, not for ever."""
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)
        for controller in world.controllers:
            for item in (await world.store.list(controller.watches[0].kind)).items:
                assert await controller.reconcile(item.key), controller.name


LOCAL = '{"jobPriorityClassName": "background", "jobTolerations": [{"key": "slow"}]}'


async def test_a_download_has_resources_tolerations_priority_and_the_ca_bundle(tmp_path: Path) -> None:
    """W24."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        storage = '{"cpuLimit": "2", "memoryRequest": "100Mi", "caBundleConfigMapName": "trusted"}'
        await world.change(
            kinds.ConfigMap, CONFIG,
            lambda i: i.raw["data"].update(storageInitializer=storage, localModel=LOCAL), "kserve",
        )  # fmt: skip
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "CaBundleMissing"
        assert "kserve/trusted" in condition(cache, "Ready")["message"]
        assert await world.names(kinds.Job, JOBS) == []

        bundle = kinds.ConfigMap.new("trusted", "kserve", data={"cabundle.crt": "PEM", "more": "not copied"})
        await world.store.create(bundle)
        await world.settle()
        pod = (await world.get(kinds.Job, "iris-a", JOBS)).spec["template"]["spec"]
        container = pod["containers"][0]
        assert container["resources"] == {"limits": {"cpu": "2"}, "requests": {"memory": "100Mi"}}
        assert pod["tolerations"] == [{"operator": "Exists", "effect": "NoSchedule"}, {"key": "slow"}]
        assert pod["priorityClassName"] == "background"
        _trusts(pod, container)
        copy = await world.get(kinds.ConfigMap, "global-kserve-ca-bundle", JOBS)
        assert copy.raw["data"] == {"cabundle.crt": "PEM"}

        pod = await served(world, uri="s3://not/cached")
        _trusts(pod, pod["initContainers"][0])
        copy = await world.get(kinds.ConfigMap, "global-kserve-ca-bundle", "default")
        await world.change(
            kinds.ConfigMap, "trusted", lambda i: i.raw["data"].update({"cabundle.crt": "NEW"}), "kserve"
        )
        await world.settle()
        copy = await world.get(kinds.ConfigMap, "global-kserve-ca-bundle", "default")
        assert copy.raw["data"] == {"cabundle.crt": "NEW"}


async def test_each_group_has_agents_of_its_own_with_the_folder_of_its_volumes(tmp_path: Path) -> None:
    """W26: the path stands in one place."""
    async with World(tmp_path) as world:
        for name, path in (("gpu1", "/models"), ("gpu2", "/fast")):
            await world.apply(GROUP.format(name=name).replace("path: /models", f"path: {path}"))
        await world.settle()
        for name, path in (("gpu1", "/models"), ("gpu2", "/fast")):
            pod = (await world.get(kinds.DaemonSet, f"{name}-agent", "kserve")).spec["template"]["spec"]
            assert [v["hostPath"]["path"] for v in pod["volumes"]] == [path]


async def test_two_groups_on_one_node_settle_with_one_copy_of_each_model(tmp_path: Path) -> None:
    """W27: settle() ends only when nobody writes any more."""
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        for group in ("gpu1", "gpu2"):
            await world.apply(GROUP.format(name=group).replace("values: [" + group, "values: [gpu1"))
        for name, groups in (("one", "gpu1, gpu2"), ("two", "gpu2, gpu1"), ("three", "gpu2")):
            await world.apply(CACHE.format(name=name, uri=f"s3://b/{name}", groups=groups))
        await world.settle()
        assert await groups_on(world, "a") == {"one": "gpu1", "two": "gpu2", "three": "gpu2"}
        for name in ("one", "two", "three"):
            await world.agent_says("a", name, "ModelDownloaded", revision="r")
        await world.settle()
        assert await groups_on(world, "a") == {"one": "gpu1", "two": "gpu2", "three": "gpu2"}


async def test_the_size_need_not_be_told(tmp_path: Path) -> None:
    """W31: what the agent measures is in the status."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1").replace("  modelSize: 1Gi\n", ""))
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r", bytesDone=7, bytesTotal=7)
        await world.settle()
        assert (await world.get(kinds.LocalModelCache, "iris")).status["bytes"] == 7


@pytest.mark.parametrize(
    "model",
    [
        "{modelFormat: {name: huggingface}, storage: {key: mine, path: mymodel}}",
        "{modelFormat: {name: huggingface}}, storageUris: [{uri: s3://mybucket/mymodel}]",
    ],
)
async def test_whichever_field_names_the_model_the_cache_serves_it(tmp_path: Path, model: str) -> None:
    """W33."""
    async with World(tmp_path) as world:
        await prepared(world)
        await world.apply(f"""
apiVersion: v1
kind: Secret
metadata: {{name: storage-config}}
stringData: {{mine: '{{"type": "s3", "bucket": "mybucket"}}'}}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: svc}}
spec: {{predictor: {{model: {model}}}}}
""")
        await world.settle()
        assert (await pods_of(world))["volumes"][0]["persistentVolumeClaim"]["claimName"] == "iris-gpu1"
        assert condition(await the_service(world), "CacheHit")["status"] == "True"


async def test_switched_off_what_runs_is_stopped_and_goes_on_when_switched_on(tmp_path: Path) -> None:
    """W34."""
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]
        for enabled, jobs in (("false", []), ("true", ["iris-a-2"])):
            text = f'{{"enabled": {enabled}}}'
            await world.change(
                kinds.ConfigMap, CONFIG, lambda i, t=text: i.raw["data"].update(localModel=t), "kserve"
            )
            await world.settle()
            assert await world.names(kinds.Job, JOBS) == jobs


async def test_there_are_volumes_only_where_a_service_reads_and_one_pair_for_all_of_them(
    tmp_path: Path,
) -> None:
    """W36, as far as it goes: a namespace without a service costs nothing, a second service nothing more."""
    async with World(tmp_path) as world:
        await prepared(world)
        await world.store.create(kinds.Namespace.new("idle"))
        before = len(await world.names(kinds.PersistentVolume))
        for name in ("one", "two", "three"):
            await served(world, name)
        assert len(await world.names(kinds.PersistentVolume)) == before + 1
        assert await world.names(kinds.PersistentVolumeClaim, "idle") == []


async def test_one_name_twice_is_two_caches_in_every_object(tmp_path: Path) -> None:
    """W11: a cluster-wide and a namespaced cache of one name, on one node, in one group."""
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.apply(NAMESPACED.format(name="iris", uri="s3://other/model", groups="gpu1"))
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r")
        await world.settle()
        mine = await world.get(kinds.LocalModelCache, "iris")
        theirs = await world.get(kinds.LocalModelNamespaceCache, "iris", "team")
        assert mine.status["copies"] == {"available": 1, "total": 1}
        assert theirs.status["copies"] == {"total": 1}
        assert mine.status["storageKey"] == KEY != theirs.status["storageKey"]


def _trusts(pod: object, container: object) -> None:
    assert isinstance(pod, dict) and isinstance(container, dict)
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert env["CA_BUNDLE_CONFIGMAP_NAME"] == "global-kserve-ca-bundle"
    [volume] = [v for v in pod["volumes"] if v.get("configMap")]
    assert volume["configMap"]["name"] == "global-kserve-ca-bundle"
    [mount] = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    assert mount["mountPath"] == env["CA_BUNDLE_VOLUME_MOUNT_POINT"] == "/etc/ssl/custom-certs"


def _labels(kind: str) -> dict[str, str]:
    return {"node.kubernetes.io/instance-type": kind}


async def _is(asked: Awaitable[object], wanted: object) -> bool:
    return await asked == wanted
