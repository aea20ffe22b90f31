"""Fixed roles as a user meets them."""

from __future__ import annotations

import pytest
from tests.service.kubectl import ApiServer
from tests.service.rest import Rest

AGENT = "system:serviceaccount:kserve:forebay-node"
JOBS = "kserve-localmodel-jobs"
SECRETS = f"/api/v1/namespaces/{JOBS}/secrets"


@pytest.fixture(scope="session")
def jobs(apiserver: ApiServer) -> str:
    admin = Rest(apiserver)
    for name in (JOBS, "team-a"):
        admin("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    admin("POST", SECRETS, {"metadata": {"name": "hub"}, "stringData": {"token": "t"}})
    return JOBS


def test_users_cannot_read_the_job_namespace(apiserver: ApiServer, jobs: str) -> None:
    alice = Rest(apiserver, "alice")
    for path in (
        SECRETS,
        f"{SECRETS}/hub",
        f"/api/v1/namespaces/{jobs}/pods",
        f"/api/v1/namespaces/{jobs}/pods/p/log",
    ):
        code, status = alice("GET", path)
        assert (code, status["reason"]) == (403, "Forbidden")
    code, status = alice("GET", f"{SECRETS}/hub")
    assert status["message"] == (
        'secrets "hub" is forbidden: User "alice" cannot get resource "secrets" in API group "" '
        f'in the namespace "{jobs}"'
    )
    assert status["details"] == {"name": "hub", "kind": "secrets"}
    assert alice("GET", "/api/v1/secrets")[0] == 403


def test_users_work_in_their_own_namespace(apiserver: ApiServer, jobs: str) -> None:
    alice = Rest(apiserver, "alice")
    place = "/api/v1/namespaces/team-a/configmaps"
    assert alice("POST", place, {"metadata": {"name": "mine"}})[0] == 201
    assert alice("DELETE", f"{place}/mine")[0] == 200
    assert alice("GET", "/apis/serving.kserve.io/v1alpha1/localmodelcaches")[0] == 200
    assert alice("DELETE", "/api/v1/namespaces/team-a")[0] == 403
    assert alice("POST", "/api/v1/namespaces", {"metadata": {"name": "more"}})[0] == 403


def test_what_programs_believe_is_not_a_users_to_write(apiserver: ApiServer, jobs: str) -> None:
    """As with Kubernetes' own role `admin`: no status, no binding, no endpoints."""
    alice, place = Rest(apiserver, "alice"), "namespaces/team-a"
    serving = f"/apis/serving.kserve.io/v1alpha1/{place}/localmodelnamespacecaches/mine/status"
    for method, path in (
        ("PUT", serving),
        ("PUT", f"/api/v1/{place}/pods/p/status"),
        ("POST", f"/api/v1/{place}/pods/p/binding"),
        ("POST", f"/api/v1/{place}/endpoints"),
        ("POST", f"/apis/discovery.k8s.io/v1/{place}/endpointslices"),
        ("DELETE", f"/apis/discovery.k8s.io/v1/{place}/endpointslices/e"),
    ):
        code, status = alice(method, path, {"metadata": {"name": "mine"}})
        assert (code, status["reason"]) == (403, "Forbidden"), path
    assert alice("GET", f"/apis/discovery.k8s.io/v1/{place}/endpointslices")[0] == 200
    assert alice("GET", f"/apis/apps/v1/{place}/deployments/none/status")[0] == 404
    assert alice("GET", f"/apis/apps/v1/{place}/deployments/none/scale")[0] == 404


def test_the_agent_reads_no_secret_and_makes_no_pod(apiserver: ApiServer, jobs: str) -> None:
    admin = Rest(apiserver)
    assert admin("GET", f"{SECRETS}/hub")[0] == 200
    assert admin("GET", f"{SECRETS}/hub", Impersonate_User=AGENT)[0] == 403
    assert admin("GET", "/api/v1/secrets?watch=1", Impersonate_User=AGENT)[0] == 403
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert admin("POST", f"/api/v1/namespaces/{jobs}/pods", pod, Impersonate_User=AGENT)[0] == 403
    assert admin("GET", "/api/v1/pods", Impersonate_User=AGENT)[0] == 200


def test_only_an_admin_speaks_for_others(apiserver: ApiServer) -> None:
    code, status = Rest(apiserver, "alice")("GET", "/api/v1/nodes", Impersonate_User="bob")
    assert code == 403 and 'cannot impersonate resource "users"' in status["message"]


def test_a_token_of_a_service_account_is_that_account(apiserver: ApiServer) -> None:
    admin = Rest(apiserver)
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    code, asked = admin("POST", path, {"spec": {"expirationSeconds": 600}})
    assert code == 201 and asked["status"]["expirationTimestamp"]
    pod = Rest(apiserver, token=asked["status"]["token"])
    _, me = pod("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert me["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"
    assert pod("GET", "/api/v1/namespaces/default/secrets")[0] == 403
    _, review = admin(
        "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": asked["status"]["token"]}}
    )
    assert review["status"]["authenticated"] is True


def test_a_token_ends_with_its_account_and_with_what_it_is_bound_to(apiserver: ApiServer, jobs: str) -> None:
    admin, place = Rest(apiserver), "/api/v1/namespaces/team-a"
    review = "/apis/authentication.k8s.io/v1/tokenreviews"

    def works(token: str) -> bool:
        code = Rest(apiserver, token=token)("GET", "/api")[0]
        told = admin("POST", review, {"spec": {"token": token}})[1]["status"]
        assert told.get("authenticated", False) is (code == 200) and code in (200, 401)
        return code == 200

    def token(bound: dict[str, str] | None = None) -> str:
        spec = {"boundObjectRef": bound} if bound else {}
        code, asked = admin("POST", f"{place}/serviceaccounts/robot/token", {"spec": spec})
        assert code == 201
        return str(asked["status"]["token"])

    account = {"metadata": {"name": "robot"}}
    assert admin("POST", f"{place}/serviceaccounts", account)[0] == 201
    assert admin("POST", f"{place}/secrets", {"metadata": {"name": "bound"}})[0] == 201
    free, bound = token(), token({"kind": "Secret", "name": "bound"})
    assert works(free) and works(bound)
    admin("DELETE", f"{place}/secrets/bound")
    assert works(free) and not works(bound)
    admin("POST", f"{place}/secrets", {"metadata": {"name": "bound"}})
    assert not works(bound), "another one of the name is not the one"
    admin("DELETE", f"{place}/serviceaccounts/robot")
    assert not works(free)
    admin("POST", f"{place}/serviceaccounts", account)
    assert not works(free) and works(token())


def test_access_reviews_answer_for_others_to_admins_only(apiserver: ApiServer) -> None:
    ask = {"user": AGENT, "groups": ["system:authenticated"],
           "resourceAttributes": {"verb": "list", "resource": "pods"}}  # fmt: skip
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert Rest(apiserver)("POST", path, {"spec": ask})[1]["status"]["allowed"] is True
    assert Rest(apiserver, "alice")("POST", path, {"spec": ask})[0] == 403
