"""Manifests of the kinds of KServe's guide, with other names."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
SERVING = "serving.kserve.io"


def thing(api: str, kind: str, name: str, /, namespace: str = "", **rest: Any) -> Object:
    """An object of any kind; `rest` is spec, data and the like."""
    meta: Object = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **rest}


def secret(name: str, namespace: str, **values: str) -> Object:
    """A Secret with these entries."""
    return thing("v1", "Secret", name, namespace, type="Opaque", stringData=values)


def downloader(name: str, hub: str, token: str, *, workload: str = "localModelDownloadJob") -> Object:
    """A ClusterStorageContainer whose environment names a hub and the Secret with its token ("" for none)."""
    env: list[Object] = [{"name": "HF_ENDPOINT", "value": hub}]
    if token:
        reference = {"name": token, "key": "HF_TOKEN", "optional": False}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    container = {"name": "storage-initializer", "image": "kserve/storage-initializer:latest", "env": env}
    spec = {
        "container": container,
        "supportedUriFormats": [{"prefix": "hf://"}],
        "workloadType": workload,
    }
    return thing(f"{SERVING}/v1alpha1", "ClusterStorageContainer", name, spec=spec)


def node_group(name: str, *nodes: str, path: str = "/models", limit: str = "10Gi") -> Object:
    """A group of the nodes with these names; all nodes if none is named."""
    by_name: Object = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    if nodes:
        by_name |= {"operator": "In", "values": list(nodes)}
    volume = {
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "capacity": {"storage": limit},
        "local": {"path": path}, "storageClassName": "local-storage",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [by_name]}]}},
    }  # fmt: skip
    claim = {
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "local-storage",
        "resources": {"requests": {"storage": limit}},
    }  # fmt: skip
    spec = {"storageLimit": limit, "persistentVolumeSpec": volume, "persistentVolumeClaimSpec": claim}
    return thing(f"{SERVING}/v1alpha1", "LocalModelNodeGroup", name, spec=spec)


def cache(
    name: str, uri: str, group: str, *, namespace: str = "", size: str = "200Mi", **more: Any
) -> Object:
    """A LocalModelCache, or a LocalModelNamespaceCache if a namespace is given."""
    kind = "LocalModelNamespaceCache" if namespace else "LocalModelCache"
    spec = {"sourceModelUri": uri, "modelSize": size, "nodeGroups": [group], **more}
    return thing(f"{SERVING}/v1alpha1", kind, name, namespace, spec=spec)


def service(
    name: str, uri: str, *, namespace: str = "default", args: tuple[str, ...] = (), **note: str
) -> Object:
    """An InferenceService of the Hugging Face format; `note` is annotations without their prefixes."""
    model = {
        "modelFormat": {"name": "huggingface"}, "args": list(args or (f"--model_name={name}",)),
        "storageUri": uri, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
    }  # fmt: skip
    found = thing(
        f"{SERVING}/v1beta1", "InferenceService", name, namespace, spec={"predictor": {"model": model}}
    )
    prefixes = {"stop": "serving.kserve.io/", "when-uncached": "forebay.dev/"}
    if note:
        named = {key.replace("_", "-"): value for key, value in note.items()}
        found["metadata"]["annotations"] = {prefixes[key] + key: value for key, value in named.items()}
    return found
