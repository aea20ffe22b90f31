"""Objects that are questions: access reviews, token reviews, and tokens of service accounts.

Source: authorization.k8s.io/v1 and authentication.k8s.io/v1.
"""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from forebay.api.kinds import ServiceAccount
from forebay.api.meta import Json, Key
from forebay.errors import Clash
from forebay.home import tokens
from forebay.home.apiserver import authz, bodies, output
from forebay.home.apiserver.authn import BINDABLE
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
    if kind == "LocalSubjectAccessReview":
        _of_namespace(spec, op.namespace)
    Query(dict(request.query_params)).dry_run("CreateOptions")
    answer = {
        "kind": kind, "apiVersion": op.api_version, "metadata": {}, "spec": spec,
        "status": await _answer(api, kind, spec, user),
    }  # fmt: skip
    if kind == "SelfSubjectReview":
        del answer["spec"]
        answer["metadata"] = {"creationTimestamp": rfc3339(api.clock.now())}
    form = accepted(request.headers.get("accept", ""), transforms=False)
    return output.respond(answer, form, code=201)


async def _answer(api: Api, kind: str, spec: Json, user: User) -> Json:
    match kind:
        case "SelfSubjectReview":
            return {"userInfo": _info(user)}
        case "TokenReview":
            if not spec.get("token"):
                raise bad_request("token is required for TokenReview in authentication")
            found = await api.auth.review(str(spec["token"]), api.store)
            nobody: Json = {"user": {}, "error": "invalid bearer token"}
            return {"authenticated": True, "user": _info(found)} if found else nobody
        case "SelfSubjectRulesReview":
            resources, urls = authz.listed(user, str(spec.get("namespace") or "default"))
            return {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False}
        case "SelfSubjectAccessReview":
            return _access(user, spec)
        case _:
            groups = spec.get("groups") or ()
            if not isinstance(groups, list | tuple):
                raise bad_request(f"{kind} cannot be read: spec.groups is no list")
            return _access(User(str(spec.get("user", "")), tuple(map(str, groups))), spec)


def _of_namespace(spec: Json, namespace: str) -> None:
    """A local review asks about its own namespace: who may ask there may not ask about others."""
    about = spec.get("resourceAttributes")
    if isinstance(about, dict) and about.get("namespace") != namespace:
        raise bad_request("spec.resourceAttributes.namespace must match the namespace of the review")
    if spec.get("nonResourceAttributes") is not None:
        told = "Invalid value: disallowed on this kind of request"
        cause = ("spec.nonResourceAttributes", "FieldValueInvalid", told)
        raise invalid(About(AUTHORIZATION), (cause,))


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
    _check_ttl(ttl)
    bound = await _bound(api, op.namespace, spec.get("boundObjectRef"))
    ttl = min(ttl, TOKEN_TTL_MAX_S)
    wanted = spec.get("audiences") or (tokens.AUDIENCE,)
    if not isinstance(wanted, list | tuple):
        raise bad_request("TokenRequest cannot be read: spec.audiences is no list")
    audiences = tuple(map(str, wanted))
    user = tokens.service_account(op.namespace, op.name, uid=account.uid)
    made = tokens.mint(
        api.auth.key, user.name, user.groups, ttl, uid=account.uid, audiences=audiences, bound=bound
    )
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


def _check_ttl(ttl: int) -> None:
    """Raises Refusal (422)."""
    if ttl < TOKEN_TTL_MIN_S:
        told = "may not specify a duration less than 10 minutes"
    elif ttl > 1 << 32:
        told = "may not specify a duration larger than 2^32 seconds"
    else:
        return
    cause = ("spec.expirationSeconds", "FieldValueInvalid", f"Invalid value: {ttl}: {told}")
    raise invalid(About(AUTHENTICATION, "tokenrequests", "TokenRequest", ""), (cause,))


async def _bound(api: Api, namespace: str, ref: object) -> tokens.Bound | None:
    """What a token is to end with, which is there. Raises Absent, Clash, Refusal."""
    if not isinstance(ref, dict):
        return None
    kind, name = BINDABLE.get(str(ref.get("kind"))), str(ref.get("name") or "")
    version = str(ref.get("apiVersion") or "v1")
    if kind is None or version != "v1":
        told = f"{'' if '/' in version else '/'}{version}, Kind={ref.get('kind')}"
        raise bad_request(f"cannot bind token to object of type {told}")
    found = await api.store.get(kind, Key(namespace if kind.namespaced else "", name))
    if ref.get("uid") and ref["uid"] != found.uid:
        told = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
        told += "The object might have been deleted and then recreated"
        raise Clash(f'Operation cannot be fulfilled on {kind.kind} "{name}": {told}')
    return tokens.Bound(kind.kind.lower(), name, found.uid)
