"""The guide's path: objects in, LocalModelNode, volumes, Job, labels, Deployment and Service out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.serving_world import JOBS, World, condition
from tests.unit.control import guide

from forebay.api import kinds

pytestmark = pytest.mark.anyio


async def test_the_guide_runs_from_the_node_group_to_a_service_that_waits_for_its_copy(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.node("kind-worker", **guide.GPU)
        await world.node("kind-other")
        await world.apply(guide.STORAGE + "---" + guide.GROUP + "---" + guide.CACHE + "---" + guide.RUNTIME)
        await world.settle()

        agents = await world.get(kinds.DaemonSet, "workers-agent", "kserve")
        assert agents.spec["template"]["spec"]["volumes"][0]["hostPath"]["path"] == "/models"
        (agent,) = agents.spec["template"]["spec"]["containers"]
        assert [(p["name"], p["containerPort"]) for p in agent["ports"]] == [("metrics", 9102)]
        asked = agent["readinessProbe"]["httpGet"]
        assert (asked["path"], asked["port"]) == ("/healthz", "metrics")
        listed = await world.get(kinds.LocalModelNode, "kind-worker")
        entry = {"sourceModelUri": guide.URI, "modelName": guide.NAME, "nodeGroup": "workers"}
        entry["cacheUid"] = (await world.get(kinds.LocalModelCache, guide.NAME)).uid
        assert listed.spec["localModels"] == [entry]
        assert await world.names(kinds.LocalModelNode) == ["kind-worker"]

        volume = await world.get(kinds.PersistentVolume, f"{guide.NAME}-download")
        claim = await world.get(kinds.PersistentVolumeClaim, guide.NAME, JOBS)
        assert volume.spec["capacity"] == {"storage": "10Gi"}
        assert volume.spec["local"] == {"path": "/models"}
        assert claim.spec["volumeName"] == volume.name
        assert claim.spec["resources"]["requests"] == {"storage": "10Gi"}

        job = await world.get(kinds.Job, f"{guide.NAME}-kind-worker", JOBS)
        pod = job.spec["template"]["spec"]
        container = pod["containers"][0]
        assert container["args"] == [guide.URI, "/mnt/models"]
        env = {e["name"]: e for e in container["env"]}
        assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "hf-secret"
        assert env["FOREBAY_STORAGE_KEY"]["value"] == guide.KEY
        assert env["FOREBAY_MODEL_SIZE"]["value"] == str(10 * 2**30)
        assert container["resources"]["limits"] == {"memory": "1Gi", "cpu": "1"}
        assert container["volumeMounts"] == [{"name": "kserve-pvc-source", "mountPath": "/mnt/models"}]
        assert pod["nodeSelector"] == {"kubernetes.io/hostname": "kind-worker"}
        assert job.labels["model"] == guide.NAME and job.labels["node"] == "kind-worker"
        assert job.spec["ttlSecondsAfterFinished"] == 3600

        await world.apply(guide.SERVICE)
        await world.settle()
        service = await world.get(kinds.InferenceService, "huggingface-llama3", "default")
        assert condition(service, "CacheHit")["reason"] == "WaitingForCache"
        assert condition(service, "Ready")["status"] == "False"
        deployment = await world.get(kinds.Deployment, "huggingface-llama3-predictor", "default")
        template = deployment.spec["template"]["spec"]
        terms = template["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert terms["nodeSelectorTerms"] == [
            {
                "matchExpressions": [
                    {"key": f"localmodel.forebay.dev/{guide.KEY}", "operator": "In", "values": ["workers"]}
                ]
            }
        ]

        await world.agent_says(
            "kind-worker", guide.NAME, "ModelDownloaded", revision="abc", bytesTotal=7, bytesDone=7
        )
        await world.job_ends(job.name, "Complete")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, guide.NAME)
        assert cache.status["copies"] == {"available": 1, "total": 1}
        assert cache.status["nodeStatus"] == {"kind-worker": "NodeDownloaded"}
        assert cache.status["revision"] == "abc"
        assert condition(cache, "Ready")["status"] == "True"
        node = await world.get(kinds.Node, "kind-worker")
        assert node.labels[f"localmodel.forebay.dev/{guide.KEY}"] == "workers"


async def test_a_cached_service_reads_its_own_model_only_and_becomes_ready(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("kind-worker", **guide.GPU)
        await world.apply(guide.GROUP + "---" + guide.CACHE + "---" + guide.RUNTIME)
        await world.settle()
        await world.agent_says("kind-worker", guide.NAME, "ModelDownloaded", revision="abc")
        await world.settle()
        await world.apply(guide.SERVICE)
        await world.settle()

        claim = await world.get(kinds.PersistentVolumeClaim, f"{guide.NAME}-workers", "default")
        volume = await world.get(kinds.PersistentVolume, f"{guide.NAME}-workers-default")
        assert claim.spec["volumeName"] == volume.name
        assert volume.spec["local"] == {"path": f"/models/models/{guide.KEY}"}
        assert volume.spec["mountOptions"] == ["ro"]
        deployment = await world.get(kinds.Deployment, "huggingface-llama3-predictor", "default")
        spec = deployment.spec["template"]["spec"]
        assert spec["volumes"] == [
            {
                "name": "kserve-pvc-source",
                "persistentVolumeClaim": {"claimName": claim.name, "readOnly": True},
            }
        ]
        container = spec["containers"][0]
        assert container["volumeMounts"] == [
            {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True}
        ]
        assert container["args"] == ["--model_name=huggingface-llama3", "--model_name=llama3"]
        assert not [c for c in spec.get("initContainers") or [] if c["name"] == "storage-initializer"]

        await world.deployment_is(deployment.name, ready=1)
        await world.settle()
        service = await world.get(kinds.InferenceService, "huggingface-llama3", "default")
        assert {c["type"]: c["status"] for c in service.status["conditions"]} == {
            "PredictorReady": "True",
            "IngressReady": "True",
            "Ready": "True",
            "CacheHit": "True",
        }
        assert service.status["url"] == "http://huggingface-llama3-default.example.com"
        assert service.labels["internal.serving.kserve.io/localmodel"] == guide.NAME
        assert service.annotations["internal.serving.kserve.io/localmodel-pvc-name"] == claim.name
        cache = await world.get(kinds.LocalModelCache, guide.NAME)
        assert cache.status["inferenceServices"] == [{"namespace": "default", "name": "huggingface-llama3"}]
