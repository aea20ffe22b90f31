"""Clients that nobody here wrote, unchanged, on a whole home: openai, kubernetes, and KServe's SDK."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from tests.seeds.objects import cache, downloader, node_group, service
from tests.seeds.world import HomeUnderTest, Hub, eventually, home, hub, put_model
from tests.service.kubectl import find_kubectl

from forebay.cli import smollm2

REPO = "acme/chat"
GROUP, V1, ALPHA = "serving.kserve.io", "v1beta1", "v1alpha1"
SDK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay/kserve-sdk/bin/python"
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_kubectl() is None, reason="no kubectl on this machine; KUBECTL names one"),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    put_model(folder, REPO, smollm2.ensure())
    with hub(folder) as running:
        yield running


@pytest.fixture(scope="module")
def farm(origin: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home")) as running:
        running.apply(
            downloader("acme", origin.url, ""),
            node_group("workers"),
            cache("chat", f"hf://{REPO}", "workers"),
            service("chat", f"hf://{REPO}"),
        )
        running.kubectl("wait", "--for=condition=Ready", "isvc/chat", "--timeout=60s")
        yield running


@pytest.fixture
def ai(farm: HomeUnderTest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{farm.facts['gateway']}/openai/v1", api_key="-", max_retries=0) as found:
        yield found


@pytest.fixture
def api(farm: HomeUnderTest) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(farm.data / "kubeconfig")) as found:
        yield found


def test_openai_lists_models_chats_streams_and_completes(ai: openai.OpenAI) -> None:
    assert "chat" in [model.id for model in ai.models.list()]
    asked: Any = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    said = ai.chat.completions.create(model="chat", messages=asked, temperature=0, max_tokens=32)
    assert "Paris" in (said.choices[0].message.content or "")
    assert said.usage is not None and said.usage.total_tokens == (
        said.usage.prompt_tokens + said.usage.completion_tokens
    )
    options: Any = {"include_usage": True}
    with ai.chat.completions.create(
        model="chat", messages=asked, temperature=0, max_tokens=32, stream=True, stream_options=options
    ) as stream:
        pieces = list(stream)
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert text == said.choices[0].message.content
    assert pieces[-1].usage is not None and pieces[-1].usage.total_tokens == said.usage.total_tokens
    done = ai.completions.create(model="chat", prompt="1 2 3 4", max_tokens=4, temperature=0, n=1)
    assert done.choices[0].finish_reason in ("length", "stop")


def test_openai_gets_embeddings_in_both_encodings(ai: openai.OpenAI) -> None:
    plain = ai.embeddings.create(model="chat", input=["a house", "a home"], encoding_format="float")
    packed = ai.embeddings.create(model="chat", input=["a house", "a home"])  # the client asks for base64
    assert [item.index for item in plain.data] == [0, 1]
    assert len(plain.data[0].embedding) == len(packed.data[1].embedding) > 100
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)


def test_openai_is_told_of_a_model_that_is_not_there(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ai.completions.create(model="nobody", prompt="hello")
    assert "nobody" in str(refused.value)


def test_kubernetes_reads_writes_and_watches_services(farm: HomeUnderTest, api: client.ApiClient) -> None:
    custom, core = client.CustomObjectsApi(api), client.CoreV1Api(api)
    made = custom.create_namespaced_custom_object(
        GROUP, V1, "default", "inferenceservices", service("second", f"hf://{REPO}")
    )
    for event in watch.Watch().stream(
        custom.list_namespaced_custom_object, GROUP, V1, "default", "inferenceservices", timeout_seconds=60,
        field_selector="metadata.name=second", resource_version=made["metadata"]["resourceVersion"],
    ):  # fmt: skip
        conditions = event["object"].get("status", {}).get("conditions", [])
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            break
    else:
        raise AssertionError("the watch ended before the service was ready")
    pods = core.list_namespaced_pod("default", label_selector="serving.kserve.io/inferenceservice=second")
    assert [pod.status.phase for pod in pods.items] == ["Running"]
    body = {"metadata": {"annotations": {"note": "patched"}}}
    changed = custom.patch_namespaced_custom_object(GROUP, V1, "default", "inferenceservices", "second", body)
    assert changed["metadata"]["annotations"]["note"] == "patched"
    custom.delete_namespaced_custom_object(GROUP, V1, "default", "inferenceservices", "second")

    def gone() -> bool:
        try:
            client.AppsV1Api(api).read_namespaced_deployment("second-predictor", "default")
        except ApiException as error:
            return bool(error.status == 404)
        return False

    eventually(gone, what="the Deployment of the deleted service to go")


def test_kubernetes_is_refused_with_a_reason_and_causes(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    with pytest.raises(ApiException) as refused:
        custom.create_cluster_custom_object(
            GROUP, ALPHA, "localmodelcaches", cache("bad", "pvc://a/b", "workers")
        )
    assert refused.value.status == 422 and '"reason":"Invalid"' in refused.value.body.replace(" ", "")
    with pytest.raises(ApiException) as missing:
        custom.get_cluster_custom_object(GROUP, ALPHA, "localmodelcaches", "nobody")
    assert missing.value.status == 404


SDK_STORY = """
import sys
from kubernetes import client
from kserve import KServeClient
from kserve.models import (
    V1alpha1LocalModelCache, V1alpha1LocalModelCacheSpec, V1alpha1LocalModelNodeGroup,
    V1alpha1LocalModelNodeGroupSpec, V1beta1InferenceService, V1beta1InferenceServiceSpec, V1beta1ModelFormat,
    V1beta1ModelSpec, V1beta1PredictorSpec,
)
URI = sys.argv[2]
kserve = KServeClient(config_file=sys.argv[1])
affinity = client.V1VolumeNodeAffinity(required=client.V1NodeSelector(node_selector_terms=[
    client.V1NodeSelectorTerm(match_expressions=[
        client.V1NodeSelectorRequirement(key="kubernetes.io/hostname", operator="Exists")])]))
group = V1alpha1LocalModelNodeGroup(
    api_version="serving.kserve.io/v1alpha1", kind="LocalModelNodeGroup",
    metadata=client.V1ObjectMeta(name="sdk"),
    spec=V1alpha1LocalModelNodeGroupSpec(
        storage_limit="1Gi",
        persistent_volume_spec=client.V1PersistentVolumeSpec(
            access_modes=["ReadWriteOnce"], storage_class_name="local-storage", capacity={"storage": "1Gi"},
            local=client.V1LocalVolumeSource(path="/sdk"), node_affinity=affinity),
        persistent_volume_claim_spec=client.V1PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"], storage_class_name="local-storage",
            resources=client.V1VolumeResourceRequirements(requests={"storage": "1Gi"}))))
kserve.create_local_model_node_group(group)
assert kserve.get_local_model_node_group("sdk")["spec"]["storageLimit"] == "1Gi"
kserve.create_local_model_cache(V1alpha1LocalModelCache(
    api_version="serving.kserve.io/v1alpha1", kind="LocalModelCache",
    metadata=client.V1ObjectMeta(name="sdk"),
    spec=V1alpha1LocalModelCacheSpec(model_size="200Mi", node_groups=["sdk"], source_model_uri=URI)))
kserve.wait_local_model_cache_ready("sdk", ["forebay"], timeout_seconds=60, polling_interval=1)
predictor = V1beta1PredictorSpec(min_replicas=1, model=V1beta1ModelSpec(
    model_format=V1beta1ModelFormat(name="huggingface"), args=["--model_name=sdk"], storage_uri=URI,
    resources=client.V1ResourceRequirements(requests={"cpu": "100m", "memory": "256Mi"})))
service = V1beta1InferenceService(
    api_version="serving.kserve.io/v1beta1", kind="InferenceService",
    metadata=client.V1ObjectMeta(name="sdk", namespace="default"),
    spec=V1beta1InferenceServiceSpec(predictor=predictor))
kserve.create(service, watch=True, timeout_seconds=60)
kserve.wait_isvc_ready("sdk", namespace="default", timeout_seconds=60, polling_interval=1)
assert kserve.is_isvc_ready("sdk", namespace="default")
found = kserve.get("sdk", namespace="default")
assert found["status"]["url"].endswith("/serving/default/sdk"), found["status"]
service.metadata.annotations = {"a": "b"}
kserve.patch("sdk", service, namespace="default")
try:
    kserve.delete_local_model_cache("sdk")
except RuntimeError as refused:
    assert "is being used" in str(refused), refused
else:
    raise AssertionError("a cache in use was deleted")
kserve.delete("sdk", namespace="default")
kserve.delete_local_model_cache("sdk")
kserve.delete_local_model_node_group("sdk")
print("done")
"""


@pytest.mark.skipif(not SDK.exists(), reason="KServe's SDK is 300 MB: `make test-clients` fetches it")
def test_the_sdk_of_kserve_caches_serves_and_deletes(farm: HomeUnderTest, origin: Hub) -> None:
    words = [str(SDK), "-W", "ignore", "-c", SDK_STORY, str(farm.data / "kubeconfig"), f"hf://{REPO}:main"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-2000:] + done.stderr[-3000:]
