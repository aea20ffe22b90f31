"""The fixed roles: what each may and, above all, what it may not."""

from __future__ import annotations

import pytest

from forebay.home.apiserver.authz import JOB_NAMESPACE, Ask, allowed, listed, refusal_text
from forebay.home.tokens import AUTHENTICATED, MASTERS, NAMESPACE_GROUP, User, service_account

ADMIN = User("kubernetes-admin", (MASTERS, AUTHENTICATED))
ALICE = User("alice", (NAMESPACE_GROUP + "team-a", AUTHENTICATED))
GREEDY = User("eve", (NAMESPACE_GROUP + JOB_NAMESPACE, NAMESPACE_GROUP + "kserve", AUTHENTICATED))
AGENT = service_account("kserve", "forebay-node")
GATEWAY = service_account("kserve", "forebay-gateway")
JOB_POD = service_account(JOB_NAMESPACE, "default")
SERVING = "serving.kserve.io"
ALL_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")

MAY = [
    (ADMIN, Ask("delete", "", "secrets", "", JOB_NAMESPACE, "s")),
    (ADMIN, Ask("create", "", "namespaces")),
    (ALICE, Ask("create", SERVING, "inferenceservices", "", "team-a")),
    (ALICE, Ask("get", "", "pods", "log", "team-a", "p")),
    (ALICE, Ask("list", "", "secrets", "", "team-a")),
    (ALICE, Ask("get", "", "namespaces", "", "team-a", "team-a")),
    (ALICE, Ask("list", SERVING, "localmodelcaches")),
    (ALICE, Ask("list", "", "nodes")),
    (ALICE, Ask("create", "authorization.k8s.io", "selfsubjectaccessreviews")),
    (AGENT, Ask("list", "", "pods")),
    (AGENT, Ask("update", SERVING, "localmodelnodes", "status", "", "n1")),
    (AGENT, Ask("watch", "batch", "jobs", "", JOB_NAMESPACE)),
    (AGENT, Ask("create", "", "events", "", "default")),
    (AGENT, Ask("get", "", "configmaps", "", "kserve", "inferenceservice-config")),
    (GATEWAY, Ask("watch", "discovery.k8s.io", "endpointslices")),
    (GATEWAY, Ask("list", SERVING, "inferenceservices")),
    (JOB_POD, Ask("create", "authentication.k8s.io", "selfsubjectreviews")),
]
MAY_NOT = [
    (ALICE, Ask("list", "", "pods", "", JOB_NAMESPACE)),
    (ALICE, Ask("get", "", "secrets", "", JOB_NAMESPACE, "s")),
    (ALICE, Ask("get", "", "pods", "log", JOB_NAMESPACE, "p")),
    (ALICE, Ask("list", "", "pods", "", "team-b")),
    (ALICE, Ask("list", "", "pods")),
    (ALICE, Ask("create", SERVING, "localmodelcaches")),
    (ALICE, Ask("delete", "", "namespaces", "", "team-a", "team-a")),
    (ALICE, Ask("update", "", "namespaces", "finalize", "team-a", "team-a")),
    (ALICE, Ask("create", "", "namespaces")),
    (ALICE, Ask("patch", "", "nodes", "", "", "n1")),
    (GREEDY, Ask("list", "", "secrets", "", JOB_NAMESPACE)),
    (GREEDY, Ask("list", "", "configmaps", "", "kserve")),
    (AGENT, Ask("update", SERVING, "localmodelnodes", "", "", "n1")),
    (AGENT, Ask("get", "", "configmaps", "", "kserve", "other")),
    (GATEWAY, Ask("get", "", "secrets", "", "kserve", "s")),
    (GATEWAY, Ask("update", SERVING, "inferenceservices", "status", "team-a", "i")),
    (JOB_POD, Ask("get", "", "secrets", "", JOB_NAMESPACE, "s")),
    (JOB_POD, Ask("list", "", "pods", "", JOB_NAMESPACE)),
    (User("system:anonymous"), Ask("get", "", "pods", "", "default", "p")),
]


@pytest.mark.parametrize(
    ("user", "ask"), MAY, ids=lambda v: v.name if isinstance(v, User) else f"{v.verb} {v.resource}"
)
def test_it_may(user: User, ask: Ask) -> None:
    assert allowed(user, ask)


@pytest.mark.parametrize(
    ("user", "ask"), MAY_NOT, ids=lambda v: v.name if isinstance(v, User) else f"{v.verb} {v.resource}"
)
def test_it_may_not(user: User, ask: Ask) -> None:
    assert not allowed(user, ask)


@pytest.mark.parametrize("namespace", ["", "kserve", JOB_NAMESPACE, "default"])
@pytest.mark.parametrize("verb", ALL_VERBS)
def test_the_agent_touches_no_secret_and_makes_no_pod(verb: str, namespace: str) -> None:
    assert not allowed(AGENT, Ask(verb, "", "secrets", "", namespace, "x"))
    assert verb in ("get", "list", "watch") or not allowed(AGENT, Ask(verb, "", "pods", "", namespace, "x"))


def test_a_refusal_reads_like_kubernetes_own() -> None:
    assert refusal_text(ALICE, Ask("list", "", "pods", "", "team-b")) == (
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" '
        'in the namespace "team-b"'
    )
    assert refusal_text(ALICE, Ask("delete", SERVING, "localmodelcaches", "", "", "m")) == (
        'localmodelcaches.serving.kserve.io "m" is forbidden: User "alice" cannot delete resource '
        '"localmodelcaches" in API group "serving.kserve.io" at the cluster scope'
    )


def test_the_rules_that_are_listed_are_those_of_the_namespace() -> None:
    own, _ = listed(ALICE, "team-a")
    other, _ = listed(ALICE, "team-b")
    assert any(rule["verbs"] == ["*"] for rule in own)
    assert not any(rule["verbs"] == ["*"] for rule in other)
