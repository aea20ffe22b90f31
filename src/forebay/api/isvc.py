"""InferenceService (serving.kserve.io/v1beta1): spec and status.

Field names, types, enums and required fields: KServe's published schema. Every predictor field that KServe
has is known here, so that nothing a user wrote is dropped; what Forebay does not do yet it says in a
condition.
"""

from __future__ import annotations

from typing import Literal

from forebay.api.pods import ContainerFields, PodFields
from forebay.api.states import ISVC_NAME_PATTERN, FailureReason, ServedState, Transition
from forebay.api.structural import Fields, Free, FreeList, Int32, Int64, Strings, Time, described


class ModelFormat(Fields):
    """What kind of model it is: the key of runtime selection."""

    name: str
    version: str | None = None


class ObjectStoreSpec(Fields):
    """A model in an object store that a secret entry describes."""

    key: str | None = None
    parameters: Strings | None = None
    path: str | None = None
    schema_path: str | None = None


class Confidential(Fields):
    """Encrypted models."""

    enabled: bool
    resource_id: str | None = None


class LegacyModel(ContainerFields):
    """The older one-of predictors (sklearn, xgboost, ...): a container with a source."""

    name: str | None = None
    confidential: Confidential | None = None
    protocol_version: str | None = None
    runtime_version: str | None = None
    storage: ObjectStoreSpec | None = None
    storage_uri: str | None = None


class Model(LegacyModel):
    """predictor.model"""

    model_format: ModelFormat | None = None
    runtime: str | None = None


class StorageUri(Fields):
    """One of several sources."""

    uri: str
    mount_path: str | None = described("/mnt/models", pattern="^/.*")


class Logger(Fields):
    """Payload logging."""

    batch_interval: str | None = None
    batch_size: int | None = None
    marshaller_url: str | None = None
    metadata_annotations: list[str] | None = None
    metadata_headers: list[str] | None = None
    mode: Literal["all", "request", "response"] | None = None
    storage: Free | None = None
    url: str | None = None


class Batcher(Fields):
    """Request batching."""

    max_batch_size: int | None = None
    max_latency: int | None = None
    timeout: int | None = None


class AutoScaling(Fields):
    """HPA or KEDA metrics."""

    behavior: Free | None = None
    metrics: FreeList | None = None


class Strategy(Fields):
    """apps/v1 DeploymentStrategy"""

    rolling_update: Free | None = None
    type: str | None = None


class Component(PodFields):
    """What predictor, transformer and explainer have in common."""

    annotations: Strings | None = None
    auto_scaling: AutoScaling | None = None
    batcher: Batcher | None = None
    canary_traffic_percent: Int64 | None = None
    container_concurrency: Int64 | None = None
    containers: FreeList | None = None
    deployment_strategy: Strategy | None = None
    labels: Strings | None = None
    logger: Logger | None = None
    max_replicas: Int32 | None = None
    min_replicas: Int32 | None = None
    scale_metric: Literal["cpu", "memory", "concurrency", "rps"] | None = None
    scale_metric_type: Literal["Utilization", "Value", "AverageValue"] | None = None
    scale_target: Int32 | None = None
    storage_uris: list[StorageUri] | None = described(None, minItems=1)
    timeout: Int64 | None = None


class Predictor(Component):
    """spec.predictor"""

    name: str | None = described(None, pattern=ISVC_NAME_PATTERN)
    model: Model | None = None
    storage_container_name: str | None = None
    worker_spec: Free | None = None
    huggingface: LegacyModel | None = None
    lightgbm: LegacyModel | None = None
    onnx: LegacyModel | None = None
    paddle: LegacyModel | None = None
    pmml: LegacyModel | None = None
    pytorch: LegacyModel | None = None
    sklearn: LegacyModel | None = None
    tensorflow: LegacyModel | None = None
    triton: LegacyModel | None = None
    xgboost: LegacyModel | None = None


class Explainer(Component):
    """spec.explainer"""

    art: Free | None = None


class Canary(Fields):
    """One of spec.canary."""

    predictor: Predictor
    traffic_percent: int = described(format="int32", minimum=0, maximum=100)


class InferenceServiceSpec(Fields):
    """spec"""

    predictor: Predictor
    transformer: Component | None = None
    explainer: Explainer | None = None
    canary: list[Canary] | None = None


class Condition(Fields):
    """status.conditions[]: who writes which type stands in api/conditions.py."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    severity: str | None = None
    last_transition_time: Time | None = None
    observed_generation: Int64 | None = None


class Copies(Fields):
    """modelStatus.copies"""

    failed_copies: int = 0
    total_copies: int | None = None


class States(Fields):
    """modelStatus.states"""

    active_model_state: ServedState = ServedState.PENDING
    target_model_state: ServedState | None = None


class Failure(Fields):
    """modelStatus.lastFailureInfo"""

    exit_code: Int32 | None = None
    location: str | None = None
    message: str | None = None
    model_revision_name: str | None = None
    reason: FailureReason | None = None
    time: Time | None = None


class ModelStatus(Fields):
    """status.modelStatus"""

    transition_status: Transition = Transition.UP_TO_DATE
    states: States | None = None
    last_failure_info: Failure | None = None
    copies: Copies | None = None


class Address(Fields):
    """Where a service is reached inside the cluster."""

    name: str | None = None
    url: str | None = None


class InferenceServiceStatus(Fields):
    """status; fields of later versions are kept."""

    address: Address | None = None
    annotations: Strings | None = None
    canary_statuses: FreeList | None = None
    cluster_serving_runtime_name: str | None = None
    components: dict[str, Free] | None = None
    conditions: list[Condition] | None = None
    deployment_mode: str | None = None
    model_status: ModelStatus | None = None
    observed_generation: Int64 | None = None
    serving_runtime_name: str | None = None
    url: str | None = None
