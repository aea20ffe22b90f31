"""Objects are stored as kube-apiserver stores them: pruned, defaulted, in Go's form."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import kinds
from forebay.api.admission import Rules
from forebay.api.meta import Json, Key, Resource
from forebay.api.schema import defaulted, kind_of_crd, pruned
from forebay.api.schema.shape import canonical

from .objects import crd, deployment, job, pod, toy


def created(kind: type[Resource], raw: Json, rules: Rules | None = None) -> Any:
    return (rules or Rules()).prepare(kind, raw, None, "create")


def test_a_pod_gets_its_defaults():
    raw = pod(volumes=[{"name": "s", "secret": {"secretName": "x"}}, {"name": "e"}])
    raw["spec"]["containers"][0].update(
        ports=[{"containerPort": 80}],
        readinessProbe={"httpGet": {"port": 80}},
        resources={"limits": {"cpu": "1000m"}},
    )
    made = created(kinds.Pod, raw)
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert container == {
        "name": "c",
        "image": "app:1",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert spec["volumes"] == [
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
        {"name": "e", "emptyDir": {}},
    ]
    assert [(t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["securityContext"]) == (
        "Always",
        "ClusterFirst",
        {},
    )
    assert made["status"] == {"phase": "Pending", "qosClass": "Burstable"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("h:5000/a", "Always"),
        ("a@sha256:0", "IfNotPresent"),
    ],
)
def test_the_tag_decides_the_pull_policy(image: str, policy: str):
    raw = pod()
    raw["spec"]["containers"][0]["image"] = image
    assert created(kinds.Pod, raw)["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_a_deployment_gets_its_defaults_and_go_writes_its_empty_structs():
    made = created(kinds.Deployment, deployment())
    assert made["spec"]["strategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }  # fmt: skip
    assert (made["spec"]["replicas"], made["spec"]["progressDeadlineSeconds"]) == (1, 600)
    assert made["spec"]["template"]["spec"]["containers"][0]["resources"] == {}
    assert made["status"] == {}


def test_zero_replicas_stay_and_recreate_has_no_numbers():
    made = created(kinds.Deployment, deployment(replicas=0, strategy={"type": "Recreate"}))
    assert made["spec"]["replicas"] == 0
    assert made["spec"]["strategy"] == {"type": "Recreate"}


def test_a_job_selects_its_own_pods():
    made = created(kinds.Job, job())
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == {
        "controller-uid": "0-1", "job-name": "j",
        "batch.kubernetes.io/controller-uid": "0-1", "batch.kubernetes.io/job-name": "j",
    }  # fmt: skip
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "0-1"}}
    assert (made["spec"]["backoffLimit"], made["spec"]["completions"], made["spec"]["parallelism"]) == (
        6,
        1,
        1,
    )
    assert made["metadata"]["labels"] == labels


def test_a_job_that_names_its_parallelism_has_no_default_completions():
    assert "completions" not in created(kinds.Job, job(parallelism=3))["spec"]


def service(uid: str = "u", **spec: Any) -> Json:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default", "uid": uid},
        "spec": {"ports": [{"port": 80}], **spec},
    }  # fmt: skip


class Services:
    """A world that holds services only."""

    def __init__(self) -> None:
        self.made: list[Json] = []

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        return None

    def list(self, kind: type[Resource], namespace: str = "") -> list[Json]:
        return self.made if kind is kinds.Service else []


def test_services_have_addresses_of_their_own():
    world = Services()
    for number in range(300):
        world.made.append(created(kinds.Service, service(uid=str(number % 3)), Rules(world)))
    addresses = [one["spec"]["clusterIP"] for one in world.made]
    assert len(set(addresses)) == 300
    assert all(address.startswith("10.96.") for address in addresses)


def test_a_service_gets_its_defaults_and_keeps_its_address():
    made = created(kinds.Service, service())
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
    assert made["status"] == {"loadBalancer": {}}
    again = Rules().prepare(kinds.Service, service(selector={"a": "b"}), made, "update")
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]


def test_a_headless_service_stays_headless():
    assert created(kinds.Service, service(clusterIP="None"))["spec"]["clusterIPs"] == ["None"]


def test_a_secret_takes_plain_text():
    raw = {
        "metadata": {"name": "s", "namespace": "d"},
        "data": {"a": "eA=="},
        "stringData": {"b": "y", "a": "z"},
    }
    made = created(kinds.Secret, raw)
    assert made["data"] == {"a": "eg==", "b": "eQ=="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


def test_volumes_and_claims_are_protected_from_the_start():
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    made = created(kinds.PersistentVolumeClaim, {"metadata": {"name": "c", "namespace": "d"}, "spec": spec})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert made["status"] == {"phase": "Pending"}
    volume = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
    made = created(kinds.PersistentVolume, {"metadata": {"name": "v"}, "spec": volume})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_a_namespace_is_active_and_wears_its_name():
    made = created(kinds.Namespace, {"metadata": {"name": "n"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


def test_go_drops_unknown_fields_nulls_and_empty_optional_ones():
    raw = deployment(foo=1, paused=False, minReadySeconds=0)
    raw["metadata"].update(labels={}, annotations=None, odd=1)
    made = defaulted(pruned(raw, kinds.Deployment), kinds.Deployment)
    assert not {"foo", "paused", "minReadySeconds"} & set(made["spec"])
    assert set(made["metadata"]) == {"name", "namespace", "uid"}


def test_pruning_and_defaults_of_a_custom_kind():
    shape = {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "default": 3},
            "deep": {
                "type": "object",
                "default": {},
                "properties": {"on": {"type": "boolean", "default": True}},
            },
            "free": {"x-kubernetes-preserve-unknown-fields": True, "type": "object"},
            "any": {"x-kubernetes-int-or-string": True},
        },
    }
    kind = kind_of_crd(crd(shape), "v1")
    raw = toy({"size": None, "no": 1, "free": {"kept": {"x": 1}}, "any": "1"})
    raw["odd"] = 1
    made = created(kind, raw)
    assert made["spec"] == {"size": 3, "deep": {"on": True}, "free": {"kept": {"x": 1}}, "any": "1"}
    assert "odd" not in made


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("0.5", "500m"), (1, "1"), ("1000m", "1"), ("1000G", "1T"),
        ("1700G", "1700G"), ("1.7T", "1700G"), ("100", "100"), ("0", "0"), ("0Gi", "0"), ("1e3", "1e3"),
        ("512", "512"), ("1025Ki", "1025Ki"), ("0.1Gi", "107374182400m"), ("x", "x"),
    ],
)  # fmt: skip
def test_quantities_are_stored_in_their_canonical_form(given: Any, stored: str):
    assert canonical(given) == stored
