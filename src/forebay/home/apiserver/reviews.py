"""Objects that are questions: access reviews, token reviews, and tokens of service accounts.

Source: authorization.k8s.io/v1 and authentication.k8s.io/v1.
"""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from forebay.api.kinds import ServiceAccount
from forebay.api.meta import Json, Key
from forebay.home import tokens
from forebay.home.apiserver import authz, bodies, output
from forebay.home.apiserver.context import Api
from forebay.home.apiserver.negotiate import accepted
from forebay.home.apiserver.options import Query
from forebay.home.apiserver.paths import Operation
from forebay.home.apiserver.status import About, bad_request, invalid, no_such_method
from forebay.home.tokens import User
from forebay.kit.clock import rfc3339

AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
KINDS = {  # (group, plural) -> kind; all are version v1 and know one verb: create
    (AUTHORIZATION, "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    (AUTHORIZATION, "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    (AUTHORIZATION, "subjectaccessreviews"): "SubjectAccessReview",
    (AUTHORIZATION, "localsubjectaccessreviews"): "LocalSubjectAccessReview",
    (AUTHENTICATION, "selfsubjectreviews"): "SelfSubjectReview",
    (AUTHENTICATION, "tokenreviews"): "TokenReview",
}
TOKEN_TTL_S, TOKEN_TTL_MIN_S, TOKEN_TTL_MAX_S = 3600, 600, 365 * 86400


def is_review(op: Operation) -> bool:
    """Whether the path names one of these kinds."""
    return (op.group, op.resource) in KINDS and op.version == "v1"


async def review(api: Api, op: Operation, user: User, request: Request) -> Response:
    """Answer one question. Raises Refusal."""
    if op.verb != "create" or op.name:
        raise no_such_method()
    kind = KINDS[op.group, op.resource]
    raw, _ = await bodies.read_object(request)
    spec = raw.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request(f"{kind} cannot be read: spec is no object")
    Query(dict(request.query_params)).dry_run("CreateOptions")
    answer = {
        "kind": kind, "apiVersion": op.api_version, "metadata": {}, "spec": spec,
        "status": _answer(api, kind, spec, user),
    }  # fmt: skip
    if kind == "SelfSubjectReview":
        del answer["spec"]
        answer["metadata"] = {"creationTimestamp": rfc3339(api.clock.now())}
    form = accepted(request.headers.get("accept", ""), transforms=False)
    return output.respond(answer, form, code=201)


def _answer(api: Api, kind: str, spec: Json, user: User) -> Json:
    match kind:
        case "SelfSubjectReview":
            return {"userInfo": _info(user)}
        case "TokenReview":
            if not spec.get("token"):
                raise bad_request("token is required for TokenReview in authentication")
            found = api.auth.review(str(spec["token"]))
            nobody: Json = {"user": {}, "error": "invalid bearer token"}
            return {"authenticated": True, "user": _info(found)} if found else nobody
        case "SelfSubjectRulesReview":
            resources, urls = authz.listed(user, str(spec.get("namespace") or "default"))
            return {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False}
        case "SelfSubjectAccessReview":
            return _access(user, spec)
        case _:
            groups = spec.get("groups") or ()
            return _access(User(str(spec.get("user", "")), tuple(map(str, groups))), spec)


def _info(user: User) -> Json:
    info: Json = {"username": user.name, "groups": list(user.groups)}
    return {**info, "uid": user.uid} if user.uid else info


def _access(user: User, spec: Json) -> Json:
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (about is None) == (path is None) or not isinstance(about or path, dict):
        told = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = ("spec.resourceAttributes", "FieldValueInvalid", f"Invalid value: null: {told}")
        raise invalid(About(AUTHORIZATION), (cause,))
    if path:
        ask = authz.Ask(str(path.get("verb", "")), path=str(path.get("path", "")))
    else:
        fields = ("verb", "group", "resource", "subresource", "namespace", "name")
        ask = authz.Ask(**{field: str((about or {}).get(field) or "") for field in fields})
    allowed = authz.allowed(user, ask)
    return {"allowed": allowed}


async def token(api: Api, op: Operation, request: Request) -> Response:
    """POST serviceaccounts/NAME/token: a token that says it is that account. Raises Refusal, Absent."""
    account = await api.store.get(ServiceAccount, Key(op.namespace, op.name))
    raw, _ = await bodies.read_object(request)
    spec = raw.get("spec") or {}
    if not isinstance(spec, dict) or type(spec.get("expirationSeconds") or 0) is not int:
        raise bad_request("TokenRequest cannot be read: a field has the wrong type")
    ttl = spec.get("expirationSeconds") or TOKEN_TTL_S
    if ttl < TOKEN_TTL_MIN_S:
        raise bad_request("spec.expirationSeconds: may not specify a duration less than 10 minutes")
    ttl = min(ttl, TOKEN_TTL_MAX_S)
    audiences = tuple(map(str, spec.get("audiences") or (tokens.AUDIENCE,)))
    user = tokens.service_account(op.namespace, op.name, uid=account.uid)
    made = tokens.mint(api.auth.key, user.name, user.groups, ttl, uid=account.uid, audiences=audiences)
    until = rfc3339(api.clock.now() + timedelta(seconds=ttl))
    answer = {
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": op.name, "namespace": op.namespace, "creationTimestamp": rfc3339(api.clock.now()),
        },
        "spec": {**spec, "audiences": list(audiences), "expirationSeconds": ttl},
        "status": {"token": made, "expirationTimestamp": until},
    }  # fmt: skip
    return output.respond(answer, code=201)
