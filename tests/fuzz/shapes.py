"""What people may write into the specs of our kinds, and now and then what nobody expects there."""

from __future__ import annotations

import random
from typing import Any

from forebay.api.meta import Json

GROUPS = ("g1", "g2", "g3")
URIS = (
    "hf://o/m", "hf://o/m/", "hf://o/m/sub", "hf://o/m:rev", "s3://b/p", "s3://b/p/x.gguf", "hdfs://h/p",
    "pvc://c/p", "pvc://", "https://h/x.tar.gz", "file:///m", "own://x/y", "HF://o/m",
)  # fmt: skip


class Shapes:
    """Specs by chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *of: Any) -> Any:
        return self.random.choice(of)

    def some(self, **fields: Any) -> Json:
        """Each field or not."""
        return {name: value for name, value in fields.items() if self.random.random() < 0.3}

    def odd(self) -> Any:
        """What nobody expects there."""
        return self.one({}, [], "", "x", 0, -1, None, True, [{}], {"x": {}}, [None], ["x"], 1.5, "é" * 80)

    def spoil(self, fields: Json) -> Json:
        """Now and then one field is what nobody expects there."""
        if fields and self.random.random() < 0.25:
            fields[self.random.choice(list(fields))] = self.odd()
        return fields

    def predictor(self) -> Json:
        probe = {"httpGet": {"path": "/", "port": 8080}}
        mount = {"name": "v", "mountPath": self.one("/mnt/models", "/data")}
        model = {
            "modelFormat": {"name": self.one("huggingface", "gguf", "odd")},
            **self.spoil(
                self.some(
                    storageUri=self.one(*URIS),
                    runtime=self.one("forebay-llama", "none"),
                    storage={"key": "k", "path": "p"},
                    args=["--x"],
                    env=[{"name": "HF_TOKEN", "value": "t"}],
                    resources={"limits": {"cpu": "1"}},
                    ports=[{"containerPort": 9000}],
                    volumeMounts=[mount],
                    runtimeVersion="v1",
                    image="i:1",
                    command=["c"],
                    readinessProbe=probe,
                    envFrom=[{"secretRef": {"name": "s"}}],
                    protocolVersion=self.one("v1", "v2"),
                )
            ),
        }
        if "storageUri" not in model and self.one(True, False):
            model["storageUri"] = self.one("hf://o/m", "s3://b/p")
        metric = {
            "type": "Resource",
            "resource": self.one({"name": "cpu"}, {"name": "memory", "target": {}}, {}),
        }
        container = {"image": "x", "env": [{"name": "STORAGE_URI", "value": self.one(*URIS)}], "ports": []}
        term = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
        required = {
            "requiredDuringSchedulingIgnoredDuringExecution": self.one(
                {"nodeSelectorTerms": [term]}, {}, None
            )
        }
        found: Json = self.spoil(
            self.some(
                minReplicas=self.one(0, 1, 3),
                maxReplicas=self.one(0, 2, 5),
                scaleMetric=self.one("cpu", "memory", "rps"),
                scaleTarget=self.one(1, 80),
                scaleMetricType=self.one("Utilization", "AverageValue"),
                autoScaling=self.one({"metrics": [metric]}, {"metrics": [{}]}, {}),
                labels={"a": "b"},
                containers=[
                    {"name": self.one("kserve-container", "other", "transformer-container"), **container}
                ],
                affinity=self.one({}, {"nodeAffinity": self.one({}, required)}),
                tolerations=[{"operator": "Exists"}],
                volumes=[{"name": "v", "emptyDir": {}}],
                initContainers=[{"name": "i", "image": "x"}],
                deploymentStrategy=self.one({"type": "Recreate"}, {}),
                name="v",
                serviceAccountName="sa",
                storageUris=[self.some(uri=self.one(*URIS), mountPath="/mnt/other") or {"uri": "hf://o/m"}],
                imagePullSecrets=[{"name": "p"}],
                canaryTrafficPercent=10,
                storageContainerName="own",
            )
        )
        shape = self.one("model", "model", "model", "sklearn", "none")
        return found if shape == "none" else {**found, shape: model}

    def notes(self) -> dict[str, str]:
        return self.some(
            **{
                "serving.kserve.io/disable-localmodel": self.one("true", "false", ""),
                "serving.kserve.io/nodegroup": self.one(*GROUPS, "x"),
                "serving.kserve.io/stop": self.one("true", ""),
                "storage.kserve.io/readonly": self.one("true", "false"),
                "forebay.dev/when-uncached": self.one("pull", "x"),
                "serving.kserve.io/autoscalerClass": self.one("hpa", "none", "external"),
                "serving.kserve.io/storageSecretName": "storage-config",
            }
        )

    def volume(self) -> Json:
        terms = [
            {
                "matchExpressions": [
                    {"key": "group", "operator": "In", "values": self.random.choices(GROUPS, k=2)}
                ]
            }
        ]
        affinity = self.one(*[{"required": {"nodeSelectorTerms": terms}}] * 4, {}, None, self.odd())
        return {
            "nodeAffinity": affinity,
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            **self.some(storageClassName="c"),
            **self.one(
                {"local": {"path": "/m"}},
                {"hostPath": {"path": "/m"}},
                {"local": {"path": "/n"}},
                {"hostPath": {"path": "/n"}},
                {},
                {"local": self.odd()},
            ),
        }
