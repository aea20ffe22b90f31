"""Error bodies in the words of the protocol that the path belongs to."""

from __future__ import annotations

import json
import re
from typing import Literal

Dialect = Literal["openai", "v1", "v2"]
_SERVING = re.compile(r"/serving/[^/]*/[^/]*")
_OPENAI_TYPES = {
    400: "invalid_request_error", 404: "invalid_request_error", 408: "invalid_request_error",
    413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_OPENAI_CODES = {
    405: "method_not_supported", 413: "request_too_large", 429: "too_many_requests", 502: "bad_gateway",
    503: "model_not_ready", 504: "timeout",
}  # fmt: skip


def dialect_of(path: str) -> Dialect:
    """KServe's V1 and V2 by their paths (kserve.github.io, data plane); everything else speaks OpenAI's."""
    path = _SERVING.sub("", path, count=1)
    if path.startswith("/v2"):
        return "v2"
    if path.startswith("/v1/models/"):
        return "v1"
    return "openai"


def error_body(dialect: Dialect, status: int, message: str, *, about_model: bool = False) -> bytes:
    """OpenAI: an object with message, type, param, code. V1 and V2: the text under `error`.

    `about_model`: what is wrong is the request's `model`.
    """
    if dialect != "openai":
        return json.dumps({"error": message}).encode()
    error = {
        "message": message,
        "type": _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": "model" if about_model else None,
        "code": "model_not_found" if about_model and status == 404 else _OPENAI_CODES.get(status),
    }
    return json.dumps({"error": error}).encode()
