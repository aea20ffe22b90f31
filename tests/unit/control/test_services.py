"""InferenceServices: which cache serves them, when pods roll, what the status says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving_world import World, condition
from tests.unit.control.test_caches import CACHE, GROUP, KEY, NAMESPACED, URI, on

from forebay.api import kinds, names
from forebay.api.meta import Key
from forebay.control.shipped import shipped
from forebay.store.protocol import edit_status

pytestmark = pytest.mark.anyio

SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}, annotations: {{{notes}}}}}
spec:
  predictor:
    model:
      modelFormat: {{name: huggingface}}
      storageUri: {uri}
"""


async def prepared(world: World, *, cached: bool = True, groups: str = "gpu1") -> None:
    """A node, its groups, the shipped objects and, if wanted, a cache whose copy is there.

    The runtimes ask for no preparation here: what it adds to a pod has its own tests (test_prepare.py).
    """
    for item in shipped():
        if item.kind not in ("Namespace",):
            item.meta.get("annotations", {}).pop(names.PREPARE, None)
            await world.store.create(item)
    await world.node("a", **on("gpu1"))
    for group in ("gpu1", "gpu2"):
        await world.apply(GROUP.format(name=group))
    if cached:
        await world.apply(CACHE.format(name="iris", uri=URI, groups=groups))
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r")
    await world.settle()


async def served(
    world: World, name: str = "svc", *, uri: str = URI, notes: str = "", namespace: str = "default"
) -> Any:
    """Apply a service, settle, and give its Deployment's pod spec."""
    await world.apply(SERVICE.format(name=name, uri=uri, notes=notes), namespace)
    await world.settle()
    return await pods_of(world, name, namespace)


async def pods_of(world: World, name: str = "svc", namespace: str = "default") -> Any:
    deployment = await world.get(kinds.Deployment, f"{name}-predictor", namespace)
    return deployment.spec["template"]["spec"]


async def a_pod(world: World) -> None:
    """A pod of the service, of which nothing is known yet."""
    pod = kinds.Pod.new(
        "p",
        "default",
        labels={"serving.kserve.io/inferenceservice": "svc"},
        spec={"containers": [{"name": "kserve-container", "image": "x"}]},
    )
    await world.store.create(pod)


async def the_service(world: World, name: str = "svc") -> Any:
    return await world.get(kinds.InferenceService, name, "default")


async def test_a_cache_is_used_by_all_below_its_uri_and_by_nothing_beside_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        for name, uri, path in (
            ("one", URI, None),
            ("two", URI + "/", None),
            ("three", URI + "/model1", "model1"),
        ):
            spec = await served(world, name, uri=uri)
            [mount] = spec["containers"][0]["volumeMounts"]
            assert mount.get("subPath") == path, uri
        for name, uri in (("four", URI + "2"), ("five", "s3://mybucket")):
            spec = await served(world, name, uri=uri)
            assert spec["initContainers"][0]["args"] == [uri, "/mnt/models"]
            assert "affinity" not in spec


async def test_the_annotated_group_is_used_and_a_foreign_one_means_no_cache(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("b", **on("gpu2"))
        await prepared(world, groups="gpu1, gpu2")
        await served(world, "svc1")
        await served(world, "svc2", notes="serving.kserve.io/nodegroup: gpu2")
        volumes = await world.names(kinds.PersistentVolume)
        assert {"iris-gpu1-default", "iris-gpu2-default"} <= set(volumes)
        assert await world.names(kinds.PersistentVolumeClaim, "default") == ["iris-gpu1", "iris-gpu2"]
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert [s["name"] for s in cache.status["inferenceServices"]] == ["svc1", "svc2"]
        spec = await served(world, "svc3", notes="serving.kserve.io/nodegroup: elsewhere")
        assert spec["initContainers"][0]["name"] == "storage-initializer"
        assert "internal.serving.kserve.io/localmodel" not in (await the_service(world, "svc3")).labels
        told = condition(await the_service(world, "svc3"), "CacheHit")["message"]
        asked = "annotation serving.kserve.io/nodegroup: elsewhere"
        assert told.endswith(f"cache iris is not in the node group that is asked for ({asked})")


async def test_opting_out_works_and_the_word_false_means_what_it_says(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        assert "initContainers" in await served(
            world, "out", notes='serving.kserve.io/disable-localmodel: "true"'
        )
        spec = await served(world, "in", notes='serving.kserve.io/disable-localmodel: "false"')
        assert "initContainers" not in spec


async def test_the_namespaces_own_cache_comes_before_the_cluster_wide_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await prepared(world)
        await world.apply(NAMESPACED.format(name="ours", uri=URI, groups="gpu1"))
        await world.settle()
        await served(world, namespace="team")
        service = await world.get(kinds.InferenceService, "svc", "team")
        assert service.labels["internal.serving.kserve.io/localmodel"] == "ours"
        assert service.labels["internal.serving.kserve.io/localmodel-namespace"] == "team"
        await served(world)
        assert (await the_service(world)).labels["internal.serving.kserve.io/localmodel"] == "iris"


async def test_forged_labels_in_another_namespace_give_no_use_of_a_namespaced_cache(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await prepared(world, cached=False)
        await world.apply(NAMESPACED.format(name="ours", uri=URI, groups="gpu1"))
        await world.apply("""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: forger
  labels:
    internal.serving.kserve.io/localmodel: ours
    internal.serving.kserve.io/localmodel-namespace: team
spec: {predictor: {model: {modelFormat: {name: huggingface}, storageUri: s3://mybucket/mymodel}}}
""")
        await world.settle()
        cache = await world.get(kinds.LocalModelNamespaceCache, "ours", "team")
        assert "inferenceServices" not in cache.status
        assert "initContainers" in await pods_of(world, "forger")


async def test_a_service_waits_for_its_cache_and_pull_does_not(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        spec = await served(world, "waits")
        assert "initContainers" not in spec and "affinity" in spec
        service = await the_service(world, "waits")
        assert condition(service, "PredictorReady")["reason"] == "WaitingForCache"
        assert "when-uncached: pull" in condition(service, "PredictorReady")["message"]
        assert "initContainers" in await served(world, "pulls", notes="forebay.dev/when-uncached: pull")


async def test_a_later_change_of_the_cache_never_rolls_running_pods_and_the_next_rollout_uses_it(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        await world.deployment_is("svc-predictor", ready=1)
        before = await world.get(kinds.Deployment, "svc-predictor", "default")
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r")
        await world.settle()
        after = await world.get(kinds.Deployment, "svc-predictor", "default")
        assert after.spec["template"] == before.spec["template"]
        assert condition(await the_service(world), "CacheHit")["reason"] == "NextRollout"

        def change(item: kinds.InferenceService) -> None:
            item.spec["predictor"]["model"]["env"] = [{"name": "A", "value": "1"}]

        await world.change(kinds.InferenceService, "svc", change, "default")
        await world.settle()
        assert "initContainers" not in await pods_of(world)
        assert condition(await the_service(world), "CacheHit")["status"] == "True"


async def test_pods_that_wait_for_a_cache_that_is_deleted_download_for_themselves(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        await served(world)
        await world.delete(kinds.LocalModelCache, "iris")
        await world.settle()
        assert "initContainers" in await pods_of(world)
        await world.deployment_is("svc-predictor", ready=1)
        await world.agents_prune()
        await world.settle()
        await world.sweep()
        await world.settle()
        assert await world.names(kinds.LocalModelCache) == []
        assert await world.names(kinds.PersistentVolumeClaim, "default") == []


@pytest.mark.parametrize(
    ("suffixes", "uri", "prepared_first"),
    [
        ([".gguf", ".md"], URI, False),
        ([".gguf", ".safetensors"], URI, True),
        ([], URI, True),
        ([], "s3://else/model.GGUF", False),
        ([], "s3://else/model", True),
    ],
)
async def test_a_copy_without_anything_to_convert_starts_without_the_preparation(
    tmp_path: Path, suffixes: list[str], uri: str, prepared_first: bool
) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r", suffixes=suffixes)

        def asks(item: kinds.ClusterServingRuntime) -> None:
            item.meta["annotations"] = {names.PREPARE: ".safetensors"}

        await world.change(kinds.ClusterServingRuntime, "kserve-huggingfaceserver", asks)
        spec = await served(world, uri=uri)
        assert ("prepare" in [c["name"] for c in spec.get("initContainers", [])]) is prepared_first


async def test_who_must_write_gets_a_private_copy(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        spec = await served(world, notes='storage.kserve.io/readonly: "false"')
        shared, private = spec["volumes"]
        assert shared["persistentVolumeClaim"]["readOnly"] is True and private["emptyDir"] == {}
        [mount] = spec["containers"][0]["volumeMounts"]
        assert mount == {"name": private["name"], "mountPath": "/mnt/models"}
        assert spec["initContainers"][0]["volumeMounts"][0]["readOnly"] is True


async def test_a_claim_is_mounted_read_only_and_not_copied(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        spec = await served(world, uri="pvc://mine/some/path")
        assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "mine", "readOnly": True}
        [mount] = spec["containers"][0]["volumeMounts"]
        assert (mount["subPath"], mount["readOnly"]) == ("some/path", True)


async def test_the_init_container_gets_the_services_own_credentials(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply("""
apiVersion: v1
kind: Secret
metadata:
  name: mine
  annotations: {serving.kserve.io/s3-endpoint: "minio:9000", serving.kserve.io/s3-usehttps: "0"}
stringData: {AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: key}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
secrets: [{name: mine}]
""")
        spec = await served(world)
        env = {e["name"]: e for e in spec["initContainers"][0]["env"]}
        assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "mine"
        assert env["AWS_ENDPOINT_URL"]["value"] == "http://minio:9000"


async def test_a_service_that_cannot_be_served_keeps_its_pods_and_says_why(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)
        await world.deployment_is("svc-predictor", ready=1)
        before = await pods_of(world)

        def change(item: kinds.InferenceService) -> None:
            item.spec["predictor"]["model"]["runtime"] = "nobody"

        await world.change(kinds.InferenceService, "svc", change, "default")
        await world.settle()
        assert await pods_of(world) == before
        service = await the_service(world)
        assert service.status["modelStatus"]["transitionStatus"] == "InvalidSpec"
        assert service.status["modelStatus"]["lastFailureInfo"]["reason"] == "RuntimeNotRecognized"
        assert "nobody" in condition(service, "Ready")["message"]


async def test_what_is_not_supported_is_said(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await world.apply("""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: svc}
spec:
  transformer: {containers: [{name: t, image: x}]}
  predictor:
    minReplicas: 0
    logger: {mode: all}
    sklearn: {storageUri: "gs://kfserving-examples/models/sklearn/1.0/model", runtime: x}
""")
        await world.settle()
        service = await the_service(world)
        told = condition(service, "Unsupported")["message"]
        assert "transformer" in told and "logger" in told and "minReplicas" in told
        assert service.status["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"


async def test_stopping_takes_the_pods_away_and_starting_brings_them_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)

        def stop(item: kinds.InferenceService) -> None:
            item.meta.setdefault("annotations", {})["serving.kserve.io/stop"] = "true"

        await world.change(kinds.InferenceService, "svc", stop, "default")
        await world.settle()
        deployment = await world.get(kinds.Deployment, "svc-predictor", "default")
        assert deployment.spec["replicas"] == 0
        assert condition(await the_service(world), "Stopped")["status"] == "True"
        await world.change(
            kinds.InferenceService,
            "svc",
            lambda i: i.meta["annotations"].pop("serving.kserve.io/stop"),
            "default",
        )
        await world.settle()
        assert (await world.get(kinds.Deployment, "svc-predictor", "default")).spec["replicas"] == 1
        assert condition(await the_service(world), "Stopped") == {}


async def test_bounds_make_an_autoscaler_whose_choice_is_respected(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)

        def bounds(item: kinds.InferenceService) -> None:
            item.spec["predictor"] |= {
                "minReplicas": 2,
                "maxReplicas": 5,
                "scaleMetric": "memory",
                "scaleTarget": 700,
            }

        await world.change(kinds.InferenceService, "svc", bounds, "default")
        await world.settle()
        scaler = await world.get(kinds.HorizontalPodAutoscaler, "svc-predictor", "default")
        assert (scaler.spec["minReplicas"], scaler.spec["maxReplicas"]) == (2, 5)
        assert scaler.spec["metrics"][0]["resource"]["target"]["averageValue"] == "700Mi"
        deployment = await world.get(kinds.Deployment, "svc-predictor", "default")
        assert deployment.spec["replicas"] == 2

        def scaled(item: kinds.Deployment) -> None:
            item.spec["replicas"] = 4

        await world.change(kinds.Deployment, "svc-predictor", scaled, "default")
        await world.settle()
        assert (await world.get(kinds.Deployment, "svc-predictor", "default")).spec["replicas"] == 4


async def test_the_status_follows_the_pods(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        service = await the_service(world)
        assert service.status["modelStatus"]["states"]["targetModelState"] == "Pending"
        assert service.status["clusterServingRuntimeName"] == "kserve-huggingfaceserver"
        await a_pod(world)

        async def now(status: dict[str, Any]) -> Any:
            await edit_status(
                world.store, kinds.Pod, Key("default", "p"), lambda i: i.raw.update(status=status)
            )
            await world.settle()
            return (await the_service(world)).status["modelStatus"]

        running = {
            "initContainerStatuses": [
                {"name": "storage-initializer", "state": {"running": {"startedAt": "x"}}}
            ]
        }
        assert (await now(running))["states"]["targetModelState"] == "Loading"
        said = 'retrying\n{"event": "failed", "message": "no such model"}\n'
        ended = {"exitCode": 1, "message": said, "finishedAt": "2026-01-31T12:00:00Z"}
        failing = {
            "initContainerStatuses": [
                {
                    "name": "storage-initializer",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": ended},
                }
            ]
        }
        told = await now(failing)
        assert told["transitionStatus"] == "BlockedByFailedLoad"
        assert told["lastFailureInfo"]["message"] == "no such model"
        assert told["lastFailureInfo"]["reason"] == "ModelLoadFailed"
        await world.deployment_is("svc-predictor", ready=1)
        told = await now({"conditions": [{"type": "Ready", "status": "True"}]})
        assert told["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
        assert told["transitionStatus"] == "UpToDate" and told["copies"]["totalCopies"] == 1


async def test_the_last_service_that_leaves_takes_claim_and_volume_along_and_the_next_gets_new_ones(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world)
        claim = await world.get(kinds.PersistentVolumeClaim, "iris-gpu1", "default")
        await world.delete(kinds.InferenceService, "svc", "default")
        for kind, name in ((kinds.Deployment, "svc-predictor"), (kinds.Service, "svc-predictor")):
            await world.delete(kind, name, "default")  # the garbage collector's part
        await world.store.delete(kinds.PersistentVolumeClaim, claim.key)
        await world.sweep()
        await world.settle()
        await world.sweep()
        await world.settle()
        assert "iris-gpu1-default" not in await world.names(kinds.PersistentVolume)
        assert (await world.get(kinds.LocalModelCache, "iris")).status["copies"] == {
            "available": 1,
            "total": 1,
        }
        await served(world, "again")
        volume = await world.get(kinds.PersistentVolume, "iris-gpu1-default")
        assert volume.spec["hostPath"] == {"path": f"/models/models/{KEY}", "type": "Directory"}


async def test_volumes_are_left_to_others_where_the_configuration_says_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(
            kinds.ConfigMap.new(
                "inferenceservice-config", "kserve", data={"localModel": '{"disableVolumeManagement": true}'}
            )
        )
        for item in shipped():
            if item.kind in ("ClusterServingRuntime",):
                await world.store.create(item)
        await world.node("a", **on("gpu1"))
        await world.apply(
            GROUP.format(name="gpu1") + "---" + CACHE.format(name="iris", uri=URI, groups="gpu1")
        )
        await world.settle()
        await served(world)
        assert await world.names(kinds.PersistentVolumeClaim, "default") == []


async def test_the_url_comes_from_the_configured_path(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        path = "/serving/{{ .Namespace }}/{{ .Name }}"
        ingress = f'{{"urlScheme": "http", "ingressDomain": "127.0.0.1:8", "pathTemplate": "{path}"}}'
        await prepared(world)
        await world.change(
            kinds.ConfigMap,
            "inferenceservice-config",
            lambda i: i.raw["data"].update(ingress=ingress),
            "kserve",
        )
        await served(world)
        service = await the_service(world)
        assert service.status["url"] == "http://127.0.0.1:8/serving/default/svc"
        assert service.status["address"]["url"] == service.status["url"]


async def test_a_custom_predictor_is_served_with_its_storage_uri_mounted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        await world.apply(f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: svc}}
spec:
  predictor:
    containers:
    - name: kserve-container
      image: my/server
      env: [{{name: STORAGE_URI, value: "{URI}"}}]
      ports: [{{containerPort: 9000}}]
""")
        await world.settle()
        spec = await pods_of(world)
        env = {e["name"]: e["value"] for e in spec["containers"][0]["env"]}
        assert env["STORAGE_URI"] == "/mnt/models"
        assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == "iris-gpu1"
        service = await world.get(kinds.Service, "svc-predictor", "default")
        assert service.spec["ports"][0]["targetPort"] == 9000


async def test_a_connection_names_the_bucket_and_the_service_the_path(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await world.apply("""
apiVersion: v1
kind: Secret
metadata: {name: storage-config}
stringData: {mine: '{"type": "s3", "bucket": "b", "endpoint_url": "http://minio:9000"}'}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: svc}
spec: {predictor: {model: {modelFormat: {name: huggingface}, storage: {key: mine, path: models/x}}}}
""")
        await world.settle()
        container = (await pods_of(world))["initContainers"][0]
        assert container["args"] == ["s3://b/models/x", "/mnt/models"]
        env = {e["name"]: e for e in container["env"]}
        assert env["STORAGE_CONFIG"]["valueFrom"]["secretKeyRef"] == {"name": "storage-config", "key": "mine"}


async def test_another_strategy_is_taken_over_without_a_rollout(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world)
        before = await served(world)

        def change(item: kinds.InferenceService) -> None:
            item.spec["predictor"]["deploymentStrategy"] = {"type": "Recreate"}

        await world.change(kinds.InferenceService, "svc", change, "default")
        await world.settle()
        assert (await world.get(kinds.Deployment, "svc-predictor", "default")).spec["strategy"] == {
            "type": "Recreate"
        }
        assert await pods_of(world) == before


@pytest.mark.parametrize(("later_s", "cached"), [(3, True), (60, False)])
async def test_a_service_applied_together_with_its_cache_finds_it_but_a_download_under_way_is_not_thrown_away(
    tmp_path: Path, later_s: int, cached: bool
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        await a_pod(world)
        state = {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
        running = {"initContainerStatuses": [{"name": "storage-initializer", "state": state}]}
        await edit_status(world.store, kinds.Pod, Key("default", "p"), lambda i: i.raw.update(status=running))
        world.clock.pass_s(later_s)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        assert ("initContainers" not in await pods_of(world)) is cached


async def test_pods_that_have_not_begun_go_over_to_a_cache_at_any_time(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world)
        world.clock.pass_s(3600)
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        assert "initContainers" not in await pods_of(world)


async def test_a_plan_that_somebody_wrote_shows_nothing_and_settles(tmp_path: Path) -> None:
    """A tenant may write annotations on the Deployment; what they name is made for those who have a right."""
    async with World(tmp_path) as world:
        await prepared(world)
        await served(world, uri="s3://elsewhere")
        await world.deployment_is("svc-predictor", ready=1)
        plan = {"mode": "cache", "cache": "other/theirs", "cache_uid": "u", "group": "gpu1", "key": "k" * 16}

        def forged(item: kinds.Deployment) -> None:
            item.meta["annotations"]["forebay.dev/storage-plan"] = json.dumps({**plan, "claim": "x"})

        await world.change(kinds.Deployment, "svc-predictor", forged, "default")
        await world.settle()
        await world.deployment_is("svc-predictor", ready=1)
        await world.settle()
        assert "theirs-gpu1-default" not in await world.names(kinds.PersistentVolume)
        claim = await world.get(kinds.PersistentVolumeClaim, "theirs-gpu1", "default")
        assert not claim.deleting, "it would be made and let go for ever"


async def test_neither_events_nor_conditions_quote_what_an_address_hides(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        await served(world, uri="https://me:pass-1@host/model.gguf?X-Amz-Signature=sig-1")
        told = [e.raw["message"] for e in (await world.store.list(kinds.Event)).items]
        assert any("each pod downloads https://***@host/model.gguf" in text for text in told)
        status = (await the_service(world)).status
        assert "pass-1" not in f"{told}{status}" and "sig-1" not in f"{told}{status}"
