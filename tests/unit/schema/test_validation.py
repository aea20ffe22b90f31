"""What is wrong with an object is said in Kubernetes' words, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import kinds
from forebay.api.admission import Review, Rules
from forebay.api.meta import Json, Key, Resource
from forebay.api.schema import causes, kind_of_crd
from forebay.api.schema.cel import warnings
from forebay.errors import Invalid

from .objects import crd, deployment, job, pod, toy


def refused(kind: type[Resource], raw: Json, old: Json | None = None) -> list[str]:
    """`path: message` of every cause."""
    try:
        Rules().prepare(kind, raw, old, "create" if old is None else "update")
    except Invalid as error:
        return [f"{path}: {message}" for path, _, message in error.causes]
    return []


def one_container(**fields: Any) -> Json:
    raw = pod()
    raw["spec"]["containers"][0].update(fields)
    return raw


C = "spec.containers[0]"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (one_container(), []),
        (pod(containers=[]), ["spec.containers: Required value"]),
        (one_container(image=""), [f"{C}.image: Required value"]),
        (one_container(name="A"), [f'{C}.name: Invalid value: "A": a lowercase RFC 1123 label must consist']),
        (one_container(ports=[{"containerPort": 0}]), [f"{C}.ports[0].containerPort: Required value"]),
        (
            one_container(ports=[{"containerPort": 70000}]),
            [f"{C}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
        ),
        (
            one_container(volumeMounts=[{"name": "v", "mountPath": "/m"}]),
            [f'{C}.volumeMounts[0].name: Not found: "v"'],
        ),
        (
            one_container(imagePullPolicy="Foo"),
            [
                f'{C}.imagePullPolicy: Unsupported value: "Foo": '
                'supported values: "Always", "IfNotPresent", "Never"'
            ],
        ),
        (
            one_container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            [f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            one_container(resources={"requests": {"nvidia.com/gpu": "1"}}),
            [f"{C}.resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            one_container(livenessProbe={}),
            [f"{C}.livenessProbe: Required value: must specify a handler type"],
        ),
        (
            one_container(
                env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
            ),
            [f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod(restartPolicy="Sometimes"),
            [
                'spec.restartPolicy: Unsupported value: "Sometimes": '
                'supported values: "Always", "OnFailure", "Never"'
            ],
        ),
    ],
)
def test_pods(raw: Json, expected: list[str]):
    said = refused(kinds.Pod, raw)
    assert len(said) == len(expected), said
    for sentence, start in zip(said, expected, strict=True):
        assert sentence.startswith(start)


def test_several_causes_are_one_error():
    raw = one_container(image="")
    raw["metadata"] = {"name": "Bad_Name", "namespace": "default", "labels": {"a b": "c"}}
    with pytest.raises(Invalid) as error:
        Rules().prepare(kinds.Pod, raw, None, "create")
    assert error.value.message.startswith(
        'Pod "Bad_Name" is invalid: [metadata.name: Invalid value: "Bad_Name": '
    )
    assert [path for path, _, _ in error.value.causes] == ["metadata.name", "metadata.labels", f"{C}.image"]
    assert [reason for _, reason, _ in error.value.causes] == [
        "FieldValueInvalid", "FieldValueInvalid", "FieldValueRequired",
    ]  # fmt: skip


def test_deployments():
    assert refused(kinds.Deployment, deployment()) == []
    assert refused(kinds.Deployment, deployment(selector={"matchLabels": {"app": "b"}})) == [
        'spec.template.metadata.labels: Invalid value: {"app":"a"}: '
        "`selector` does not match template `labels`"
    ]
    assert refused(kinds.Deployment, deployment(replicas=-1)) == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    ]
    assert "spec.selector: Required value" in refused(kinds.Deployment, deployment(selector=None))
    still = deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}})
    assert refused(kinds.Deployment, still) == [
        'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'
    ]


def test_a_selector_never_changes():
    old = Rules().prepare(kinds.Deployment, deployment(), None, "create")
    new = deployment(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})
    assert refused(kinds.Deployment, new, old) == [
        'spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: '
        "field is immutable"
    ]


def test_jobs():
    assert refused(kinds.Job, job()) == []
    always = job()
    del always["spec"]["template"]["spec"]["restartPolicy"]
    assert refused(kinds.Job, always) == [
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    ]
    old = Rules().prepare(kinds.Job, job(), None, "create")
    new = {**old, "spec": {**old["spec"], "template": job()["spec"]["template"]}}
    assert any(said.startswith("spec.template: Invalid value: ") for said in refused(kinds.Job, new, old))
    assert refused(kinds.Job, {**old, "spec": {**old["spec"], "parallelism": 0}}, old) == []


def claim(**spec: Any) -> Json:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"metadata": {"name": "c", "namespace": "d", "uid": "u"}, "spec": wanted}


def test_a_claim_is_bound_once_and_then_stays_as_it_is():
    old = Rules().prepare(kinds.PersistentVolumeClaim, claim(), None, "create")
    assert refused(kinds.PersistentVolumeClaim, claim(volumeName="v", volumeMode="Filesystem"), old) == []
    bound = Rules().prepare(kinds.PersistentVolumeClaim, claim(volumeName="v"), old, "update")
    assert refused(kinds.PersistentVolumeClaim, claim(volumeName="w"), bound) == [
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims"
    ]
    assert refused(kinds.PersistentVolumeClaim, claim(accessModes=[])) == [
        "spec.accessModes: Required value: at least 1 access mode is required"
    ]


def test_a_local_volume_wants_a_node():
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "local": {"path": "/models"}}
    assert refused(kinds.PersistentVolume, {"metadata": {"name": "v"}, "spec": spec}) == [
        "spec.nodeAffinity: Required value: Local volume requires node affinity"
    ]


def test_a_pod_is_bound_to_a_node_once():
    old = Rules().prepare(kinds.Pod, pod(), None, "create")
    bound = {**old, "spec": {**old["spec"], "nodeName": "n"}}
    assert refused(kinds.Pod, bound, old) == []
    elsewhere = {**old, "spec": {**old["spec"], "nodeName": "m"}}
    assert refused(kinds.Pod, elsewhere, bound)[0].startswith(
        "spec: Forbidden: pod updates may not change fields"
    )


def test_an_immutable_secret_keeps_its_data():
    raw = {"metadata": {"name": "s", "namespace": "d"}, "data": {"a": "eA=="}, "immutable": True}
    old = Rules().prepare(kinds.Secret, raw, None, "create")
    assert refused(kinds.Secret, {**old, "data": {}}, old) == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
    assert refused(kinds.Secret, {**raw, "data": {"a b": ""}})[0].startswith(
        'data[a b]: Invalid value: "a b": a valid'
    )


def test_names_of_services_start_with_a_letter():
    raw = {"metadata": {"name": "1a", "namespace": "d"}, "spec": {"ports": [{"port": 80}]}}
    assert refused(kinds.Service, raw)[0].startswith(
        'metadata.name: Invalid value: "1a": a DNS-1035 label must'
    )


CACHE = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "LocalModelCache",
    "metadata": {"name": "m"},
    "spec": {"sourceModelUri": "hf://a/b", "modelSize": "1Gi", "nodeGroups": ["w"]},
}


def test_our_kinds_are_held_to_their_schemas():
    assert refused(kinds.LocalModelCache, CACHE) == []
    wrong = {**CACHE, "spec": {"modelSize": "x", "nodeGroups": []}}
    said = refused(kinds.LocalModelCache, wrong)
    assert "spec.sourceModelUri: Required value" in said
    assert "spec.nodeGroups: Invalid value: 0: spec.nodeGroups in body should have at least 1 items" in said
    assert any(
        line.startswith('spec.modelSize: Invalid value: "x": spec.modelSize in body should match')
        for line in said
    )
    assert said[-1].startswith("<nil>: Invalid value: null: some validation rules were not checked")


def test_the_source_of_a_cache_never_changes():
    moved = {**CACHE, "spec": {**CACHE["spec"], "sourceModelUri": "hf://c/d"}}
    assert refused(kinds.LocalModelCache, moved, CACHE) == [
        'spec.sourceModelUri: Invalid value: "string": StorageUri is immutable'
    ]


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        (
            {"type": "string"},
            1,
            'spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer"',
        ),
        (
            {"type": "integer"},
            "a",
            'spec.x: Invalid value: "string": spec.x in body must be of type integer: "string"',
        ),
        ({"type": "string"}, None, None),  # as good as absent
        ({"type": "string", "nullable": True}, None, None),
        ({"type": "number"}, 1, None),
        ({"type": "integer"}, 1.0, None),
        (
            {"type": "integer", "maximum": 3},
            4,
            "spec.x: Invalid value: 4: spec.x in body should be less than or equal to 3",
        ),
        (
            {"type": "integer", "minimum": 3},
            2,
            "spec.x: Invalid value: 2: spec.x in body should be greater than or equal to 3",
        ),
        (
            {"type": "string", "enum": ["a", "b"]},
            "c",
            'spec.x: Unsupported value: "c": supported values: "a", "b"',
        ),
        (
            {"type": "string", "pattern": "^a$"},
            "b",
            "spec.x: Invalid value: \"b\": spec.x in body should match '^a$'",
        ),
        ({"type": "string", "maxLength": 1}, "ab", "spec.x: Too long: may not be more than 1 byte"),
        (
            {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
            [1, 2],
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            ["a", "a"],
            'spec.x[1]: Duplicate value: "a"',
        ),
        ({"x-kubernetes-int-or-string": True}, "1", None),
        ({"type": "string", "format": "date-time"}, "2026-01-31T12:00:00Z", None),
    ],
)
def test_a_posted_schema_is_kept(shape: Json, value: Any, expected: str | None):
    kind = kind_of_crd(crd({"type": "object", "properties": {"x": shape}}), "v1")
    assert refused(kind, toy({"x": value})) == ([expected] if expected else [])


def test_rules_that_nobody_evaluates_are_named():
    rules = [{"rule": "self == oldSelf"}, {"rule": "self.size() < 5"}]
    shape = {"type": "object", "properties": {"x": {"type": "string", "x-kubernetes-validations": rules}}}
    assert [said.split(": ", 1)[1] for said in warnings(crd(shape))] == ["spec.x: self.size() < 5"]


def test_definitions():
    good = crd({"type": "object"})
    assert refused(kinds.CustomResourceDefinition, good) == []
    bad = crd({"properties": {"a": {"type": "strange"}}})
    bad["metadata"]["name"] = "other"
    said = refused(kinds.CustomResourceDefinition, bad)
    assert 'metadata.name: Invalid value: "other": must be spec.names.plural+"."+spec.group' in said
    path = "spec.validation.openAPIV3Schema.properties[spec]"
    assert f"{path}.type: Required value: must not be empty for specified object fields" in said
    assert any(line.startswith(f'{path}.properties[a].type: Unsupported value: "strange"') for line in said)


class World:
    """A snapshot that holds one node group."""

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        return {} if key.name == "w" else None

    def list(self, kind: type[Resource], namespace: str = "") -> list[Json]:
        return []


def groups_exist(review: Review) -> list[causes.Cause]:
    groups = review.new["spec"]["nodeGroups"] if review.verb != "delete" else []
    gone = [one for one in groups if review.look.get(kinds.LocalModelNodeGroup, Key("", one)) is None]
    return [causes.missing("spec.nodeGroups", one) for one in gone]


def test_checks_across_objects_see_a_snapshot():
    rules = Rules(World(), [groups_exist])
    rules.prepare(kinds.LocalModelCache, CACHE, None, "create")
    lost = {**CACHE, "spec": {**CACHE["spec"], "nodeGroups": ["gone"]}}
    with pytest.raises(Invalid, match=r'spec\.nodeGroups: Not found: "gone"'):
        rules.prepare(kinds.LocalModelCache, lost, None, "create")
    assert rules.prepare(kinds.LocalModelCache, lost, lost, "delete") == lost


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        (kinds.Deployment, {"replicas": 1}, []),
        (
            kinds.Deployment,
            {"replicas": -5, "unavailableReplicas": -1},
            [f"status.{name}: Invalid value: {number}: must be greater than or equal to 0"
             for name, number in (("replicas", -5), ("unavailableReplicas", -1))],
        ),
        (
            kinds.Namespace,
            {"phase": "Terminating"},
            ['status.Phase: Invalid value: "Terminating": '
             "may only be 'Active' if `deletionTimestamp` is empty"],
        ),
    ],
)  # fmt: skip
def test_a_status_that_cannot_be(kind: type[Resource], status: Json, expected: list[str]) -> None:
    raw = deployment() if kind is kinds.Deployment else {"metadata": {"name": "n", "uid": "u"}}
    old = Rules().prepare(kind, raw, None, "create")
    try:
        Rules().prepare(kind, {**old, "status": status}, old, "status")
        found = []
    except Invalid as error:
        found = [f"{path}: {message}" for path, _, message in error.causes]
    assert found == expected
