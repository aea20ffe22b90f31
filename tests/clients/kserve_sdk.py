"""KServe's own SDK against a running home: `python kserve_sdk.py KUBECONFIG URI`, in its own environment.

Creates node group, cache and service with KServeClient, waits as the SDK waits, patches, deletes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from kserve import (
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
)
from kserve.constants import constants
from kserve.models import (
    V1alpha1LocalModelCache,
    V1alpha1LocalModelCacheSpec,
    V1alpha1LocalModelNodeGroup,
    V1alpha1LocalModelNodeGroupSpec,
)
from kubernetes import client as k8s

NODE = "forebay"


def group() -> V1alpha1LocalModelNodeGroup:
    terms = [
        k8s.V1NodeSelectorTerm(
            match_expressions=[
                k8s.V1NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[NODE])
            ]
        )
    ]
    volume = k8s.V1PersistentVolumeSpec(
        access_modes=["ReadWriteOnce"],
        capacity={"storage": "2Gi"},
        local=k8s.V1LocalVolumeSource(path="/models"),
        storage_class_name="local-storage",
        node_affinity=k8s.V1VolumeNodeAffinity(required=k8s.V1NodeSelector(node_selector_terms=terms)),
    )
    claim = k8s.V1PersistentVolumeClaimSpec(
        access_modes=["ReadWriteOnce"],
        resources=k8s.V1VolumeResourceRequirements(requests={"storage": "2Gi"}),
        storage_class_name="local-storage",
    )
    return V1alpha1LocalModelNodeGroup(
        api_version=constants.KSERVE_V1ALPHA1,
        kind="LocalModelNodeGroup",
        metadata=k8s.V1ObjectMeta(name="sdk"),
        spec=V1alpha1LocalModelNodeGroupSpec(
            storage_limit="2Gi", persistent_volume_spec=volume, persistent_volume_claim_spec=claim
        ),
    )


def cache(uri: str) -> V1alpha1LocalModelCache:
    return V1alpha1LocalModelCache(
        api_version=constants.KSERVE_V1ALPHA1,
        kind="LocalModelCache",
        metadata=k8s.V1ObjectMeta(name="sdk-model"),
        spec=V1alpha1LocalModelCacheSpec(model_size="200Mi", node_groups=["sdk"], source_model_uri=uri),
    )


def service(uri: str) -> V1beta1InferenceService:
    model = V1beta1ModelSpec(
        model_format=V1beta1ModelFormat(name="huggingface"),
        storage_uri=uri,
        args=["--model_name=sdk"],
        resources=k8s.V1ResourceRequirements(requests={"cpu": "100m", "memory": "256Mi"}),
    )
    return V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1,
        kind="InferenceService",
        metadata=k8s.V1ObjectMeta(name="sdk-service", namespace="default"),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(min_replicas=1, model=model)),
    )


def gone(look: Any, *, deadline_s: float = 60.0) -> None:
    """Return when `look` raises, as the SDK does for what is not there."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            look()
        except RuntimeError:
            return
        time.sleep(0.2)
    raise AssertionError("still there")


def main() -> None:
    kubeconfig, uri = sys.argv[1:]
    kserve = KServeClient(config_file=kubeconfig)
    kserve.create_local_model_node_group(group())
    kserve.create_local_model_cache(cache(uri))
    kserve.wait_local_model_cache_ready("sdk-model", [NODE], timeout_seconds=60, polling_interval=1)
    assert kserve.is_local_model_cache_ready("sdk-model", [NODE])
    kserve.create(service(uri))
    kserve.wait_isvc_ready("sdk-service", namespace="default", timeout_seconds=60, polling_interval=1)
    found: dict[str, Any] = kserve.get("sdk-service", namespace="default")
    assert found["status"]["url"].startswith("http://127.0.0.1:")
    changed = V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1,
        kind="InferenceService",
        metadata=k8s.V1ObjectMeta(name="sdk-service", namespace="default", labels={"from": "sdk"}),
        spec=None,
    )
    assert kserve.patch("sdk-service", changed, namespace="default")["metadata"]["labels"]["from"] == "sdk"
    print(found["status"]["url"])
    kserve.delete("sdk-service", namespace="default")
    gone(lambda: kserve.get("sdk-service", namespace="default"))
    kserve.delete_local_model_cache("sdk-model")
    gone(lambda: kserve.get_local_model_cache("sdk-model"))
    kserve.delete_local_model_node_group("sdk")


if __name__ == "__main__":
    main()
