"""What forebay-llama answers itself, and what it hands to llama.cpp: KServe's prefixes, model names,
readiness.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import unquote

from forebay.kit.http1 import Exchange, Forward, Group, NeedField, Plan, Reply, Request

_NATIVE = ("/v1/", "/metrics", "/tokenize", "/detokenize", "/apply-template")
_CHECKED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank")


class LlamaSite:
    """One model, one backend: the native server's socket."""

    def __init__(self, *, model: str, native: Group, ready: Callable[[], bool]) -> None:
        self._model = model
        self._native = native
        self._ready = ready
        self.requests = 0

    def plan(self, request: Request) -> Plan:
        path = request.path.removeprefix("/openai")
        target = request.target.removeprefix(b"/openai")
        if path in ("/health", "/healthz", "/v2/health/ready", "/"):
            return _json(200 if self._ready() else 503, {"status": "ok" if self._ready() else "stopping"})
        if path == "/v2/health/live":
            return _json(200, {"live": True})
        if path.startswith(("/v1/models/", "/v2/models/")):
            return self._about(request, path)
        if path in _CHECKED and request.method == b"POST" and request.has_body:
            return NeedField("model", lambda again, model, reason: self._checked(again, model, target))
        if path.startswith(_NATIVE):
            return Forward(group=self._native, target=target, label=self._model)
        return self.error(
            request, 404, f"there is no {path} here; the OpenAI API is under /v1 and /openai/v1"
        )

    def _checked(self, request: Request, model: str | None, target: bytes) -> Reply | Forward:
        # A body without a model, or one that is no JSON, is llama.cpp's to answer.
        if model is not None and model != self._model:
            return self.error(
                request, 404, f"the model {model!r} does not exist here; this server has {self._model!r}"
            )
        return Forward(group=self._native, target=target, label=self._model)

    def _about(self, request: Request, path: str) -> Reply:
        """`/v1/models/NAME` for OpenAI and KServe's V1, `/v2/models/NAME[/ready]` for V2."""
        name, verb = unquote(path.split("/models/", 1)[1]), ""
        if name.endswith("/ready"):
            name = name.removesuffix("/ready")
        elif name.endswith("/infer"):
            name, verb = name.removesuffix("/infer"), "infer"
        elif ":" in name:
            name, _, verb = name.rpartition(":")
        if name != self._model:
            return self.error(
                request, 404, f"the model {name!r} does not exist here; this server has {self._model!r}"
            )
        if verb:
            return self.error(
                request, 501, f"{verb} is not what a language model does: use /v1/chat/completions"
            )
        about = {"id": name, "object": "model", "created": 0, "owned_by": "forebay", "name": name}
        return _json(200, {**about, "ready": self._ready()})

    def error(self, request: Request | None, status: int, message: str) -> Reply:
        path = request.path if request else ""
        if path.startswith("/v2") or (path.startswith("/v1/models/")):
            return _json(status, {"error": message})
        kind = "invalid_request_error" if status < 500 else "server_error"
        code = "model_not_found" if status == 404 else None
        return _json(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        return self.error(request, 503, f"the engine does not take connections: {last}")

    def done(self, exchange: Exchange) -> None:
        self.requests += 1


def _json(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())
