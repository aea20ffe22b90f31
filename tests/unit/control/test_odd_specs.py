"""Specs that are allowed and strange: found by tests/fuzz/controllers.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.serving_world import World, condition
from tests.unit.control.test_services import prepared, the_service

from forebay.api import kinds

pytestmark = pytest.mark.anyio
HEAD = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: svc}
"""


async def test_a_container_without_ports_gets_the_usual_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        container = "{name: kserve-container, image: x, ports: []}"
        await world.apply(HEAD + f"spec: {{predictor: {{containers: [{container}]}}}}")
        await world.settle()
        service = await world.get(kinds.Service, "svc-predictor", "default")
        assert service.spec["ports"][0]["targetPort"] == 8080


async def test_an_entry_of_the_storage_secret_that_is_no_object_is_named(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        secret = """
apiVersion: v1
kind: Secret
metadata: {name: storage-config}
stringData: {k: "[]"}
"""
        model = "{modelFormat: {name: huggingface}, storage: {key: k, path: p}}"
        await world.apply(secret + "---" + HEAD + f"spec: {{predictor: {{model: {model}}}}}")
        await world.settle()
        said = condition(await the_service(world), "Ready")["message"]
        assert said == "Secret default/storage-config, entry 'k': not a JSON object; correct it"


@pytest.mark.parametrize(
    ("how", "target"),
    [
        ("scaleMetricType: AverageValue", {"type": "Utilization", "averageUtilization": 80}),
        ("scaleMetricType: AverageValue, scaleTarget: 2", {"type": "AverageValue", "averageValue": "2"}),
        ("autoScaling: {metrics: [{type: Resource}]}", {"type": "Utilization", "averageUtilization": 80}),
    ],
)
async def test_an_autoscaler_has_a_target_whatever_is_left_out(
    tmp_path: Path, how: str, target: dict[str, object]
) -> None:
    async with World(tmp_path) as world:
        await prepared(world, cached=False)
        model = "{modelFormat: {name: huggingface}, storageUri: s3://b/p}"
        await world.apply(HEAD + f"spec: {{predictor: {{maxReplicas: 3, {how}, model: {model}}}}}")
        await world.settle()
        scaler = await world.get(kinds.HorizontalPodAutoscaler, "svc-predictor", "default")
        assert scaler.spec["metrics"][0]["resource"] == {"name": "cpu", "target": target}
