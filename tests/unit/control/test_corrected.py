"""What people correct is tried at once, whatever wait had grown, and what nobody corrected waits on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.serving_world import JOBS, World, condition, encoded
from tests.unit.control.test_caches import CACHE, GROUP, NAMESPACED, URI, on, started
from tests.unit.control.test_services import SERVICE, prepared

from forebay.api import kinds
from forebay.api.meta import Key
from forebay.control.modelcache.controller import ModelCacheController
from forebay.control.when import CORRECTED_FIRST_S, CORRECTED_MOST_S, corrected_s

pytestmark = pytest.mark.anyio

HUB = """
apiVersion: v1
kind: Secret
metadata: {name: hub, namespace: kserve-localmodel-jobs}
stringData: {HF_TOKEN: wrong}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: hub}
spec:
  container:
    name: c
    image: kserve/storage-initializer:latest
    env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hub, key: HF_TOKEN}}}]
  supportedUriFormats: [{prefix: "s3://"}]
  workloadType: localModelDownloadJob
"""


async def refused(world: World, job: str) -> None:
    """The source has refused the token: agent and Job say so."""
    await world.agent_says("a", "iris", "ModelDownloadError", message="the token was refused")
    await world.job_ends(job, "Failed", "PodFailurePolicy")
    await world.settle()


async def wait_of(world: World, name: str = "iris") -> float:
    """After how many seconds the cache is looked at again."""
    controller = world.controllers[0]
    assert isinstance(controller, ModelCacheController)
    again_s = await controller.reconcile(Key("", name))
    assert again_s is not None
    return again_s


def new_token(item: kinds.Secret) -> None:
    item.raw["data"] = encoded({"HF_TOKEN": "right"})


async def test_a_corrected_secret_is_tried_at_once_however_long_the_wait_had_become(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await world.apply(HUB)
        await started(world, groups="gpu1")
        await world.settle()
        await refused(world, "iris-a")
        for attempt, wait_s in ((2, 10), (3, 20), (4, 40)):
            world.clock.pass_s(wait_s + 1)
            await world.settle()
            await refused(world, f"iris-a-{attempt}")
        assert len(await world.names(kinds.Job, JOBS)) == 4, "what nobody has corrected waits"
        assert await wait_of(world) <= CORRECTED_FIRST_S

        await world.change(kinds.Secret, "hub", new_token, JOBS)
        await world.settle()
        assert "iris-a-5" in await world.names(kinds.Job, JOBS)
        await refused(world, "iris-a-5")
        world.clock.pass_s(11)
        await world.settle()
        assert "iris-a-6" in await world.names(kinds.Job, JOBS), "the waits have begun anew"


async def test_another_downloader_is_tried_at_once_too(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await world.apply(HUB)
        await started(world, groups="gpu1")
        await world.settle()
        await refused(world, "iris-a")

        def elsewhere(item: kinds.ClusterStorageContainer) -> None:
            item.spec["container"]["env"].append({"name": "HF_ENDPOINT", "value": "http://hub.local"})

        await world.change(kinds.ClusterStorageContainer, "hub", elsewhere)
        await world.settle()
        assert "iris-a-2" in await world.names(kinds.Job, JOBS)


async def test_a_tenants_corrected_secret_is_tried_at_once(tmp_path: Path) -> None:
    secret = """
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: team}
stringData: {HF_TOKEN: wrong}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: puller, namespace: team}
secrets: [{name: mine}]
"""
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await world.apply(GROUP.format(name="gpu1") + "---" + secret)
        text = NAMESPACED.format(name="iris", uri=URI, groups="gpu1")
        await world.apply(text + "  serviceAccountName: puller\n")
        await world.settle()
        await world.job_ends("iris-a", "Failed", "PodFailurePolicy")
        await world.settle()
        assert "iris-a-2" not in await world.names(kinds.Job, JOBS)
        await world.change(kinds.Secret, "mine", new_token, "team")
        await world.settle()
        assert "iris-a-2" in await world.names(kinds.Job, JOBS)


async def test_a_secret_that_is_missing_is_looked_for_again_soon(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        notes = "serving.kserve.io/storageSecretName: late"
        await world.apply(SERVICE.format(name="svc", uri=URI, notes=notes))
        await world.settle()
        controller = world.controllers[-1]
        assert (await controller.reconcile(Key("default", "svc")) or 9.0) <= CORRECTED_FIRST_S
        service = await world.get(kinds.InferenceService, "svc", "default")
        ready = condition(service, "Ready")
        assert ready["reason"] == "CredentialsMissing"
        assert "Secret default/late does not exist" in ready["message"]
        failure = service.status["modelStatus"]["lastFailureInfo"]
        assert (failure["reason"], failure["message"]) == ("InvalidPredictorSpec", ready["message"])


async def test_a_storage_entry_that_nobody_made_is_named(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        spec = "{predictor: {model: {modelFormat: {name: huggingface}, storage: {key: mine, path: x}}}}"
        text = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: svc}\nspec: "
        await world.apply(text + spec)
        await world.settle()
        ready = condition(await world.get(kinds.InferenceService, "svc", "default"), "Ready")
        missing = "Secret default/storage-config does not exist; create it with an entry 'mine'"
        assert (ready["reason"], ready["message"]) == (
            "CredentialsMissing",
            f"{missing}, or use model.storageUri",
        )


async def test_a_group_without_a_folder_is_told_on_the_group_and_on_its_caches(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        whole = "hostPath: {path: /models, type: DirectoryOrCreate}"
        await world.apply(GROUP.format(name="gpu1").replace(f"    {whole}\n", ""))
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        group = await world.get(kinds.LocalModelNodeGroup, "gpu1")
        assert condition(group, "Ready")["reason"] == "NoPath"
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "NodeGroupIncomplete"
        assert await world.names(kinds.Job, JOBS) == await world.names(kinds.PersistentVolume) == []

        def complete(item: kinds.LocalModelNodeGroup) -> None:
            item.spec["persistentVolumeSpec"]["hostPath"] = {"path": "/models"}

        await world.change(kinds.LocalModelNodeGroup, "gpu1", complete)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]


@pytest.mark.parametrize("uri", ["hdfs://host/m", "webhdfs://host/m", "modelscope://owner/m"])
async def test_a_scheme_without_a_source_is_told_at_once_and_nothing_is_tried(
    tmp_path: Path, uri: str
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply(CACHE.format(name="iris", uri=uri, groups="gpu1"))
        await world.settle()
        world.clock.pass_s(3600)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "NoSource"
        assert f"no source for {uri.partition(':')[0]}://" in condition(cache, "Ready")["message"]
        assert await world.names(kinds.Job, JOBS) == []
        told = [e.raw for e in (await world.store.list(kinds.Event)).items if e.raw["reason"] == "NoSource"]
        assert len(told) == 1 and int(told[0].get("count") or 1) == 1

        pulls = "serving.kserve.io/disable-localmodel: 'true'"
        await world.apply(SERVICE.format(name="svc", uri=uri, notes=pulls))
        await world.settle()
        service = await world.get(kinds.InferenceService, "svc", "default")
        assert "there is no source for" in condition(service, "Ready")["message"]
        assert await world.names(kinds.Deployment, "default") == []

        own = kinds.ClusterStorageContainer.new(
            "own",
            spec={
                "container": {"name": "c", "image": "mine/fetch:1"},
                "supportedUriFormats": [{"prefix": uri[:7]}],
                "workloadType": "localModelDownloadJob",
            },
        )
        await world.store.create(own)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]


async def test_the_agents_reason_is_told_and_not_the_jobs(tmp_path: Path) -> None:
    """The Job is over a moment before the agent has said why."""
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.job_ends("iris-a", "Failed", "matching FailJob rule at index 0")
        await world.settle()
        assert await wait_of(world) <= CORRECTED_FIRST_S
        world.clock.pass_s(1)
        await world.agent_says("a", "iris", "ModelDownloadError", message="the token was refused")
        await world.settle()
        told = [e.raw["message"] for e in (await world.store.list(kinds.Event)).items]
        assert any("the token was refused" in text for text in told)
        assert not any("FailJob" in text for text in told)


async def test_a_job_whose_agent_says_nothing_is_told_by_its_own_condition(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.job_ends("iris-a", "Failed", "BackoffLimitExceeded")
        await world.settle()
        world.clock.pass_s(6)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["nodeStatus"] == {"a": "NodeDownloadError"}
        assert f"{JOBS}/iris-a failed (BackoffLimitExceeded)" in condition(cache, "Ready")["message"]


def test_what_has_failed_for_long_is_looked_at_less_often() -> None:
    since, began = "2026-01-31T12:00:00Z", 1769860800.0
    waits = [corrected_s(since, began + age) for age in (0, 60, 300, 600, 86400)]
    assert waits == sorted(waits) and waits[0] == CORRECTED_FIRST_S and waits[-1] == CORRECTED_MOST_S
    assert corrected_s(None, began) == CORRECTED_FIRST_S
