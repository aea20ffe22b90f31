"""URL and method -> operation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.home.apiserver.paths import Operation, parse

CASES = [
    ("GET", "/api/v1/pods", {}, "list  v1  pods  "),
    ("GET", "/api/v1/namespaces/a/pods", {}, "list  v1 a pods  "),
    ("GET", "/api/v1/namespaces/a/pods/p", {}, "get  v1 a pods p "),
    ("GET", "/api/v1/namespaces/a/pods/p/log", {}, "get  v1 a pods p log"),
    ("POST", "/api/v1/namespaces/a/pods/p/binding", {}, "create  v1 a pods p binding"),
    ("GET", "/api/v1/namespaces/a/pods", {"watch": "true"}, "watch  v1 a pods  "),
    ("GET", "/api/v1/watch/namespaces/a/pods", {}, "watch  v1 a pods  "),
    ("GET", "/api/v1/namespaces", {}, "list  v1  namespaces  "),
    ("GET", "/api/v1/namespaces/a", {}, "get  v1 a namespaces a "),
    ("PUT", "/api/v1/namespaces/a/finalize", {}, "update  v1 a namespaces a finalize"),
    ("PATCH", "/api/v1/namespaces/a/status", {}, "patch  v1 a namespaces a status"),
    ("GET", "/api/v1/namespaces/status/pods", {}, "list  v1 status pods  "),
    ("DELETE", "/apis/apps/v1/namespaces/a/deployments/d", {}, "delete apps v1 a deployments d "),
    ("DELETE", "/apis/apps/v1/namespaces/a/deployments", {}, "deletecollection apps v1 a deployments  "),
    ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", {}, "patch apps v1 a deployments d scale"),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {},
     "create authorization.k8s.io v1  selfsubjectaccessreviews  "),
    ("GET", "/api/v1/namespaces/a/pods/p/proxy/x/y", {}, "get  v1 a pods p proxy/x/y"),
    ("GET", "/api/v1/namespaces/a/configmaps/x%2Fy", {}, "get  v1 a configmaps x/y "),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "query", "wanted"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_a_request_line_is_read_as_kubernetes_reads_it(
    method: str, path: str, query: dict[str, str], wanted: str
) -> None:
    op = parse(method, path, query)
    found = [op.verb, op.group, op.version, op.namespace, op.resource, op.name, op.subresource]
    assert " ".join(found) == wanted


@pytest.mark.parametrize("path", ["/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version"])
def test_other_paths_are_no_resource(path: str) -> None:
    assert parse("GET", path, {}) == Operation("get", path) or not parse("GET", path, {}).is_resource


@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]), st.text(max_size=60))
def test_no_path_breaks_the_parser(method: str, path: str) -> None:
    op = parse(method, "/" + path, {})
    assert op.verb and isinstance(op.is_resource, bool)
