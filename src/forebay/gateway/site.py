"""The gateway's decisions: which service a request is for, and what it is told when there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from forebay.api.meta import Key
from forebay.gateway.dialects import Dialect, dialect_of, error_body
from forebay.gateway.routes import Route, RouteTable
from forebay.kit.http1 import Exchange, Forward, Group, NeedField, Plan, Reply, Request

WAITING_MAX = 1000
_SERVING = re.compile(r"/serving/([^/?]+)/([^/?]+)")
_BY_BODY = frozenset(  # the busiest paths, known without a search
    prefix + path
    for prefix in ("", "/openai")
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
)
_READING = (b"GET", b"HEAD")
_TELLS = frozenset({"/v1/models", "/v2", "/v2/models", "/v2/health/live", "/v2/health/ready"})
_OPENAI = re.compile(r"(?:/openai)?(?=/v1(?:/|$))")
_BY_NAME = re.compile(
    r"/(v1|v2)/models/([^:]+?)(:predict|:explain|/infer|/generate|/generate_stream|/ready|/versions/.*)?$"
)


class GatewaySite:
    """Answers the proxy's questions from the newest route table; holds one Group per service."""

    def __init__(
        self, *, ready: Callable[[], bool], metrics: Callable[[], bytes], done: Callable[[Exchange], None]
    ) -> None:
        self.table = RouteTable()
        self.groups: dict[Key, Group] = {}
        self.done = done
        self._ready = ready
        self._metrics = metrics
        self._model_field = NeedField("model", self._by_model)

    def take(self, table: RouteTable) -> None:
        """Go over to a newer table; requests in flight keep what they have."""
        if table.version <= self.table.version:
            return
        self.table = table
        for key in [key for key in self.groups if key not in table.routes]:
            gone = self.groups.pop(key)
            gone.wait_s = 0.0
            gone.set_addresses(())
            gone.wake()
        for key, route in table.routes.items():
            group = self.groups.get(key)
            if group is None:
                group = self.groups[key] = Group(wait_s=0.0, waiting_max=WAITING_MAX)
            group.wait_s = 0.0 if route.hopeless else route.wait_s
            group.set_addresses(route.endpoints)
            if route.hopeless:
                group.wake()

    # what the proxy asks

    def plan(self, request: Request) -> Plan:
        if b"." in request.host:
            key = self.table.for_host(request.host.decode("latin-1"))
            if key is not None:
                return self._forward(self.table.routes[key], request.target)
        path = request.path
        if path in _BY_BODY and request.method == b"POST" and request.has_body:
            return self._model_field
        serving = _SERVING.match(path)
        if serving:
            return self._by_path(request, Key(serving[1], serving[2]), serving.end())
        if path.startswith(("/v1/", "/openai/v1/", "/v2/")) or path in ("/v2", "/v2/"):
            return self._inference(request, path)
        return self._own(request, path)

    def error(self, request: Request | None, status: int, message: str) -> Reply:
        return _refusal(dialect_of(request.path) if request else "openai", status, message)

    def _wrong_model(self, request: Request, status: int, message: str) -> Reply:
        return _refusal(dialect_of(request.path), status, message, about_model=True)

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        key = forward.label
        route = self.table.routes.get(key) if isinstance(key, Key) else None
        if route is None:
            return self._wrong_model(request, 404, f"service {key} was deleted while the request waited")
        waited = f"after {waited_s:.0f} s" if waited_s >= 1 else "and none is expected"
        reasons = [route.why] if route.why else []
        if last:
            reasons.append(f"the last connection failed: {last}")
        message = f"no pod of {key} is ready {waited}"
        return self.error(request, 503, message + (f": {'; '.join(reasons)}" if reasons else ""))

    # paths

    def _by_path(self, request: Request, key: Key, prefix: int) -> Plan:
        route = self.table.routes.get(key)
        if route is None:
            message = f"there is no InferenceService {key.name} in namespace {key.namespace}"
            return self._wrong_model(request, 404, message)
        rest = request.target[prefix:]
        return self._forward(route, rest if rest.startswith(b"/") else b"/" + rest)

    def _inference(self, request: Request, path: str) -> Plan:
        place = path.removeprefix("/openai")
        named, listed = _BY_NAME.match(place), place.rstrip("/")
        if request.method not in _READING and (listed in _TELLS or _is_about(named)):
            reply = self.error(request, 405, f"{path} takes GET, not {request.method.decode('latin-1')}")
            return replace(reply, headers=((b"Allow", b"GET, HEAD"),))
        if listed == "/v1/models":
            return self._list_models()
        if listed == "/v2/models":
            return _json(200, {"models": [name for name, _ in self._listed()]})
        if path.startswith("/v2") and listed in _TELLS:
            return _v2_server(path)
        if named:
            return self._by_name(request, unquote(named[2]), named[3] or "", named[1])
        if request.method != b"POST" and path in _BY_BODY:
            reply = self.error(request, 405, f"{path} takes POST, not {request.method.decode()}")
            return replace(reply, headers=((b"Allow", b"POST"),))
        if request.method != b"POST":
            return self.error(request, 404, f"nothing answers {request.method.decode()} {path} here")
        if not request.has_body:
            return self.error(request, 400, "the request has no body, so its model is not known")
        return self._model_field

    def _by_model(self, request: Request, model: str | None, reason: str) -> Reply | Forward:
        if model is None:
            return self._wrong_model(request, 400, f"the model is not known: {reason}")
        found = self._one(request, model)
        if isinstance(found, Reply):
            return found
        target = request.target
        if found.openai_prefix is not None:
            target = found.openai_prefix.encode() + _OPENAI.sub("", target.decode("latin-1"), count=1).encode(
                "latin-1"
            )
        value = None if model == found.served else json.dumps(found.served).encode()
        return self._forward(found, target, value)

    def _by_name(self, request: Request, model: str, action: str, version: str) -> Plan:
        found = self._one(request, model)
        if isinstance(found, Reply):
            return found
        if version == "v1" and not action:
            return _json(200, _model(found, model))
        query = request.target.partition(b"?")
        target = (
            f"/{version}/models/{found.served}{action}".encode("latin-1", "replace") + query[1] + query[2]
        )
        return self._forward(found, target)

    def _one(self, request: Request, model: str) -> Route | Reply:
        keys = self.table.for_model(model)
        if len(keys) == 1:
            return self.table.routes[keys[0]]
        if keys:
            names = ", ".join(str(key) for key in keys)
            message = f"the model {model!r} is served more than once; say which: {names}"
            return self._wrong_model(request, 400, message)
        message = f"the model {model!r} is not served here; GET /v1/models lists what is"
        return self._wrong_model(request, 404, message)

    def _own(self, request: Request, path: str) -> Plan:
        if path == "/healthz":
            return Reply(200, b"ok\n", "text/plain")
        if path == "/readyz":
            ready = self._ready()
            return Reply(
                200 if ready else 503, b"ok\n" if ready else b"the objects are not read yet\n", "text/plain"
            )
        if path == "/metrics":
            return Reply(200, self._metrics(), "text/plain; version=0.0.4; charset=utf-8")
        return self.error(
            request, 404, f"nothing is served at {path}; services are at /serving/NAMESPACE/NAME/"
        )

    def _list_models(self) -> Reply:
        listed = [_model(self.table.routes[keys[0]], name) for name, keys in self._listed()]
        return _json(200, {"object": "list", "data": listed})

    def _listed(self) -> list[tuple[str, tuple[Key, ...]]]:
        """One name per service that works as `model`: its engine's own, else the service's, else NS/NAME."""
        chosen = []
        for key, route in self.table.routes.items():
            names = (route.served, key.name, f"{key.namespace}/{key.name}")
            chosen.append((next(name for name in names if self.table.for_model(name) == (key,)), (key,)))
        return sorted(chosen)

    def _forward(self, route: Route, target: bytes, value: bytes | None = None) -> Forward:
        return Forward(
            group=self.groups[route.key],
            target=target,
            label=route.key,
            body_value=value,
            first_byte_s=route.first_byte_s,
        )


def _model(route: Route, name: str) -> dict[str, object]:
    """OpenAI's model object and KServe V1's, in one."""
    return {
        "id": name, "object": "model", "created": 0, "owned_by": route.key.namespace, "name": name,
        "ready": bool(route.endpoints),
    }  # fmt: skip


def _is_about(named: re.Match[str] | None) -> bool:
    """Whether a path asks for V1's word on a model, which the gateway has itself."""
    return named is not None and named[1] == "v1" and not named[3]


def _v2_server(path: str) -> Reply:
    if path.rstrip("/") == "/v2":
        return _json(200, {"name": "forebay", "version": "2", "extensions": []})
    return _json(200, {"live": True} if path.endswith("live") else {"ready": True})


def _json(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _refusal(dialect: Dialect, status: int, message: str, *, about_model: bool = False) -> Reply:
    headers = ((b"Retry-After", b"5"),) if status in (429, 503) else ()
    return Reply(status, error_body(dialect, status, message, about_model=about_model), headers=headers)
