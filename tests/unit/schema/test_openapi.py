"""OpenAPI documents hold what kubectl looks for."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import kinds
from forebay.api.schema import kind_of_crd, openapi_v3

from .objects import crd

GROUPS = sorted({(kind.group, kind.version) for kind in kinds.ALL})


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for below in value.values() for one in references(below)]
    return [one for below in value for one in references(below)] if isinstance(value, list) else []


@pytest.mark.parametrize(("group", "version"), GROUPS)
def test_every_reference_of_every_group_is_there(group: str, version: str):
    found = openapi_v3(group, version, [k for k in kinds.ALL if (k.group, k.version) == (group, version)])
    schemas = found["components"]["schemas"]
    assert {one.removeprefix("#/components/schemas/") for one in references(found)} <= set(schemas)


def empty_schemas(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        own = [path] if not value and path.rsplit("/", 2)[-2] in ("properties", "schemas") else []
        return own + [one for key, below in value.items() for one in empty_schemas(below, f"{path}/{key}")]
    return []


def test_no_schema_is_empty_because_kubectl_explain_takes_it_for_none():
    found = openapi_v3("apiextensions.k8s.io", "v1", [kinds.CustomResourceDefinition])["components"]
    assert empty_schemas(found, "components") == []


def test_patches_declare_what_kubectl_asks_for():
    paths = openapi_v3("apps", "v1", [kinds.Deployment])["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert {"dryRun", "fieldValidation"} <= {one["name"] for one in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_lists_tell_how_they_merge():
    schemas = openapi_v3("", "v1", [kinds.Pod])["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert schemas["io.k8s.api.core.v1.PodSpec"]["required"] == ["containers"]
    policy = schemas["io.k8s.api.core.v1.Container"]["properties"]["imagePullPolicy"]
    assert policy["enum"] == ["Always", "IfNotPresent", "Never"]


def test_a_custom_kind_has_its_own_schema_and_no_strategic_patches():
    kind = kind_of_crd(crd({"type": "object", "properties": {"a": {"type": "string"}}}), "v1")
    found = openapi_v3("example.com", "v1", [kind])
    schema = found["components"]["schemas"]["com.example.v1.Toy"]
    assert schema["properties"]["spec"]["properties"] == {"a": {"type": "string"}}
    patch = found["paths"]["/apis/example.com/v1/namespaces/{namespace}/toys/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
