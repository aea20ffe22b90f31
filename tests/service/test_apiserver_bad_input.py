"""Nonsense in, a Status out: the right code and reason, never 500."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.service.kubectl import ApiServer
from tests.service.rest import Rest

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
CM = "/api/v1/namespaces/default/configmaps"
TOKENS = "/api/v1/namespaces/default/serviceaccounts/default/token"


@pytest.fixture(scope="session")
def rest(apiserver: ApiServer) -> Rest:
    rest = Rest(apiserver)
    rest("POST", CM, {"metadata": {"name": "fixed"}, "data": {"a": "b"}})
    return rest


AS_MERGE, AS_JSON, AS_STRATEGIC = ({"Content_Type": t} for t in (MERGE, JSON_PATCH, STRATEGIC))
AS_PROTOBUF = {"Content_Type": "application/vnd.kubernetes.protobuf"}
AS_APPLY = {"Content_Type": "application/apply-patch+yaml"}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NODES = "/apis/serving.kserve.io/v1alpha1/localmodelnodes"
NODE = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "LocalModelNode", "metadata": {"name": "n"}}
WHOLE = [{"op": "replace", "path": "", "value": 1}]
BAD: list[tuple[str, str, Any, dict[str, str], int, str]] = [
    ("POST", CM, b"{", {}, 400, "BadRequest"),
    ("POST", CM, b"[1]", {}, 400, "BadRequest"),
    ("POST", CM, b"null", {}, 400, "BadRequest"),
    ("POST", CM, b"", {}, 400, "BadRequest"),
    ("POST", CM, b"\xff\xfe", {}, 400, "BadRequest"),
    ("POST", CM, b"[" * 100_000, {}, 400, "BadRequest"),
    ("POST", CM, b"a: *b", {"Content_Type": "application/yaml"}, 400, "BadRequest"),
    ("POST", CM, b"k8s\x00\xff\xff\xff", AS_PROTOBUF, 400, "BadRequest"),
    ("POST", CM, b"<a/>", {"Content_Type": "text/xml"}, 415, "UnsupportedMediaType"),
    ("POST", CM, {"metadata": {}}, {}, 422, "Invalid"),
    ("POST", CM, {"metadata": {"name": "No_Good"}}, {}, 422, "Invalid"),
    ("POST", CM, {"metadata": {"name": "x", "namespace": "other"}}, {}, 400, "BadRequest"),
    ("POST", CM, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}}, {}, 400, "BadRequest"),
    ("POST", CM, {"metadata": {"name": "x", "resourceVersion": "5"}}, {}, 400, "BadRequest"),
    ("POST", CM, {"metadata": "x"}, {}, 400, "BadRequest"),
    ("POST", CM, {"metadata": {"name": "x"}, "data": {"a": {"b": 1}}}, {}, 400, "BadRequest"),
    ("POST", CM + "?dryRun=Some", {"metadata": {"name": "x"}}, {}, 422, "Invalid"),
    ("POST", CM + "?fieldValidation=Maybe", {"metadata": {"name": "x"}}, {}, 422, "Invalid"),
    ("POST", CM + "/fixed", {"metadata": {"name": "fixed"}}, {}, 405, "MethodNotAllowed"),
    ("POST", "/api/v1/configmaps", {"metadata": {"name": "x"}}, {}, 405, "MethodNotAllowed"),
    ("PUT", CM, {"metadata": {"name": "x"}}, {}, 405, "MethodNotAllowed"),
    ("PUT", CM + "/fixed", {"metadata": {"name": "other"}}, {}, 400, "BadRequest"),
    ("PUT", CM + "/absent", {"metadata": {"name": "absent"}}, {}, 404, "NotFound"),
    ("PUT", CM + "/fixed", {"metadata": {"name": "fixed", "resourceVersion": "1"}}, {}, 409, "Conflict"),
    ("PUT", CM + "/fixed", {"metadata": {"name": "fixed", "resourceVersion": {}}}, {}, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", {}, {}, 415, "UnsupportedMediaType"),
    ("PATCH", CM + "/fixed", b"x", AS_MERGE, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", [1], AS_JSON, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", [{"op": "remove", "path": "/no"}], AS_JSON, 422, "Invalid"),
    ("PATCH", CM + "/fixed", [{"op": "fly", "path": "/data"}], AS_JSON, 422, "Invalid"),
    ("PATCH", CM + "/fixed", WHOLE, AS_JSON, 422, "Invalid"),
    ("PATCH", CM + "/fixed", {"metadata": {"name": "b"}}, AS_MERGE, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", {"metadata": None}, AS_MERGE, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", {"metadata": {"resourceVersion": "1"}}, AS_MERGE, 409, "Conflict"),
    ("PATCH", CM + "/fixed", {"data": {"$patch": "fly"}}, AS_STRATEGIC, 400, "BadRequest"),
    ("PATCH", CM + "/fixed", b"{}", AS_APPLY, 415, "UnsupportedMediaType"),
    ("DELETE", CM + "/absent", None, {}, 404, "NotFound"),
    ("DELETE", CM + "/fixed?propagationPolicy=Sideways", None, {}, 422, "Invalid"),
    ("DELETE", CM + "/fixed", {"preconditions": {"uid": "other"}}, {}, 409, "Conflict"),
    ("DELETE", CM + "/fixed", {"gracePeriodSeconds": "soon"}, {}, 400, "BadRequest"),
    ("GET", CM + "/absent", None, {}, 404, "NotFound"),
    ("GET", CM + "/fixed/status", None, {}, 404, "NotFound"),
    ("GET", CM + "?labelSelector=a%20b", None, {}, 400, "BadRequest"),
    ("GET", CM + "?fieldSelector=data.a%3Db", None, {}, 400, "BadRequest"),
    ("GET", CM + "?limit=x", None, {}, 400, "BadRequest"),
    ("GET", CM + "?resourceVersionMatch=Exact", None, {}, 422, "Invalid"),
    ("GET", CM + "/fixed", None, {"Accept": "text/html"}, 406, "NotAcceptable"),
    ("GET", CM + "/fixed?resourceVersion=99999999", None, {}, 504, "Timeout"),
    ("GET", "/api/v1/nothings", None, {}, 404, "NotFound"),
    ("GET", "/apis/no.such/v1/things", None, {}, 404, "NotFound"),
    ("GET", "/api/v1/pods/x", None, {}, 404, "NotFound"),
    ("GET", "/api/v1/namespaces/default/nodes", None, {}, 404, "NotFound"),
    ("OPTIONS", CM, None, {}, 405, "MethodNotAllowed"),
    ("POST", "/version", {}, {}, 405, "MethodNotAllowed"),
    ("POST", REVIEWS, {"spec": {}}, {}, 422, "Invalid"),
    ("POST", "/api/v1/namespaces/default/serviceaccounts/absent/token", {"spec": {}}, {}, 404, "NotFound"),
    ("POST", TOKENS, {"spec": {"expirationSeconds": 1}}, {}, 422, "Invalid"),
    ("POST", TOKENS, {"spec": {"expirationSeconds": 1 << 33}}, {}, 422, "Invalid"),
    ("POST", TOKENS, {"spec": {"boundObjectRef": {"kind": "ConfigMap", "name": "m"}}}, {}, 400, "BadRequest"),
    ("POST", TOKENS, {"spec": {"boundObjectRef": {"kind": "Pod", "name": "absent"}}}, {}, 404, "NotFound"),
    ("PUT", NODES + "/n", {"metadata": {"name": "n"}}, {}, 400, "BadRequest"),
    ("PUT", NODES + "/n", NODE, {}, 422, "Invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "headers", "code", "reason"), BAD)
def test_a_bad_request_gets_its_status(
    rest: Rest, method: str, path: str, body: Any, headers: dict[str, str], code: int, reason: str
) -> None:
    found, status = rest(method, path, body, **headers)
    assert (found, status["kind"], status["status"]) == (code, "Status", "Failure"), status
    assert (status["code"], status["reason"]) == (code, reason), status
    assert status["message"]


def test_a_body_over_three_mebibytes_is_refused(rest: Rest) -> None:
    code, status = rest("POST", CM, {"metadata": {"name": "big"}, "data": {"a": "x" * (3 << 20)}})
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


def test_copies_in_a_patch_cannot_fill_the_memory(rest: Rest) -> None:
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(60)]
    assert rest("PATCH", CM + "/fixed", doubling, Content_Type=JSON_PATCH)[0] == 413


def test_aliases_in_yaml_cannot_fill_the_memory(rest: Rest) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    code, status = rest("POST", CM, "\n".join(lines).encode(), Content_Type="application/yaml")
    assert (code, status["reason"]) == (400, "BadRequest")


def test_half_a_character_is_kept_as_the_sign_for_it(rest: Rest) -> None:
    """As Go reads it. The halves of one character stay together, and a backslash is no escape."""
    body = rb'{"metadata": {"name": "halves"}, "data": {"a": "\ud800 \\ud800 \ud83d\ude00 \udfff"}}'
    code, made = rest("POST", "/api/v1/namespaces/default/configmaps", body)
    assert code == 201 and made["data"]["a"] == "\ufffd \\ud800 \U0001f600 \ufffd"


def test_questions_of_the_wrong_shape_are_refused(rest: Rest) -> None:
    reviews, place = "/apis/authorization.k8s.io/v1", "namespaces/default"
    about = {"verb": "get", "resource": "secrets", "namespace": "default"}
    for path, spec in (
        (f"{reviews}/subjectaccessreviews", {"user": "a", "groups": 5, "resourceAttributes": about}),
        (f"/api/v1/{place}/serviceaccounts/default/token", {"audiences": 5}),
        (f"{reviews}/{place}/localsubjectaccessreviews",
         {"user": "a", "resourceAttributes": {**about, "namespace": "kserve"}}),
    ):  # fmt: skip
        assert rest("POST", path, {"spec": spec})[0] == 400, path


def test_without_a_token_only_health_and_version_answer(apiserver: ApiServer) -> None:
    for token in ("", "x.y.z", "nonsense"):
        nobody = Rest(apiserver, token=token)
        code, status = nobody("GET", CM)
        assert (code, status["reason"]) == (401, "Unauthorized")
    nobody = Rest(apiserver, token="")
    assert nobody("GET", "/readyz")[0] == 200 and nobody("GET", "/version")[0] == 200


def test_several_causes_come_in_one_status(rest: Rest) -> None:
    odd = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": -1}}
    code, status = rest("POST", "/apis/apps/v1/namespaces/default/deployments", odd)
    assert (code, status["reason"], status["details"]["kind"]) == (422, "Invalid", "Deployment")
    assert status["message"].startswith('Deployment.apps "d" is invalid: [')
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert {"spec.replicas", "spec.selector"} <= fields


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
PATHS = (
    CM, "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments",
    "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices",
    "/apis/serving.kserve.io/v1alpha1/localmodelcaches", "/api/v1/namespaces/default/services",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/api/v1/namespaces/default/events",
    "/apis/events.k8s.io/v1/namespaces/default/events", "/apis/batch/v1/namespaces/default/jobs",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/apis/authentication.k8s.io/v1/tokenreviews",
    "/api/v1/namespaces/default/serviceaccounts/default/token", "/api/v1/persistentvolumes",
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS), spec=anything, status=anything,
    meta=st.dictionaries(
        st.sampled_from(["labels", "annotations", "finalizers", "ownerReferences", "uid", "x"]),
        anything, max_size=3,
    ),
)  # fmt: skip
def test_no_object_makes_the_server_fail(rest: Rest, path: str, spec: Any, status: Any, meta: Any) -> None:
    body = {"metadata": {"generateName": "g", **meta}, "spec": spec, "status": status}
    code, told = rest("POST", path + "?dryRun=All", body)
    assert code < 500, told


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    media=st.sampled_from([MERGE, STRATEGIC, JSON_PATCH]),
    change=st.dictionaries(st.sampled_from(["metadata", "data", "spec", "kind", "$patch"]), anything)
    | st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "copy", "move", "test", "replace"]),
                "path": st.text(max_size=9),
            },
            optional={"value": anything, "from": st.text(max_size=9)},
        )
    ),
)
def test_no_patch_makes_the_server_fail(rest: Rest, media: str, change: Any) -> None:
    code, told = rest("PATCH", CM + "/fixed?dryRun=All", change, Content_Type=media)
    assert code < 500, told
