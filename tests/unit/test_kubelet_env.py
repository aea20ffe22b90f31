"""Environment, downward values and command lines of a container."""

from __future__ import annotations

import pytest

from forebay.api.meta import Json
from forebay.home.kubelet.env import ConfigError, Look, command_line, environment, expand, references

POD: Json = {
    "metadata": {
        "name": "web-1",
        "namespace": "team",
        "uid": "u1",
        "labels": {"app": "web"},
        "annotations": {"note": 'say "hi"\nthere'},
    },
    "spec": {"nodeName": "n1", "serviceAccountName": "robot"},
}
SECRET: Json = {"kind": "Secret", "data": {"token": "czNjcmV0", "user": "bWU="}}
MAP: Json = {"kind": "ConfigMap", "data": {"mode": "fast"}}
LOOK = Look(POD, {"s": SECRET, "no": None}, {"m": MAP, "no": None}, allocatable={"cpu": "2", "memory": "8Gi"})


def env_of(*items: Json, given: dict[str, str] | None = None, **more: Json) -> dict[str, str]:
    return environment({"name": "main", "env": list(items), **more}, LOOK, given or {})


def ref(name: str, **source: Json) -> Json:
    return {"name": name, "valueFrom": source}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(NO)", "$(NO)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$", "$"),
        ("$$", "$"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_expansion_follows_the_rules_of_the_container_command(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def test_values_see_what_was_given_and_what_came_before_them() -> None:
    env = env_of(
        {"name": "A", "value": "$(PORT)"},
        {"name": "B", "value": "$(A)-$(C)"},
        {"name": "C", "value": "late"},
        given={"PORT": "81"},
    )
    assert env == {"PORT": "81", "A": "81", "B": "81-$(C)", "C": "late"}


def test_secrets_and_config_maps() -> None:
    env = env_of(
        ref("T", secretKeyRef={"name": "s", "key": "token"}),
        ref("M", configMapKeyRef={"name": "m", "key": "mode"}),
        ref("O", secretKeyRef={"name": "no", "key": "x", "optional": True}),
        ref("P", secretKeyRef={"name": "s", "key": "x", "optional": True}),
        envFrom=[
            {"secretRef": {"name": "s"}, "prefix": "S_"},
            {"configMapRef": {"name": "no", "optional": True}},
        ],
    )
    assert env == {"S_token": "s3cret", "S_user": "me", "T": "s3cret", "M": "fast"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "no", "key": "x"}}, 'secret "no" not found'),
        ({"secretKeyRef": {"name": "s", "key": "x"}}, "couldn't find key x in Secret team/s"),
        ({"configMapKeyRef": {"name": "no", "key": "x"}}, 'configmap "no" not found'),
        ({"fieldRef": {"fieldPath": "status.phase"}}, "field path status.phase is not supported"),
    ],
)
def test_what_is_missing_is_a_config_error(source: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        env_of({"name": "X", "valueFrom": source})
    assert raised.value.reason == "CreateContainerConfigError"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "team"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['none']", ""),
        ("metadata.labels", 'app="web"'),
        ("metadata.annotations", 'note="say \\"hi\\"\\nthere"'),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "127.0.0.1"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    assert env_of(ref("X", fieldRef={"fieldPath": path})) == {"X": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.memory", "1Mi", "512"),
        ("limits.memory", None, str(512 * 2**20)),
        ("requests.cpu", None, "1"),
        ("requests.cpu", "1m", "250"),
        ("limits.cpu", None, "2"),
        ("requests.memory", "1Mi", "512"),
    ],
)
def test_resources_of_the_container(resource: str, divisor: str | None, value: str) -> None:
    wanted = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    resources = {"limits": {"memory": "512Mi"}, "requests": {"cpu": "250m"}}
    assert env_of(ref("X", resourceFieldRef=wanted), resources=resources) == {"X": value}


def test_the_command_replaces_the_program_and_args_follow_either() -> None:
    env = {"PORT": "81"}
    assert command_line({"args": ["--port=$(PORT)"]}, ["serve"], env) == ["serve", "--port=81"]
    assert command_line({"command": ["run", "$(PORT)"], "args": ["x"]}, ["serve"], env) == ["run", "81", "x"]


def test_references_name_all_that_must_be_read() -> None:
    container = {
        "env": [ref("T", secretKeyRef={"name": "s", "key": "k"}), {"name": "A", "value": "b"}],
        "envFrom": [{"configMapRef": {"name": "m"}}],
    }
    assert references(container) == {("Secret", "s"), ("ConfigMap", "m")}
