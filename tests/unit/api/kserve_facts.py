"""KServe's published schemas, as facts: path -> type, required fields, enums. Written down by hand from its CRDs."""

# kind -> (scope, short names, has a status subresource)
KINDS = {
    "LocalModelCache": ("Cluster", (), True),
    "LocalModelNamespaceCache": ("Namespaced", (), True),
    "LocalModelNode": ("Cluster", (), True),
    "LocalModelNodeGroup": ("Cluster", (), False),
    "ClusterStorageContainer": ("Cluster", (), False),
    "ServingRuntime": ("Namespaced", (), True),
    "ClusterServingRuntime": ("Cluster", (), True),
    "InferenceService": ("Namespaced", ("isvc",), True),
}

NODE_STATES = [
    "", "NodeNotReady", "NodeDownloadPending", "NodeDownloading", "NodeDownloaded", "NodeDownloadError",
]  # fmt: skip
MODEL_STATES = ["", "ModelDownloadPending", "ModelDownloading", "ModelDownloaded", "ModelDownloadError"]

CACHE = {
    "spec.sourceModelUri": "string",
    "spec.modelSize": "quantity",
    "spec.nodeGroups": "array",
    "spec.serviceAccountName": "string",
    "spec.storage.key": "string",
    "spec.storage.parameters": "object",
    "status.copies.available": "integer",
    "status.copies.failed": "integer",
    "status.copies.total": "integer",
    "status.inferenceServices": "array",
    "status.llmInferenceServices": "array",
    "status.nodeStatus": "object",
}
POD = {
    "activeDeadlineSeconds": "integer", "affinity": "object", "automountServiceAccountToken": "boolean",
    "dnsConfig": "object", "dnsPolicy": "string", "enableServiceLinks": "boolean", "hostAliases": "array",
    "hostIPC": "boolean", "hostNetwork": "boolean", "hostPID": "boolean", "hostUsers": "boolean",
    "hostname": "string", "hostnameOverride": "string", "imagePullSecrets": "array", "initContainers": "array",
    "nodeName": "string", "nodeSelector": "object", "os": "object", "overhead": "object",
    "preemptionPolicy": "string", "priority": "integer", "priorityClassName": "string", "readinessGates": "array",
    "resourceClaims": "array", "resources": "object", "restartPolicy": "string", "runtimeClassName": "string",
    "schedulerName": "string", "schedulingGates": "array", "securityContext": "object", "serviceAccount": "string",
    "serviceAccountName": "string", "setHostnameAsFQDN": "boolean", "shareProcessNamespace": "boolean",
    "subdomain": "string", "terminationGracePeriodSeconds": "integer", "tolerations": "array",
    "topologySpreadConstraints": "array", "volumes": "array",
}  # fmt: skip
COMPONENT = POD | {
    "annotations": "object", "autoScaling": "object", "batcher": "object", "canaryTrafficPercent": "integer",
    "containerConcurrency": "integer", "containers": "array", "deploymentStrategy": "object", "labels": "object",
    "logger": "object", "maxReplicas": "integer", "minReplicas": "integer", "scaleMetric": "string",
    "scaleMetricType": "string", "scaleTarget": "integer", "storageUris": "array", "timeout": "integer",
}  # fmt: skip
PREDICTOR = COMPONENT | {
    "huggingface": "object", "lightgbm": "object", "model": "object", "name": "string", "onnx": "object",
    "paddle": "object", "pmml": "object", "pytorch": "object", "sklearn": "object",
    "storageContainerName": "string", "tensorflow": "object", "triton": "object", "workerSpec": "object",
    "xgboost": "object",
}  # fmt: skip
MODEL = {
    "args": "array", "command": "array", "confidential": "object", "env": "array", "envFrom": "array",
    "image": "string", "imagePullPolicy": "string", "lifecycle": "object", "livenessProbe": "object",
    "modelFormat": "object", "name": "string", "ports": "array", "protocolVersion": "string",
    "readinessProbe": "object", "resources": "object", "restartPolicy": "string", "runtime": "string",
    "runtimeVersion": "string", "securityContext": "object", "startupProbe": "object", "stdin": "boolean",
    "storage": "object", "storageUri": "string", "terminationMessagePath": "string",
    "terminationMessagePolicy": "string", "tty": "boolean", "volumeDevices": "array", "volumeMounts": "array",
    "workingDir": "string",
}  # fmt: skip


def under(prefix: str, fields: dict[str, str]) -> dict[str, str]:
    """The same facts below a path."""
    return {f"{prefix}.{name}": type_ for name, type_ in fields.items()}


FIELDS = {
    "LocalModelCache": CACHE,
    "LocalModelNamespaceCache": CACHE,
    "LocalModelNode": {
        "spec.localModels": "array",
        "spec.localModels[].modelName": "string",
        "spec.localModels[].namespace": "string",
        "spec.localModels[].nodeGroup": "string",
        "spec.localModels[].serviceAccountName": "string",
        "spec.localModels[].sourceModelUri": "string",
        "spec.localModels[].storage": "object",
        "status.modelStatus": "object",
    },
    "LocalModelNodeGroup": {
        "spec.storageLimit": "quantity",
        "spec.persistentVolumeSpec": "object",
        "spec.persistentVolumeClaimSpec": "object",
        "status.used": "quantity",
        "status.available": "quantity",
    },
    "ClusterStorageContainer": {
        "disabled": "boolean",
        "spec.container": "object",
        "spec.container.name": "string",
        "spec.supportedUriFormats": "array",
        "spec.supportedUriFormats[].prefix": "string",
        "spec.supportedUriFormats[].regex": "string",
        "spec.supportsMultiModelDownload": "boolean",
        "spec.workloadType": "string",
    },
    "ServingRuntime": under("spec", {
        "affinity": "object", "annotations": "object", "builtInAdapter": "object", "containers": "array",
        "disabled": "boolean", "grpcDataEndpoint": "string", "grpcEndpoint": "string", "hostIPC": "boolean",
        "httpDataEndpoint": "string", "imagePullSecrets": "array", "labels": "object", "multiModel": "boolean",
        "nodeSelector": "object", "protocolVersions": "array", "replicas": "integer", "resourceClaims": "array",
        "schedulerName": "string", "storageHelper": "object", "supportedModelFormats": "array",
        "tolerations": "array", "volumes": "array", "workerSpec": "object",
        "supportedModelFormats[].autoSelect": "boolean", "supportedModelFormats[].name": "string",
        "supportedModelFormats[].priority": "integer", "supportedModelFormats[].version": "string",
    }),
    "InferenceService": under("spec.predictor", PREDICTOR) | under("spec.transformer", COMPONENT)
    | under("spec.explainer", COMPONENT) | under("spec.predictor.model", MODEL) | {
        "spec.canary[].trafficPercent": "integer",
        "spec.predictor.model.modelFormat.name": "string",
        "spec.predictor.model.modelFormat.version": "string",
        "spec.predictor.model.storage.key": "string",
        "spec.predictor.model.storage.path": "string",
        "spec.predictor.model.storage.parameters": "object",
        "spec.predictor.model.storage.schemaPath": "string",
        "spec.predictor.storageUris[].uri": "string",
        "spec.predictor.storageUris[].mountPath": "string",
        "status.url": "string",
        "status.address.url": "string",
        "status.clusterServingRuntimeName": "string",
        "status.servingRuntimeName": "string",
        "status.observedGeneration": "integer",
        "status.modelStatus.transitionStatus": "string",
        "status.modelStatus.states.activeModelState": "string",
        "status.modelStatus.states.targetModelState": "string",
        "status.modelStatus.lastFailureInfo.reason": "string",
        "status.modelStatus.copies.failedCopies": "integer",
        "status.modelStatus.copies.totalCopies": "integer",
    },
}  # fmt: skip

REQUIRED = {
    "LocalModelCache": {"spec": ["nodeGroups", "sourceModelUri"]},
    "LocalModelNamespaceCache": {"spec": ["nodeGroups", "sourceModelUri"]},
    "LocalModelNode": {"spec": ["localModels"], "spec.localModels[]": ["modelName", "sourceModelUri"]},
    "LocalModelNodeGroup": {"spec": ["persistentVolumeClaimSpec", "persistentVolumeSpec", "storageLimit"]},
    "ClusterStorageContainer": {
        "spec": ["container", "supportedUriFormats"],
        "spec.container": ["name"],
    },
    "ServingRuntime": {"spec": ["containers"], "spec.supportedModelFormats[]": ["name"]},
    "InferenceService": {
        "spec": ["predictor"],
        "spec.canary[]": ["predictor", "trafficPercent"],
        "spec.predictor.model.modelFormat": ["name"],
    },
}
"""Required fields that a client may count on. `modelSize` is KServe's too; here it is optional on purpose."""
