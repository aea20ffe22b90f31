"""Objects that every installation starts with: runtimes, the default downloader, the configuration.

Names and formats are KServe's where it has them. What is there already is left as people made it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from forebay.api import names
from forebay.api.kinds import (
    ClusterServingRuntime,
    ClusterStorageContainer,
    ConfigMap,
    Namespace,
    ServiceAccount,
)
from forebay.api.meta import Json, Resource

_INITIALIZER = "kserve/storage-initializer:latest"


def shipped() -> Sequence[Resource]:
    """The objects, in the order in which they must be made."""
    return (
        Namespace.new(names.SYSTEM_NAMESPACE),
        Namespace.new(names.JOB_NAMESPACE),
        ServiceAccount.new("forebay-node", names.SYSTEM_NAMESPACE),
        config(),
        storage_container(),
        huggingface_runtime(),
        llama_runtime(),
    )


def config() -> ConfigMap:
    """inferenceservice-config with KServe's shipped values, except that the cache is on."""
    sections: dict[str, Json] = {
        "localModel": {
            "enabled": True,
            "jobNamespace": names.JOB_NAMESPACE,
            "defaultJobImage": _INITIALIZER,
            "fsGroup": 1000,
            "jobTTLSecondsAfterFinished": 3600,
            "reconcilationFrequencyInSecs": 60,
            "disableVolumeManagement": False,
        },
        "storageInitializer": {
            "image": _INITIALIZER,
            "cpuRequest": "100m",
            "cpuLimit": "1",
            "memoryRequest": "100Mi",
            "memoryLimit": "1Gi",
        },
        "credentials": {
            "storageSpecSecretName": "storage-config",
            "storageSecretNameAnnotation": names.STORAGE_SECRET,
            "gcs": {"gcsCredentialFileName": "gcloud-application-credentials.json"},
            "s3": {
                "s3AccessKeyIDName": "AWS_ACCESS_KEY_ID",
                "s3SecretAccessKeyName": "AWS_SECRET_ACCESS_KEY",
            },
        },
        "ingress": {"ingressDomain": "example.com", "urlScheme": "http"},
    }
    data = {key: json.dumps(section, indent=1) for key, section in sections.items()}
    return ConfigMap.new(names.CONFIG_MAP, names.SYSTEM_NAMESPACE, data=data)


def storage_container() -> ClusterStorageContainer:
    """The downloader of init containers; its formats are those that `forebay pull` knows."""
    prefixes = ("gs://", "s3://", "hdfs://", "hf://", "modelscope://", "webhdfs://", "oci://", "oci+fetch://",
                "az://", "azure://")  # fmt: skip
    return ClusterStorageContainer.new(
        "default",
        spec={
            "container": {
                "name": "storage-initializer",
                "image": _INITIALIZER,
                "resources": {
                    "requests": {"cpu": "100m", "memory": "100Mi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                },
            },
            "supportedUriFormats": [*({"prefix": p} for p in prefixes), {"regex": "https?://(.+)/(.+)"}],
            "supportsMultiModelDownload": True,
            "workloadType": "initContainer",
        },
    )


def huggingface_runtime() -> ClusterServingRuntime:
    """KServe's runtime of that name; its image stands for our engine where images are mapped."""
    return _runtime(
        "kserve-huggingfaceserver", "kserve/huggingfaceserver:latest",
        [{"name": "huggingface", "version": "1", "autoSelect": True, "priority": 1}],
    )  # fmt: skip


def llama_runtime() -> ClusterServingRuntime:
    """Our engine under its own name."""
    return _runtime(
        "forebay-llama", "forebay/llama:latest",
        [
            {"name": "gguf", "autoSelect": True, "priority": 1},
            {"name": "llama", "autoSelect": True, "priority": 1},
            {"name": "huggingface", "autoSelect": True},
        ],
    )  # fmt: skip


def _runtime(name: str, image: str, formats: list[Json]) -> ClusterServingRuntime:
    container: Json = {
        "name": names.MODEL_CONTAINER,
        "image": image,
        "args": ["--model_name={{.Name}}", f"--model_dir={names.MODEL_MOUNT}"],
        "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": 8080},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
    }
    return ClusterServingRuntime.new(
        name,
        annotations={names.PREPARE: ".safetensors"},
        spec={
            "supportedModelFormats": formats,
            "protocolVersions": ["v2", "v1"],
            "containers": [container],
        },
    )
