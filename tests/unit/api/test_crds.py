"""Our CRDs against a table of KServe's published facts, and against the rules of structural schemas."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.api import kserve_facts as facts

from forebay.api.crds import all_crds
from forebay.api.kinds import OURS

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in all_crds()}


def schema(kind: str) -> Any:
    return CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def at(kind: str, path: str) -> Any:
    node = schema(kind)
    for part in path.split("."):
        name, is_list = part.removesuffix("[]"), part.endswith("[]")
        node = node["properties"][name]
        node = node["items"] if is_list else node
    return node


@pytest.mark.parametrize("kind", facts.FIELDS)
def test_every_field_of_kserve_is_there_with_its_type(kind: str) -> None:
    for path, type_ in facts.FIELDS[kind].items():
        node = at(kind, path)
        found = "quantity" if node.get("x-kubernetes-int-or-string") else node["type"]
        assert found == type_, path


@pytest.mark.parametrize("kind", facts.REQUIRED)
def test_required_fields_are_kserves(kind: str) -> None:
    for path, names in facts.REQUIRED[kind].items():
        assert sorted(at(kind, path).get("required", [])) == names, path


@pytest.mark.parametrize("kind", facts.KINDS)
def test_scope_short_names_and_status_subresource_are_kserves(kind: str) -> None:
    spec = CRDS[kind]["spec"]
    scope, short, status = facts.KINDS[kind]
    assert spec["scope"] == scope
    assert tuple(spec["names"].get("shortNames", ())) == short
    assert ("subresources" in spec["versions"][0]) is status
    assert spec["group"] == "serving.kserve.io"


def test_states_and_the_immutability_sentence_are_kserves() -> None:
    for kind in ("LocalModelCache", "LocalModelNamespaceCache"):
        assert at(kind, "status.nodeStatus")["additionalProperties"]["enum"] == facts.NODE_STATES
        [rule] = at(kind, "spec.sourceModelUri")["x-kubernetes-validations"]
        assert rule == {"rule": "self == oldSelf", "message": "StorageUri is immutable"}
        assert at(kind, "spec.nodeGroups")["minItems"] == 1
    assert at("LocalModelNode", "status.modelStatus")["additionalProperties"]["enum"] == facts.MODEL_STATES


def test_print_columns_of_an_inference_service_are_kserves() -> None:
    columns = CRDS["InferenceService"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [c["name"] for c in columns] == [
        "URL",
        "Ready",
        "Prev",
        "Latest",
        "PrevRolledoutRevision",
        "LatestReadyRevision",
        "Age",
    ]


@pytest.mark.parametrize("kind", [k.kind for k in OURS])
def test_schemas_are_structural(kind: str) -> None:
    def check(node: Any, path: str) -> None:
        assert "$ref" not in node and "title" not in node, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        if "anyOf" in node:
            assert node.get("x-kubernetes-int-or-string"), path
        for name, child in (node.get("properties") or {}).items():
            check(child, f"{path}.{name}")
        if node.get("type") == "array":
            check(node["items"], path + "[]")
        if isinstance(node.get("additionalProperties"), dict):
            check(node["additionalProperties"], path + "{}")

    check(schema(kind), kind)
