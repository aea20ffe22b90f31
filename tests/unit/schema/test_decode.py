"""Request bodies are read as kube-apiserver reads them."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import kinds, schema
from forebay.errors import Invalid

from .objects import crd, deployment, toy


def test_duplicate_fields_are_named_by_their_path():
    raw, said = schema.parse_json(b'{"spec":{"replicas":1,"list":[{"a":1,"a":2}],"replicas":2}}')
    assert raw == {"spec": {"replicas": 2, "list": [{"a": 2}]}}
    assert said == ['duplicate field "spec.replicas"', 'duplicate field "spec.list[0].a"']


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"x"', b"{", b'{"a":NaN}', b'{"a":1e999}', b"\xff", b'{"a":' * 5000]
)
def test_garbage_is_the_senders_fault(body: bytes):
    with pytest.raises(Invalid) as refused:
        schema.parse_json(body)
    assert refused.value.reason == "BadRequest"


@pytest.mark.parametrize(
    ("kind", "raw", "sentence"),
    [
        (
            kinds.Deployment, {"spec": {"replicas": "3"}},
            "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            kinds.ConfigMap, {"data": {"a": 1}},
            "cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            kinds.Deployment, {"spec": {"template": {"spec": {"containers": {}}}}},
            "Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            kinds.Pod, {"spec": {"containers": [{"env": [{"value": True}]}]}},
            "cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            kinds.Deployment, {"spec": {"replicas": 1.5}},
            "cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (kinds.Pod, {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}},
        "quantities must match"),
        (kinds.Secret, {"data": {"a": "?"}}, "illegal base64 data at input byte 0"),
        (kinds.Lease, {"spec": {"renewTime": "soon"}}, 'parsing time "soon"'),
        (kinds.LocalModelCache, {"metadata": {"labels": {"a": 1}}}, "of type string"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_refused_in_gos_words(kind: type, raw: dict[str, Any], sentence: str):
    with pytest.raises(Invalid) as refused:
        schema.check_types(raw, kind)
    assert refused.value.reason == "BadRequest"
    assert refused.value.message.startswith(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
    )
    assert sentence in refused.value.message


def test_what_go_accepts_passes():
    schema.check_types(deployment(replicas=None, paused=False), kinds.Deployment)
    schema.check_types({"gracePeriodSeconds": 0}, "meta.v1.DeleteOptions")
    schema.check_types({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}}, kinds.Service)


def test_unknown_fields_of_a_built_in_kind_have_paths_with_indexes():
    raw = deployment(foo=1)
    raw["spec"]["template"]["spec"]["containers"][0]["bar"] = 2
    raw["metadata"]["odd"] = {}
    assert schema.unknown_fields(raw, kinds.Deployment) == [
        'unknown field "metadata.odd"',
        'unknown field "spec.template.spec.containers[0].bar"',
        'unknown field "spec.foo"',
    ]


def test_unknown_fields_of_a_custom_kind_follow_its_schema():
    shape = {
        "type": "object",
        "properties": {
            "size": {"x-kubernetes-int-or-string": True},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
    }
    kind = schema.kind_of_crd(crd(shape), "v1")
    raw = toy({"size": 1, "free": {"x": {}}, "map": {"k": "v"}, "list": [{"a": "1", "b": 2}], "no": 1})
    raw["other"] = 1
    raw["metadata"]["odd"] = 1
    assert schema.unknown_fields(raw, kind) == [
        'unknown field "metadata.odd"',
        'unknown field "spec.list[0].b"',
        'unknown field "spec.no"',
        'unknown field "other"',
    ]


def test_a_strict_refusal_lists_all_sentences():
    error = schema.strict_error(kinds.Pod, ['unknown field "a"', 'duplicate field "b"'])
    assert error.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
        'unknown field "a", duplicate field "b"'
    )
