"""What is taken, with a warning; the sentences are a real server's."""

from __future__ import annotations

import pytest

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema.advice import advice

from .objects import deployment, job, pod

_DOTS = "which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
_PODS = "Pod names and hostnames"
_WHOLE = "invalid, must be an integer"
_APPLY = "which may be dropped when using apply"


def named(raw: Json, name: str) -> Json:
    return {**raw, "metadata": {**raw["metadata"], "name": name}}


def one_container(**fields: object) -> Json:
    return pod(containers=[{"name": "c", "image": "x", **fields}])


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (kinds.Pod, pod(), []),
        (kinds.Pod, named(pod(), "a.b"), [f"metadata.name: this is used in the Pod's hostname, {_DOTS}"]),
        (kinds.Job, named(job(), "a.b"), [f"metadata.name: this is used in {_PODS}, {_DOTS}"]),
        (kinds.DaemonSet, named(deployment(), "a.b"), []),
        (
            kinds.Pod,
            one_container(resources={"limits": {"memory": "1.0005"}, "requests": {"memory": "0.5"}}),
            [f"spec.containers[0].resources.{part}[memory]: fractional byte value {said} is {_WHOLE}"
             for part, said in (("limits", '"1001m"'), ("requests", '"500m"'))],
        ),
        (
            kinds.Pod,
            one_container(env=[{"name": "A", "value": v} for v in ("1", "2", "$(A)3")]),
            [f'spec.containers[0].env[1]: hides previous definition of "A", {_APPLY}'],
        ),
        (
            kinds.Pod,
            one_container(ports=[{"containerPort": 80}, {"containerPort": 80}]),
            ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
        ),
    ],
)  # fmt: skip
def test_what_is_warned_of(kind: type[Resource], raw: Json, expected: list[str]) -> None:
    assert advice(raw, kind) == expected
