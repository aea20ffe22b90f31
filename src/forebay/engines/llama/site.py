"""What forebay-llama answers itself, and what it hands to llama.cpp: KServe's prefixes, model names,
readiness.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import unquote

from forebay.engines.llama import openai
from forebay.engines.llama.openai import Abilities, CompletionLogprobs, Wrong
from forebay.kit.http1 import Exchange, Forward, Group, NeedBody, Plan, Reply, Request

_NATIVE = ("/v1/", "/metrics", "/tokenize", "/detokenize", "/apply-template")
_CHECKED = (openai.CHAT, openai.COMPLETIONS, openai.EMBEDDINGS, "/v1/responses", "/v1/rerank")
ANYTHING = Abilities()


class LlamaSite:
    """One model, one backend: the native server's socket."""

    def __init__(
        self, *, model: str, native: Group, ready: Callable[[], bool], can: Abilities = ANYTHING
    ) -> None:
        self._model = model
        self._can = can
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
            if request.method == b"DELETE":
                return self.error(request, 405, "the model is the pod's own: delete its InferenceService")
            return self._about(request, path)
        if path in _CHECKED and request.method == b"POST":
            if not request.has_body:
                return self._wrong(Wrong("the request has no body"))
            return NeedBody(lambda again, body: self._checked(path, body, target))
        if path.startswith(_NATIVE):
            return self._forward(target)
        return self.error(
            request, 404, f"there is no {path} here; the OpenAI API is under /v1 and /openai/v1"
        )

    def _checked(self, path: str, raw: bytes, target: bytes) -> Reply | Forward:
        """A body without a model means the one that is here."""
        body = openai.read(raw)
        if isinstance(body, Wrong):
            return self._wrong(body)
        model = body.get("model", self._model)
        if not isinstance(model, str):
            return self._wrong(Wrong("model must be a string", "model"))
        if model != self._model:
            message = f"the model {model!r} does not exist here; this server has {self._model!r}"
            return self._wrong(Wrong(message, "model", "model_not_found"), 404)
        wrong = openai.check(path, body, self._can)
        if wrong is not None:
            return self._wrong(wrong)
        top = body.get("logprobs")
        if path != openai.COMPLETIONS or top is None:
            return self._forward(target)
        changed = json.dumps({**body, "logprobs": max(1, top)}).encode()
        streamed, as_ids = bool(body.get("stream")), bool(body.get("return_tokens_as_token_ids"))
        return Forward(
            group=self._native, target=target, label=self._model, body=changed, on_error=_reworded,
            rewrite=lambda: CompletionLogprobs(top=top, streamed=streamed, as_ids=as_ids),
        )  # fmt: skip

    def _forward(self, target: bytes) -> Forward:
        return Forward(group=self._native, target=target, label=self._model, on_error=_reworded)

    def _wrong(self, wrong: Wrong, status: int = 400) -> Reply:
        return _json(status, openai.error_object(wrong.message, status, param=wrong.param, code=wrong.code))

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
        about_model = status == 404 and "/models/" in path
        code, param = ("model_not_found", "model") if about_model else (None, "")
        return _json(status, openai.error_object(message, status, param=param, code=code))

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        return self.error(request, 503, f"the engine does not take connections: {last}")

    def done(self, exchange: Exchange) -> None:
        self.requests += 1


def _json(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _reworded(request: Request, status: int, body: bytes) -> Reply:
    return _json(*openai.reworded(request.path.removeprefix("/openai"), status, body))
