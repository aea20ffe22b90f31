"""A tenant's pods see no folder of the node, by whatever object they come to be."""

from __future__ import annotations

from typing import Any

import pytest
from tests.service.kubectl import ApiServer
from tests.service.rest import Rest

HOST: dict[str, Any] = {
    "containers": [{"name": "c", "image": "i"}],
    "volumes": [{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/models"}}],
}
LABELS = {"app": "x"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": HOST}
SELECTED = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
SERVING = "/apis/serving.kserve.io"
MODEL = {"modelFormat": {"name": "gguf"}, "storageUri": "hf://o/m"}
SERVICE = {"predictor": {"model": MODEL, "volumes": HOST["volumes"]}}
CUSTOM = {"inferenceservices": "InferenceService", "servingruntimes": "ServingRuntime"}


@pytest.fixture(scope="module")
def team(apiserver: ApiServer) -> str:
    Rest(apiserver)("POST", "/api/v1/namespaces", {"metadata": {"name": "team-a"}})
    return "team-a"


@pytest.mark.parametrize(
    ("path", "plural", "spec"),
    [
        ("/api/v1", "pods", HOST),
        ("/apis/apps/v1", "deployments", SELECTED),
        ("/apis/apps/v1", "replicasets", SELECTED),
        ("/apis/apps/v1", "daemonsets", SELECTED),
        ("/apis/batch/v1", "jobs", {"template": {"spec": {**HOST, "restartPolicy": "Never"}}}),
        (f"{SERVING}/v1beta1", "inferenceservices", SERVICE),
        (f"{SERVING}/v1alpha1", "servingruntimes", HOST),
    ],
)
def test_a_user_gets_no_host_path_and_an_admin_does(
    apiserver: ApiServer, team: str, path: str, plural: str, spec: dict[str, Any]
) -> None:
    alice, admin = Rest(apiserver, "alice"), Rest(apiserver)
    place = f"{path}/namespaces/{team}/{plural}"
    body: dict[str, Any] = {"metadata": {"name": "host"}, "spec": spec}
    if plural in CUSTOM:
        body |= {"apiVersion": path.removeprefix("/apis/"), "kind": CUSTOM[plural]}
    code, status = alice("POST", place, body)
    assert (code, status["reason"]) == (403, "Forbidden")
    assert 'volume "h" of /models) are for administrators: use an emptyDir' in status["message"]
    assert admin("POST", place, body)[0] == 201
    try:
        patch = {"metadata": {"labels": {"mine": "yes"}}}
        assert alice("PATCH", f"{place}/host", patch, Content_Type="application/merge-patch+json")[0] == 200
    finally:
        admin("DELETE", f"{place}/host")


def test_a_host_path_cannot_be_brought_in_later(apiserver: ApiServer, team: str) -> None:
    alice = Rest(apiserver, "alice")
    place = f"/apis/apps/v1/namespaces/{team}/deployments"
    plain = {**SELECTED, "template": {**TEMPLATE, "spec": {"containers": HOST["containers"]}}}
    assert alice("POST", place, {"metadata": {"name": "later"}, "spec": plain})[0] == 201
    patch = {"spec": {"template": {"spec": {"volumes": HOST["volumes"]}}}}
    code, status = alice("PATCH", f"{place}/later", patch, Content_Type="application/merge-patch+json")
    assert code == 403 and "hostPath" in status["message"]
    assert alice("DELETE", f"{place}/later")[0] == 200
