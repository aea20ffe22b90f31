"""The objects of the cache guide, as a user applies them (the identifiers and values are the guide's)."""

STORAGE = """
apiVersion: v1
kind: Secret
metadata: {name: hf-secret, namespace: kserve-localmodel-jobs}
type: Opaque
stringData: {HF_TOKEN: xxxx}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: hf-hub}
spec:
  container:
    name: storage-initializer
    image: kserve/storage-initializer:latest
    env:
    - name: HF_TOKEN
      valueFrom: {secretKeyRef: {name: hf-secret, key: HF_TOKEN, optional: false}}
    resources:
      requests: {memory: 100Mi, cpu: 100m}
      limits: {memory: 1Gi, cpu: "1"}
  supportedUriFormats:
  - prefix: hf://
  workloadType: localModelDownloadJob
"""

GROUP = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelNodeGroup
metadata: {name: workers}
spec:
  storageLimit: 1.7T
  persistentVolumeClaimSpec:
    accessModes: [ReadWriteOnce]
    resources: {requests: {storage: 1700G}}
    storageClassName: local-storage
    volumeMode: Filesystem
    volumeName: models
  persistentVolumeSpec:
    accessModes: [ReadWriteOnce]
    volumeMode: Filesystem
    capacity: {storage: 1700G}
    local: {path: /models}
    storageClassName: local-storage
    nodeAffinity:
      required:
        nodeSelectorTerms:
        - matchExpressions:
          - {key: nvidia.com/gpu-product, operator: In, values: [NVIDIA-A100-SXM4-80GB]}
"""

CACHE = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelCache
metadata: {name: meta-llama3-8b-instruct}
spec:
  sourceModelUri: 'hf://meta-llama/meta-llama-3-8b-instruct'
  modelSize: 10Gi
  nodeGroups: [workers]
"""

SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: huggingface-llama3}
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      args: [--model_name=llama3]
      storageUri: hf://meta-llama/meta-llama-3-8b-instruct
      resources:
        limits: {cpu: "6", memory: 24Gi, nvidia.com/gpu: "1"}
        requests: {cpu: "6", memory: 24Gi, nvidia.com/gpu: "1"}
"""

RUNTIME = """
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterServingRuntime
metadata: {name: kserve-huggingfaceserver}
spec:
  supportedModelFormats:
  - {name: huggingface, version: "1", autoSelect: true, priority: 1}
  protocolVersions: [v2, v1]
  containers:
  - name: kserve-container
    image: kserve/huggingfaceserver:latest
    args: ["--model_name={{.Name}}"]
"""

URI = "hf://meta-llama/meta-llama-3-8b-instruct"
KEY = "c277d78a31bc6624"
NAME = "meta-llama3-8b-instruct"
GPU = {"nvidia.com__gpu_product": "NVIDIA-A100-SXM4-80GB"}
