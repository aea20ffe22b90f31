"""The words of our kinds' statuses, and names that their specs know.

They stand apart from the models of the specs, because every program needs these and hardly any needs those.
"""

from __future__ import annotations

from enum import StrEnum

ISVC_NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
LEGACY_PREDICTORS = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm",
    "paddle",
)  # fmt: skip


class NodeState(StrEnum):
    """status.nodeStatus of a cache: one node's part."""

    NONE = ""
    NOT_READY = "NodeNotReady"
    PENDING = "NodeDownloadPending"
    DOWNLOADING = "NodeDownloading"
    DOWNLOADED = "NodeDownloaded"
    ERROR = "NodeDownloadError"


class ModelState(StrEnum):
    """status.modelStatus of a LocalModelNode: one model's part."""

    NONE = ""
    PENDING = "ModelDownloadPending"
    DOWNLOADING = "ModelDownloading"
    DOWNLOADED = "ModelDownloaded"
    ERROR = "ModelDownloadError"


class ServedState(StrEnum):
    """status.modelStatus.states.* of an InferenceService"""

    NONE = ""
    PENDING = "Pending"
    STANDBY = "Standby"
    LOADING = "Loading"
    LOADED = "Loaded"
    FAILED_TO_LOAD = "FailedToLoad"


class Transition(StrEnum):
    """status.modelStatus.transitionStatus of an InferenceService"""

    NONE = ""
    UP_TO_DATE = "UpToDate"
    IN_PROGRESS = "InProgress"
    BLOCKED = "BlockedByFailedLoad"
    INVALID_SPEC = "InvalidSpec"


class FailureReason(StrEnum):
    """status.modelStatus.lastFailureInfo.reason of an InferenceService"""

    MODEL_LOAD_FAILED = "ModelLoadFailed"
    RUNTIME_UNHEALTHY = "RuntimeUnhealthy"
    RUNTIME_DISABLED = "RuntimeDisabled"
    NO_SUPPORTING_RUNTIME = "NoSupportingRuntime"
    RUNTIME_NOT_RECOGNIZED = "RuntimeNotRecognized"
    INVALID_PREDICTOR_SPEC = "InvalidPredictorSpec"
