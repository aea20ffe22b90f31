"""One autoscaler in two forms: nothing is lost between them, and nothing breaks on what a client wrote."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.home.apiserver.autoscalers import from_v1, to_v1

CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
}
PREFIX = "autoscaling.alpha.kubernetes.io/"


def scaler(**more: Any) -> dict[str, Any]:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}
    return {"apiVersion": "autoscaling/v2", "metadata": {"name": "h"}, "spec": {**spec, **more}}


def test_the_cpu_target_is_v1s_own_field_and_the_rest_travels_in_annotations():
    found = to_v1(scaler(metrics=[MEMORY, CPU], behavior={"scaleDown": {"stabilizationWindowSeconds": 5}}))
    assert found["apiVersion"] == "autoscaling/v1"
    assert found["spec"]["targetCPUUtilizationPercentage"] == 50
    assert not {"metrics", "behavior"} & set(found["spec"])
    assert set(found["metadata"]["annotations"]) == {f"{PREFIX}metrics", f"{PREFIX}behavior"}


def test_what_kubectl_posts_as_v1_is_a_cpu_metric():
    raw = scaler(targetCPUUtilizationPercentage=50) | {"apiVersion": "autoscaling/v1"}
    found = from_v1(raw)
    assert found["apiVersion"] == "autoscaling/v2"
    assert found["spec"]["metrics"] == [CPU]
    assert "targetCPUUtilizationPercentage" not in found["spec"]


METRICS = st.lists(st.sampled_from([CPU, MEMORY]), max_size=3, unique_by=str)
STATUS = st.fixed_dictionaries(
    {"currentReplicas": st.integers(0, 3)},
    optional={
        "conditions": st.just([{"type": "ScalingActive", "status": "True"}]),
        "currentMetrics": st.just(
            [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}]
        ),
    },
)


@given(METRICS, STATUS, st.booleans(), st.booleans())
def test_there_and_back_is_the_same_object(
    metrics: list[Any], status: dict[str, Any], annotated: bool, formed: bool
):
    raw = scaler(metrics=sorted(metrics, key=lambda one: one is not CPU)) | {"status": status}
    if formed:
        raw["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    if annotated:
        raw["metadata"]["annotations"] = {"mine": "kept"}
    found = from_v1(to_v1(raw))
    found["metadata"] = {k: v for k, v in found["metadata"].items() if v or k != "annotations"}
    assert found == raw


JUNK = st.sampled_from(["", "{", "null", "5", '"x"', "[1]", '[{"type": 5}]', '{"scaleDown": 1}', "[" * 9999])


@given(JUNK, JUNK)
def test_an_annotation_that_is_no_such_thing_stays_an_annotation(metrics: str, behavior: str):
    raw = scaler() | {"apiVersion": "autoscaling/v1"}
    notes = {f"{PREFIX}metrics": metrics, f"{PREFIX}behavior": behavior}
    raw["metadata"] = {"name": "h", "annotations": notes}
    found = from_v1(raw)
    kept = found["metadata"]["annotations"]
    assert kept == notes
    assert found["spec"]["metrics"] == []
