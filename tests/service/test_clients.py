"""Clients that nobody here wrote, unchanged, on a whole home: openai and kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from tests.seeds.objects import cache, downloader, node_group, service
from tests.seeds.world import HomeUnderTest, Hub, eventually, home, hub, put_model
from tests.service.kubectl import needs_kubectl

from forebay.cli import smollm2

REPO = "acme/chat"
GROUP, V1, ALPHA = "serving.kserve.io", "v1beta1", "v1alpha1"
pytestmark = [
    pytest.mark.timeout(180),
    needs_kubectl,
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
