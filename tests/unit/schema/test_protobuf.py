"""Protobuf bodies are read by field number, and damaged ones refused."""

from __future__ import annotations

import base64

import pytest

from forebay.api.schema import decode_protobuf, is_protobuf
from forebay.errors import Invalid


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, api_version) + field(2, kind)) + field(2, raw)


def test_a_deployment_with_every_odd_type():
    port = field(3, 80)
    limits = field(1, field(1, "cpu") + field(2, field(1, "500m")))
    get = field(1, "/") + field(2, field(1, 1) + field(3, "http"))  # an IntOrString that is a string
    probe = field(1, field(2, get)) + field(3, 5)  # the handler is inlined
    container = field(1, "c") + field(2, "img") + field(6, port) + field(8, limits) + field(10, probe)
    template = field(1, field(11, field(1, "app") + field(2, "a"))) + field(2, field(2, container))
    meta = field(1, "web") + field(8, field(1, 1_700_000_000))
    spec = field(1, 0) + field(2, field(1, field(1, "app") + field(2, "a"))) + field(3, template)
    rolling = field(2, field(1, field(1, 0) + field(2, 1)))
    raw = field(1, meta) + field(2, spec + field(4, rolling))
    assert decode_protobuf(envelope("apps/v1", "Deployment", raw)) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "creationTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "img",
                            "ports": [{"containerPort": 80}],
                            "resources": {"limits": {"cpu": "500m"}},
                            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 5},
                        }
                    ]
                },
            },
            "strategy": {"rollingUpdate": {"maxUnavailable": 1}},
        },
    }


def test_a_secret_has_bytes_and_zero_values_are_left_out():
    raw = field(1, field(1, "s") + field(2, "")) + field(2, field(1, "k") + field(2, b"\x00\xff"))
    found = decode_protobuf(envelope("v1", "Secret", raw))
    assert found["data"] == {"k": base64.b64encode(b"\x00\xff").decode()}
    assert found["metadata"] == {"name": "s"}


def test_numbers_below_zero_are_ten_bytes_of_twos_complement():
    found = decode_protobuf(envelope("apps/v1", "Deployment", field(2, field(1, (1 << 64) - 3))))
    assert found["spec"] == {"replicas": -3}


def test_options_come_with_any_group():
    found = decode_protobuf(envelope("apps/v1", "DeleteOptions", field(1, 0) + field(4, "Orphan")))
    assert found["gracePeriodSeconds"] == 0
    assert found["propagationPolicy"] == "Orphan"


def test_a_review_with_a_wrapped_list():
    extra = field(5, field(1, "k") + field(2, field(1, "a") + field(1, "b")))
    found = decode_protobuf(envelope("authorization.k8s.io/v1", "SubjectAccessReview", field(2, extra)))
    assert found["spec"]["extra"] == {"k": ["a", "b"]}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"k8s\x00", b"{}", envelope("v1", "Nothing", b""), envelope("v1", "Pod", b"\x0a\xff"),
        envelope("v1", "Pod", field(1, 5)), envelope("v1", "Pod", b"\x0f"), envelope("v1", "Pod",
        b"\x0a\x02\x0a\xff"),
        envelope("v1", "Pod", field(1, field(1, b"\xff\xfe"))),
    ],
)  # fmt: skip
def test_damaged_bytes_are_the_senders_fault(body: bytes):
    with pytest.raises(Invalid) as refused:
        decode_protobuf(body)
    assert refused.value.reason == "BadRequest"


def test_the_magic_tells_protobuf():
    assert is_protobuf(envelope("v1", "Pod", b""))
    assert not is_protobuf(b"{}")
