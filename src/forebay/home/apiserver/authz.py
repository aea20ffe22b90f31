"""Who may do what: fixed roles as one pure table.

Roles are admin, user (own namespaces), and one per program with just the rights that it has on a cluster.
Objects of rbac.authorization.k8s.io are stored for clients that post them and change nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.meta import Json
from forebay.home.tokens import AUTHENTICATED, MASTERS, User

JOB_NAMESPACE = "kserve-localmodel-jobs"
SYSTEM_NAMESPACE = "kserve"
_CLOSED_TO_USERS = frozenset({JOB_NAMESPACE, SYSTEM_NAMESPACE, "kube-system"})
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
SERVING = "serving.kserve.io"
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")


@dataclass(frozen=True)
class Rule:
    """What is allowed; "*" stands for all. `namespaces` None means everywhere, cluster scope included."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]  # "pods", "pods/log", "*"
    names: tuple[str, ...] = ()
    namespaces: frozenset[str] | None = None

    def allows(self, ask: Ask) -> bool:
        """Whether this rule lets `ask` through."""
        resource = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
        return (
            _in(ask.verb, self.verbs)
            and _in(ask.group, self.groups)
            and _in(resource, self.resources)
            and (not self.names or ask.name in self.names)
            and (self.namespaces is None or ask.namespace in self.namespaces)
        )


@dataclass(frozen=True)
class Ask:
    """One question to the table. `namespace` is "" for cluster scope and for all namespaces."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # of a URL that is no resource


def _in(value: str, allowed: tuple[str, ...]) -> bool:
    return value in allowed or "*" in allowed


_ALL = (Rule(("*",), ("*",), ("*",)),)
_EVERYONE = (
    Rule(("create",), ("authorization.k8s.io",), _REVIEWS),
    Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
)
_CATALOGUE = (  # what a user must see to write an InferenceService; nothing here holds a credential
    Rule(READ, ("",), ("nodes", "persistentvolumes")),
    Rule(READ, ("storage.k8s.io",), ("storageclasses",)),
    Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
    Rule(
        READ,
        (SERVING,),
        (
            "localmodelcaches",
            "localmodelnodes",
            "localmodelnodegroups",
            "clusterstoragecontainers",
            "clusterservingruntimes",
        ),
    ),
)
_WRITTEN_BY_PROGRAMS = frozenset(
    {("", "namespaces"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices"), ("", "bindings")}
)
_EVENTS = Rule(("create", "get", "patch", "update"), ("", "events.k8s.io"), ("events",))
_PROGRAMS: dict[str, tuple[Rule, ...]] = {
    # The agent reads no Secret and creates no pod: who creates pods in a namespace can read its Secrets.
    f"system:serviceaccount:{SYSTEM_NAMESPACE}:forebay-node": (
        Rule(READ, ("",), ("pods", "nodes", "persistentvolumes", "persistentvolumeclaims")),
        Rule(READ, (SERVING,), ("localmodelnodes", "localmodelnodegroups")),
        Rule(READ, ("batch",), ("jobs",), namespaces=frozenset({JOB_NAMESPACE})),
        Rule(READ, (SERVING,), ("localmodelcaches", "localmodelnamespacecaches")),
        Rule(("get", "update", "patch"), (SERVING,), ("localmodelnodes/status",)),
        Rule(("get",), ("",), ("configmaps",), ("inferenceservice-config",), frozenset({SYSTEM_NAMESPACE})),
        Rule(("get", "create", "update", "patch"), ("coordination.k8s.io",), ("leases",),
             namespaces=frozenset({SYSTEM_NAMESPACE})),
        _EVENTS,
    ),
    f"system:serviceaccount:{SYSTEM_NAMESPACE}:forebay-gateway": (
        Rule(READ, ("",), ("services", "pods", "namespaces")),
        Rule(READ, ("discovery.k8s.io",), ("endpointslices",)),
        Rule(READ, (SERVING,), ("inferenceservices", "servingruntimes", "clusterservingruntimes")),
        Rule(READ, ("apps",), ("deployments",)),
        Rule(READ, ("",), ("configmaps",), ("inferenceservice-config",), frozenset({SYSTEM_NAMESPACE})),
        _EVENTS,
    ),
}  # fmt: skip


def rules_of(user: User) -> tuple[Rule, ...]:
    """All rules that hold for `user`."""
    if MASTERS in user.groups:
        return _ALL
    if AUTHENTICATED not in user.groups:
        return ()
    own = _EVERYONE + _PROGRAMS.get(user.name, ())
    if user.name.startswith("system:serviceaccount:"):
        return own
    namespaces = user.namespaces - _CLOSED_TO_USERS
    return own + _CATALOGUE + _own_namespaces(namespaces)


def _own_namespaces(namespaces: frozenset[str]) -> tuple[Rule, ...]:
    if not namespaces:
        return ()
    return (
        Rule(("*",), ("*",), ("*",), (), namespaces),
        Rule(("get",), ("",), ("namespaces",), tuple(sorted(namespaces))),
    )


def _is_programs(ask: Ask) -> bool:
    """Whether only programs write it, and administrators.

    A namespace belongs to its users, but not its existence. A status is believed by controllers, endpoints
    lead the gateway wherever they say. Kubernetes' own role `admin` may write none of them either.
    """
    if ask.subresource in ("status", "binding", "finalize"):
        return True
    return (ask.group, ask.resource) in _WRITTEN_BY_PROGRAMS


def allowed(user: User, ask: Ask) -> bool:
    """The answer to one question."""
    if ask.path:
        return MASTERS in user.groups or ask.verb in ("get", "head")
    trusted = MASTERS in user.groups or user.name in _PROGRAMS
    if not trusted and ask.verb not in READ and _is_programs(ask):
        return False
    return any(rule.allows(ask) for rule in rules_of(user))


def refusal_text(user: User, ask: Ask) -> str:
    """Kubernetes' sentence for a question answered with no."""
    if ask.path:
        return f'User "{user.name}" cannot {ask.verb} path "{ask.path}"'
    resource = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    scope = f'in the namespace "{ask.namespace}"' if ask.namespace else "at the cluster scope"
    told = f'User "{user.name}" cannot {ask.verb} resource "{resource}" in API group "{ask.group}" {scope}'
    qualified = f"{resource}.{ask.group}" if ask.group else resource
    name = f' "{ask.name}"' if ask.name else ""
    return f"{qualified}{name} is forbidden: {told}"


def listed(user: User, namespace: str) -> tuple[list[Json], list[Json]]:
    """(resourceRules, nonResourceRules) of a SelfSubjectRulesReview for one namespace."""
    rules = [
        {"verbs": list(r.verbs), "apiGroups": list(r.groups), "resources": list(r.resources),
         **({"resourceNames": list(r.names)} if r.names else {})}
        for r in rules_of(user)
        if r.namespaces is None or namespace in r.namespaces
    ]  # fmt: skip
    verbs = ["*"] if MASTERS in user.groups else ["get"]
    return rules, [{"verbs": verbs, "nonResourceURLs": ["*"]}]
