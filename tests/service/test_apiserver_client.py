"""The official Python client, which nobody here wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from tests.service.kubectl import ApiServer


@pytest.fixture
def api(apiserver: ApiServer) -> Iterator[Any]:
    made = config.new_client_from_config(str(apiserver.config()))
    yield made
    made.close()


def test_typed_objects_go_round(api: Any, ns: str) -> None:
    apps = client.AppsV1Api(api)
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
    )
    spec = client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template
    )
    made = apps.create_namespaced_deployment(ns, client.V1Deployment(metadata={"name": "d"}, spec=spec))
    assert made.metadata.generation == 1 and made.spec.strategy.type == "RollingUpdate"
    apps.patch_namespaced_deployment_scale("d", ns, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment_scale("d", ns).spec.replicas == 3
    apps.patch_namespaced_deployment_status("d", ns, {"status": {"replicas": 3}})
    assert apps.read_namespaced_deployment("d", ns).status.replicas == 3
    with pytest.raises(ApiException) as caught:
        apps.create_namespaced_deployment(ns, client.V1Deployment(metadata={"name": "d"}, spec=spec))
    assert caught.value.status == 409
    assert apps.delete_namespaced_deployment("d", ns)["status"] == "Success"


def test_a_watch_of_the_client_sees_changes_and_ends(api: Any, ns: str) -> None:
    core = client.CoreV1Api(api)

    def write() -> None:
        for name in ("a", "b"):
            core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata={"name": name}))

    writer = threading.Thread(target=write)
    seen, stream = [], watch.Watch()
    writer.start()
    for event in stream.stream(core.list_namespaced_config_map, ns, timeout_seconds=10):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            stream.stop()
    writer.join(10)
    assert seen == [("ADDED", "a"), ("ADDED", "b")]


def test_custom_objects_and_pages(api: Any, ns: str) -> None:
    custom = client.CustomObjectsApi(api)
    body = {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "i"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "gguf"}, "storageUri": "hf://a/b"}}},
    }  # fmt: skip
    place = ("serving.kserve.io", "v1beta1", ns, "inferenceservices")
    made = custom.create_namespaced_custom_object(*place, body)
    assert made["metadata"]["uid"]
    custom.patch_namespaced_custom_object(*place, "i", {"metadata": {"labels": {"x": "y"}}})
    listed = custom.list_namespaced_custom_object(*place, label_selector="x=y", limit=1)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["i"]
    assert custom.delete_namespaced_custom_object(*place, "i")["status"] == "Success"


def test_the_dynamic_client_finds_kinds_by_discovery(api: Any, ns: str) -> None:
    dynamic = DynamicClient(api)
    kind = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    kind.create(body={"metadata": {"name": "c"}, "data": {"k": "v"}}, namespace=ns)
    assert kind.get(name="c", namespace=ns).data.k == "v"
    caches = dynamic.resources.get(api_version="serving.kserve.io/v1alpha1", kind="LocalModelCache")
    assert caches.namespaced is False and caches.get().items == []


def test_logs_and_version(api: Any, ns: str) -> None:
    core = client.CoreV1Api(api)
    container = client.V1Container(name="c", image="i")
    spec = client.V1PodSpec(containers=[container], node_name="n")
    core.create_namespaced_pod(ns, client.V1Pod(metadata={"name": "p"}, spec=spec))
    status = {
        "name": "c",
        "ready": True,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
        "state": {"running": {}},
    }
    core.patch_namespaced_pod_status("p", ns, {"status": {"containerStatuses": [status]}})
    assert core.read_namespaced_pod_log("p", ns).startswith("p/c line 1")
    assert client.VersionApi(api).get_code().major == "1"
