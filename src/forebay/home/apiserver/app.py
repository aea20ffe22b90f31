"""The ASGI application: one request -> who asks, what for, may they, and the verb that answers.

This is the HTTP edge, one of three places that catch everything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from forebay.api.meta import Json
from forebay.errors import ForebayError
from forebay.home.apiserver import (
    authz,
    discovery,
    health,
    logs,
    output,
    patch,
    paths,
    reviews,
    subresources,
    verbs,
    watch,
)  # fmt: skip
from forebay.home.apiserver.authn import impersonated
from forebay.home.apiserver.context import Api, Call
from forebay.home.apiserver.negotiate import accepted, wants_aggregated_discovery
from forebay.home.apiserver.openapi import Documents
from forebay.home.apiserver.options import Query
from forebay.home.apiserver.paths import Operation
from forebay.home.apiserver.registry import Served
from forebay.home.apiserver.status import (
    About,
    Refusal,
    no_such_method,
    no_such_resource,
    refusal_of,
)  # fmt: skip
from forebay.home.tokens import User

LOG = logging.getLogger("forebay.api")
Verb = Callable[[Call], Awaitable[Response]]
_VERBS: dict[str, Verb] = {
    "get": verbs.get, "list": verbs.list_, "watch": watch.watch, "create": verbs.create,
    "update": verbs.update, "patch": patch.patch, "delete": verbs.delete,
    "deletecollection": verbs.deletecollection,
}  # fmt: skip
_NEEDS_NAME = {"update": True, "patch": True, "create": False}
_OF_STATUS: dict[str, Verb] = {"get": verbs.get, "update": verbs.update, "patch": patch.patch}
_SPECIAL: dict[tuple[str, str], dict[str, Verb]] = {
    ("pods", "log"): {"get": logs.log},
    ("pods", "binding"): {"create": subresources.bind},
    ("pods", "eviction"): {"create": subresources.evict},
    ("namespaces", "finalize"): {"update": subresources.finalize},
}
_NOT_HERE = {"exec", "attach", "portforward", "proxy", "ephemeralcontainers"}


def create_app(api: Api) -> Server:
    """The application over the parts in `api`. Posted definitions are served after `crds.load(api)`."""
    return Server(api)


class Server:
    """An ASGI application."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._documents = Documents(api.registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        about = About()
        try:
            path = (
                request.scope.get("raw_path", request.url.path.encode()).partition(b"?")[0].decode("latin-1")
            )
            op = paths.parse(request.method, path, request.query_params)
            about = About(op.group, op.resource, "", op.name)
            user = await self._user(op, request)
            self._authorize(op, user)
            if not op.is_resource:
                return await self._plain(op, request)
            return await self._resource(op, user, request)
        except Refusal as refusal:
            return output.refuse(refusal)
        except ForebayError as error:
            served = self.api.registry.find(op.group, op.version, op.resource)
            if served is not None:
                about = About.of(served.kind, op.name)
            return self._refuse(refusal_of(error, about), error)
        except ClientDisconnect:
            raise
        except Exception as error:
            LOG.exception("%s %s failed", request.method, request.url.path)
            return output.refuse(Refusal("InternalError", f"Internal error occurred: {type(error).__name__}"))

    def _refuse(self, refusal: Refusal, error: ForebayError) -> Response:
        if refusal.code >= 500:
            LOG.log(error.level, "%s", error.message)
        return output.refuse(refusal)

    async def _user(self, op: Operation, request: Request) -> User:
        told = request.headers.get("authorization", "")
        user = await self.api.auth.user(told, op.path, self.api.store)
        if "impersonate-user" not in request.headers:
            return user
        return impersonated(
            user, request.headers["impersonate-user"], request.headers.getlist("impersonate-group")
        )

    def _authorize(self, op: Operation, user: User) -> None:
        if op.is_resource:
            ask = authz.Ask(op.verb, op.group, op.resource, op.subresource, op.namespace, op.name)
        else:
            ask = authz.Ask(op.verb, path=op.path)
        if not op.is_resource and (op.path == "/version" or health.is_health(op.path)):
            return
        if not authz.allowed(user, ask):
            about = About(op.group, op.resource, "", op.name)
            raise Refusal("Forbidden", authz.refusal_text(user, ask), about=about)

    async def _plain(self, op: Operation, request: Request) -> Response:
        if op.verb not in ("get", "head"):
            raise no_such_method()
        path = op.path.rstrip("/") or "/"
        if health.is_health(path):
            stopping = self.api.stopping.is_set()
            checks = {"ping": True, "store": self.api.store.revision().isdigit(), "shutdown": not stopping}
            return health.answer(path, request.query_params, checks)
        if path == "/version":
            return output.respond(discovery.VERSION)
        if path == "/openapi/v2":
            return await self._documents.old(request)
        if path == "/openapi/v3":
            return output.respond(self._documents.index())
        if path.startswith("/openapi/v3/"):
            return await self._documents.answer(path, request)
        return self._discovery(path, request)

    def _discovery(self, path: str, request: Request) -> Response:
        registry = self.api.registry
        version = wants_aggregated_discovery(request.headers.get("accept", ""))
        if version and path in ("/api", "/apis"):
            response = output.respond(discovery.aggregated(registry, core=path == "/api", version=version))
            kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            response.headers["Content-Type"] = kind
            return response
        found: Json | None = None
        match path.strip("/").split("/"):
            case [""]:
                found = {"paths": ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/version", *health.ROOTS]}
            case ["api"]:
                found = discovery.core_versions(request.headers.get("host", ""))
            case ["apis"]:
                found = discovery.group_list(registry)
            case ["api", v]:
                found = discovery.resources(registry, "", v)
            case ["apis", name]:
                found = discovery.group(registry, name)
            case ["apis", name, v]:
                found = discovery.resources(registry, name, v)
        if found is None:
            return PlainTextResponse("404 page not found\n", 404)
        return output.respond(found)

    async def _resource(self, op: Operation, user: User, request: Request) -> Response:
        if reviews.is_review(op):
            return await reviews.review(self.api, op, user, request)
        served = self.api.registry.find(op.group, op.version, op.resource)
        if served is None or not _in_scope(op, served):
            raise no_such_resource()
        if (op.resource, op.subresource) == ("serviceaccounts", "token") and op.verb == "create":
            return await reviews.token(self.api, op, request)
        verb = _verb(op, served)
        form = accepted(
            request.headers.get("accept", ""), transforms=op.subresource in ("", "status", "scale")
        )
        call = Call(self.api, op, served, user, Query(dict(request.query_params)), form, request)
        if served.deprecated:
            call.warnings.append(served.deprecated)
        if served.inert and op.verb in ("create", "update", "patch") and not op.subresource:
            call.warnings.append(served.inert)
        return await verb(call)


def _in_scope(op: Operation, served: Served) -> bool:
    if served.kind.namespaced:
        return bool(op.namespace) or not op.name
    return not op.namespace or op.resource == "namespaces"


def _verb(op: Operation, served: Served) -> Verb:
    sub = op.subresource
    if sub in _NOT_HERE and op.resource in ("pods", "services", "nodes"):
        told = f"{sub} is not supported by this server: its pods are groups of processes on this machine"
        raise Refusal("NotImplemented", told)
    table: dict[str, Verb] | None = None
    if served.virtual is not None and not sub:
        table = dict.fromkeys(served.verbs, served.virtual)
    elif not sub:
        table = {name: verb for name, verb in _VERBS.items() if name in served.verbs}
    elif sub == "status" and served.kind.has_status:
        table = _OF_STATUS
    elif sub == "scale" and served.kind.has_scale:
        return subresources.scale
    elif not served.kind.group:
        table = _SPECIAL.get((op.resource, sub))
    if table is None:
        raise no_such_resource()
    verb = table.get(op.verb)
    wrong_place = not sub and op.verb in _NEEDS_NAME and _NEEDS_NAME[op.verb] is not bool(op.name)
    if verb is None or wrong_place:
        raise no_such_method()
    return verb
