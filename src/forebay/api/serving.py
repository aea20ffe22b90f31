"""Typed specs and statuses of our own kinds, and the structural schemas made from them.

Field names, required fields, enums and messages are KServe's (serving.kserve.io v1alpha1 and v1beta1).
What Forebay adds is optional and marked "ours".
"""

from __future__ import annotations

from pydantic import Field

from forebay.api import kinds
from forebay.api.isvc import Condition, InferenceServiceSpec, InferenceServiceStatus
from forebay.api.meta import Json, Resource
from forebay.api.pods import Container
from forebay.api.states import ModelState, NodeState
from forebay.api.structural import (
    Fields,
    Free,
    FreeList,
    Immutable,
    Int32,
    Int64,
    Quantity,
    Strings,
    Time,
    described,
    object_schema,
)  # fmt: skip


class StorageSpec(Fields):
    """spec.storage of a cache: which entry of the storage secret, and what overrides it."""

    key: str | None = None
    parameters: Strings | None = None


class CacheSpec(Fields):
    """spec of LocalModelCache and LocalModelNamespaceCache. `modelSize` is optional here (ours): it is
    measured."""

    source_model_uri: str = Field(json_schema_extra=Immutable)  # type: ignore[arg-type]
    model_size: Quantity | None = None
    node_groups: list[str] = described(minItems=1)
    service_account_name: str | None = None
    storage: StorageSpec | None = None


class CacheCopies(Fields):
    """status.copies: nodes counted."""

    available: int | None = None
    total: int | None = None
    failed: int | None = None


class NamespacedName(Fields):
    """A service that uses the cache."""

    namespace: str | None = None
    name: str | None = None


class NodeProgress(Fields):
    """status.nodes[node] of a cache (ours): bytes, bytes a second, seconds."""

    revision: str | None = None
    bytes_done: Int64 | None = None
    bytes_total: Int64 | None = None
    rate: Int64 | None = None
    eta_seconds: Int64 | None = None
    source: str | None = None
    message: str | None = None
    reason: str | None = None
    attempts: Int32 | None = None
    next_attempt_time: Time | None = None
    job: str | None = None


class Refresh(Fields):
    """status.refresh of a cache (ours): the answer to the last request to resolve its name anew."""

    requested: str | None = None  # the request's time, as it was given
    revision: str | None = None  # what the name meant then; empty while nobody knows
    message: str | None = None


class CacheStatus(Fields):
    """status of both cache kinds. Ours: revision, storageKey, bytes, progress, nodes, refresh,
    conditions, observedGeneration."""

    node_status: dict[str, NodeState] | None = None
    copies: CacheCopies | None = None
    inference_services: list[NamespacedName] | None = None
    llm_inference_services: list[NamespacedName] | None = None
    revision: str | None = None
    bytes: Int64 | None = None
    progress: str | None = None
    storage_key: str | None = None
    nodes: dict[str, NodeProgress] | None = None
    refresh: Refresh | None = None
    conditions: list[Condition] | None = None
    observed_generation: Int64 | None = None


class LocalModelInfo(Fields):
    """spec.localModels[] of a LocalModelNode. Ours: revision (pinned), storageKey (when the endpoint is
    not the scheme's own), cacheUid, and the wishes of api/wishes.py."""

    source_model_uri: str
    model_name: str
    namespace: str | None = None
    node_group: str | None = None
    service_account_name: str | None = None
    storage: StorageSpec | None = None
    revision: str | None = None
    storage_key: str | None = None
    cache_uid: str | None = None
    pinned: bool | None = None
    verify_requested: str | None = None
    warm_requested: str | None = None


class LocalModelNodeSpec(Fields):
    """spec of LocalModelNode."""

    local_models: list[LocalModelInfo]


class RoundedBytes(Fields):
    """Bytes as kubectl shows them; the exact number stands beside."""

    bytes: str | None = None


class LocalModelNodeStatus(Fields):
    """status of LocalModelNode, written by the agent. Ours: models (see the agent), groups (used and
    available bytes of each group's root), their summary, and what else the agent reports."""

    model_status: dict[str, ModelState] | None = None
    ready: str | None = None
    state: ModelState | None = None
    bytes: Int64 | None = None
    rounded: RoundedBytes | None = None
    models: Free | None = None
    groups: Free | None = None
    conditions: list[Condition] | None = None


class NodeGroupSpec(Fields):
    """spec of LocalModelNodeGroup: the templates of every PV and PVC of the group."""

    storage_limit: Quantity
    persistent_volume_spec: Free
    persistent_volume_claim_spec: Free


class RoundedRoom(Fields):
    """Room as kubectl shows it; the exact numbers stand beside."""

    used: str | None = None
    available: str | None = None


class NodeGroupStatus(Fields):
    """status of LocalModelNodeGroup: over all its nodes. Ours: conditions, nodes, rounded."""

    used: Quantity | None = None
    available: Quantity | None = None
    nodes: Int32 | None = None
    rounded: RoundedRoom | None = None
    conditions: list[Condition] | None = None


class UriFormat(Fields):
    """One of supportedUriFormats: prefix beats regex."""

    prefix: str | None = None
    regex: str | None = None


class StorageContainerSpec(Fields):
    """spec of ClusterStorageContainer."""

    container: Container
    supported_uri_formats: list[UriFormat]
    workload_type: str = "initContainer"
    supports_multi_model_download: bool = False


class SupportedModelFormat(Fields):
    """One of supportedModelFormats."""

    name: str
    version: str | None = None
    auto_select: bool | None = None
    priority: Int32 | None = described(None, minimum=1)


class RuntimePodFields(Fields):
    """The pod fields that a serving runtime has."""

    affinity: Free | None = None
    annotations: Strings | None = None
    containers: list[Container]
    host_ipc: bool | None = Field(None, alias="hostIPC")
    image_pull_secrets: FreeList | None = None
    labels: Strings | None = None
    node_selector: Strings | None = None
    resource_claims: FreeList | None = None
    scheduler_name: str | None = None
    tolerations: FreeList | None = None
    volumes: FreeList | None = None


class RuntimeWorkerSpec(RuntimePodFields):
    """workerSpec of a serving runtime."""

    pipeline_parallel_size: int | None = None
    tensor_parallel_size: int | None = None


class BuiltInAdapter(Fields):
    """ModelMesh's adapter."""

    env: FreeList | None = None
    mem_buffer_bytes: int | None = None
    model_loading_timeout_millis: int | None = None
    runtime_management_port: int | None = None
    server_type: str | None = None


class StorageHelper(Fields):
    """ModelMesh's storage helper."""

    disabled: bool | None = None


class ServingRuntimeSpec(RuntimePodFields):
    """spec of ServingRuntime and ClusterServingRuntime."""

    built_in_adapter: BuiltInAdapter | None = None
    disabled: bool | None = None
    grpc_data_endpoint: str | None = None
    grpc_endpoint: str | None = None
    http_data_endpoint: str | None = None
    multi_model: bool | None = None
    protocol_versions: list[str] | None = None
    replicas: int | None = None
    storage_helper: StorageHelper | None = None
    supported_model_formats: list[SupportedModelFormat] | None = None
    worker_spec: RuntimeWorkerSpec | None = None


class NoStatus(Fields):
    """A status without fields."""


def _schemas() -> dict[type[Resource], Json]:
    found: dict[type[Resource], Json] = {
        kinds.LocalModelCache: object_schema(CacheSpec, CacheStatus),
        kinds.LocalModelNamespaceCache: object_schema(CacheSpec, CacheStatus),
        kinds.LocalModelNode: object_schema(LocalModelNodeSpec, LocalModelNodeStatus),
        kinds.LocalModelNodeGroup: object_schema(NodeGroupSpec, NodeGroupStatus),
        kinds.ClusterStorageContainer: object_schema(
            StorageContainerSpec, None, disabled={"type": "boolean"}
        ),
        kinds.ServingRuntime: object_schema(ServingRuntimeSpec, NoStatus),
        kinds.ClusterServingRuntime: object_schema(ServingRuntimeSpec, NoStatus),
        kinds.InferenceService: object_schema(InferenceServiceSpec, InferenceServiceStatus),
    }
    for kind in (kinds.InferenceService, kinds.LocalModelNode):  # later versions and the agent may say more
        found[kind]["properties"]["status"]["x-kubernetes-preserve-unknown-fields"] = True
    return found


SCHEMAS: dict[type[Resource], Json] = _schemas()
