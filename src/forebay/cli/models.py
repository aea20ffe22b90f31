"""The objects that serve one model: what `forebay run` applies for a person."""

from __future__ import annotations

import os
import re

from forebay.api.kinds import (
    ClusterStorageContainer,
    InferenceService,
    LocalModelCache,
    LocalModelNodeGroup,
    Secret,
)
from forebay.api.meta import Json, Resource
from forebay.sources.hf import token_of

GROUP, JOBS = "local", "kserve-localmodel-jobs"
FOLDER = "/var/lib/forebay/models"  # of its own: two groups over one folder clear away each other's models
NAME_MAX = 40  # room for the suffixes of Deployments, pods and jobs below 63


def name_for(uri: str) -> str:
    """A service's name from a URI: hf://Org/Some_Model:rev -> some-model."""
    last = re.split(r"[/]", uri.rstrip("/"))[-1].split(":")[0].lower()
    name = re.sub(r"[^a-z0-9]+", "-", last).strip("-")
    return ("m-" + name if not name[:1].isalpha() else name)[:NAME_MAX].rstrip("-")


def objects_for(
    uri: str, name: str, namespace: str, *, replicas: int, cached: bool = False
) -> list[Resource]:
    """Node group, storage container (with this person's token, if there is one), cache and service;
    neither group nor cache where one is there (`cached`)."""
    kept = [] if cached else [node_group(), cache(uri, name)]
    return [*credentials(), *kept, service(uri, name, namespace, replicas=replicas)]


def credentials() -> list[Resource]:
    """The hub's token and mirror as this person's environment names them, where download jobs find them."""
    found_token = token_of(os.environ)
    token, endpoint = found_token.reveal() if found_token else "", os.environ.get("HF_ENDPOINT")
    if not token and not endpoint:
        return []
    env: list[Json] = []
    found: list[Resource] = []
    if token:
        found.append(Secret.new("hf-secret", JOBS, stringData={"HF_TOKEN": token}))
        env.append(
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN"}}}
        )
    if endpoint:
        env.append({"name": "HF_ENDPOINT", "value": endpoint})
    spec = {
        "container": {
            "name": "storage-initializer",
            "image": "kserve/storage-initializer:latest",
            "env": env,
        },
        "supportedUriFormats": [{"prefix": "hf://"}],
        "workloadType": "localModelDownloadJob",
    }
    return [*found, ClusterStorageContainer.new("hf-hub", spec=spec)]


def node_group() -> LocalModelNodeGroup:
    """Every node of this home."""
    volume = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "capacity": {"storage": "1T"},
        "local": {"path": FOLDER},
        "storageClassName": "local-storage",
        "nodeAffinity": {
            "required": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
                ]
            }
        },
    }
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "1T"}},
        "storageClassName": "local-storage",
    }
    spec = {"storageLimit": "1T", "persistentVolumeSpec": volume, "persistentVolumeClaimSpec": claim}
    return LocalModelNodeGroup.new(GROUP, spec=spec)


def cache(uri: str, name: str) -> LocalModelCache:
    """The model on every node of the group; its size is measured (a claim over nothing would be refused)."""
    return LocalModelCache.new(name, spec={"sourceModelUri": uri, "nodeGroups": [GROUP]})


def service(uri: str, name: str, namespace: str, *, replicas: int) -> InferenceService:
    """An OpenAI endpoint that serves it under `name`."""
    model = {
        "modelFormat": {"name": "huggingface"},
        "args": [f"--model_name={name}"],
        "storageUri": uri,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
    }
    return InferenceService.new(
        name, namespace, spec={"predictor": {"minReplicas": replicas, "model": model}}
    )
