"""modelStatus and the conditions beside it, as clients of KServe read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving_world import World, condition
from tests.unit.control.test_caches import CACHE, NAMESPACED, URI
from tests.unit.control.test_services import SERVICE, a_pod, prepared, served, the_service

from forebay.api import kinds
from forebay.api.meta import Key
from forebay.store.protocol import edit_status

pytestmark = pytest.mark.anyio
ENDED = {"exitCode": 3, "message": "no such model\n", "finishedAt": "2026-01-31T12:00:00Z"}


async def told(world: World, **status: Any) -> Any:
    """modelStatus once the pod has that status."""
    await edit_status(world.store, kinds.Pod, Key("default", "p"), lambda i: i.raw.update(status=status))
    await world.settle()
    return (await the_service(world)).status["modelStatus"]


def container(name: str, **state: Any) -> list[Any]:
    return [{"name": name, **state}]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("{modelFormat: {name: nobody-serves-this}, storageUri: s3://b/m}", "NoSupportingRuntime"),
        ("{modelFormat: {name: huggingface}, runtime: nobody, storageUri: s3://b/m}", "RuntimeNotRecognized"),
        ("{modelFormat: {name: huggingface}, runtime: off-now, storageUri: s3://b/m}", "RuntimeDisabled"),
        ("{modelFormat: {name: ''}, storageUri: s3://b/m}", "InvalidPredictorSpec"),
    ],
)
async def test_a_service_that_cannot_be_served_says_so_in_kserves_words(
    tmp_path: Path, model: str, reason: str
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        off = kinds.ClusterServingRuntime.new("off-now", spec={"disabled": True, "containers": []})
        await world.store.create(off)
        text = SERVICE.format(name="svc", uri=URI, notes="").split("    model:")[0]
        await world.apply(text + f"    model: {model}\n")
        await world.settle()
        service = await the_service(world)
        status = service.status["modelStatus"]
        assert status["transitionStatus"] == "InvalidSpec"
        assert status["states"] == {"activeModelState": "", "targetModelState": "FailedToLoad"}
        assert status["lastFailureInfo"]["reason"] == reason
        assert status["lastFailureInfo"]["message"] == condition(service, "Ready")["message"]
        assert status["copies"] == {"failedCopies": 0, "totalCopies": 0}


async def test_pods_that_serve_stay_the_active_model_while_the_new_spec_cannot_be_served(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        await a_pod(world)
        await world.deployment_is("svc-predictor", ready=1)
        await told(world, conditions=[{"type": "Ready", "status": "True"}])

        def other(item: kinds.InferenceService) -> None:
            item.spec["predictor"]["model"]["runtime"] = "nobody"

        await world.change(kinds.InferenceService, "svc", other, "default")
        await world.settle()
        status = (await the_service(world)).status["modelStatus"]
        assert status["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
        assert status["copies"]["totalCopies"] == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [("initContainerStatuses", "storage-initializer"), ("containerStatuses", "kserve-container")],
)
async def test_a_failed_load_is_told_with_exit_code_and_message_until_the_model_is_loaded(
    tmp_path: Path, kind: str, name: str
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        await a_pod(world)
        failure = {"reason": "ModelLoadFailed", "message": "no such model", "exitCode": 3, "location": "p"}
        failure["time"] = "2026-01-31T12:00:00Z"
        ended = {"terminated": {**ENDED, "reason": "Error"}}
        waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}
        for failed in ({"state": ended}, waiting):
            status = await told(world, **{kind: container(name, **failed)})
            assert status["transitionStatus"] == "BlockedByFailedLoad"
            assert status["states"]["targetModelState"] == "FailedToLoad"
            assert status["lastFailureInfo"] == failure
            assert status["copies"] == {"failedCopies": 1, "totalCopies": 0}
        again = {"state": {"running": {"startedAt": "x"}}, "lastState": ended}
        status = await told(world, **{kind: container(name, **again)})
        assert status["lastFailureInfo"] == failure, "it is running again and not loaded yet"
        await world.deployment_is("svc-predictor", ready=1)
        status = await told(world, conditions=[{"type": "Ready", "status": "True"}])
        assert status["transitionStatus"] == "UpToDate" and "lastFailureInfo" not in status


async def test_an_initializer_that_loops_is_no_progress(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        await a_pod(world)
        again = {"state": {"running": {"startedAt": "x"}}, "lastState": {"terminated": ENDED}}
        status = await told(world, initContainerStatuses=container("storage-initializer", **again))
        assert status["transitionStatus"] == "BlockedByFailedLoad"
        first = {"state": {"running": {"startedAt": "x"}}}
        status = await told(world, initContainerStatuses=container("storage-initializer", **first))
        assert status["states"]["targetModelState"] == "Loading"


async def test_what_serves_from_a_copy_stays_a_hit_when_its_group_is_gone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)
        await a_pod(world)
        await world.deployment_is("svc-predictor", ready=1)
        await told(world, conditions=[{"type": "Ready", "status": "True"}])
        await world.delete(kinds.LocalModelNodeGroup, "gpu1")
        await world.settle()
        hit = condition(await the_service(world), "CacheHit")
        assert (hit["status"], hit["reason"]) == ("True", "Cached")
        assert "LocalModelNodeGroup gpu1 does not exist" in hit["message"]
        assert condition(await the_service(world), "Ready")["status"] == "True"


async def test_who_does_not_wait_is_told_of_the_cache_that_is_not_ready(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world, notes="forebay.dev/when-uncached: pull")
        assert "a LocalModelCache of it" in condition(await the_service(world), "CacheHit")["message"]
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        hit = condition(await the_service(world), "CacheHit")
        assert (hit["status"], hit["reason"]) == ("False", "NotCached")
        assert "when-uncached: pull does not wait for cache iris (0 of 1 nodes" in hit["message"]


async def test_of_several_caches_the_ready_one_serves(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await prepared(world, cached=False)
        for name in ("first", "second"):
            await world.apply(NAMESPACED.format(name=name, uri=URI, groups="gpu1"))
        await world.apply(CACHE.format(name="wide", uri=URI, groups="gpu1"))
        await world.settle()
        await world.agent_says("a", "wide", "ModelDownloaded", revision="r")
        await world.settle()
        await served(world, "pulls", notes="forebay.dev/when-uncached: pull", namespace="team")
        assert await cache_of(world, "pulls") == "wide", "a ready copy spares the download"
        await world.agent_says("a", "team/second", "ModelDownloaded", revision="r")
        await world.settle()
        await served(world, "waits", namespace="team")
        assert await cache_of(world, "waits") == "second"


async def test_the_marks_that_kserves_webhook_sets_are_there_and_go_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await prepared(world, cached=False)
        await world.apply(NAMESPACED.format(name="ours", uri=URI, groups="gpu1"))
        await world.settle()
        await served(world, uri=URI + "/sub", namespace="team")
        service = await world.get(kinds.InferenceService, "svc", "team")
        prefix = "internal.serving.kserve.io/localmodel"
        marks = {k: v for k, v in {**service.labels, **service.annotations}.items() if k.startswith(prefix)}
        assert marks == {
            prefix: "ours",
            prefix + "-namespace": "team",
            prefix + "-sourceuri": URI,
            prefix + "-pvc-name": "ours-gpu1",
        }

        def out(item: kinds.InferenceService) -> None:
            item.meta["annotations"]["serving.kserve.io/disable-localmodel"] = "true"

        await world.change(kinds.InferenceService, "svc", out, "team")
        await world.settle()
        service = await world.get(kinds.InferenceService, "svc", "team")
        assert not [k for k in {**service.labels, **service.annotations} if k.startswith(prefix)]


async def cache_of(world: World, name: str) -> str:
    service = await world.get(kinds.InferenceService, name, "team")
    return str(service.labels["internal.serving.kserve.io/localmodel"])
