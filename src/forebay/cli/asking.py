"""Asking a served model over the OpenAI chat path, streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2 as httpx

from forebay.api.meta import Json
from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.backoff import backoff_s

TIMEOUT_S = 300.0


@dataclass
class Answer:
    """What a streamed answer took; seconds since the request was sent."""

    first_token_s: float = 0.0
    total_s: float = 0.0
    tokens: int = 0


def ask(
    url: str, model: str, messages: list[Json], *, answer: Answer, max_tokens: int = 256
) -> Iterator[str]:
    """Pieces of the answer as they come. `url` is the service's (…/serving/ns/name). Raises Unavailable."""
    body = {
        "model": model,
        "messages": messages,
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": 0.0,
    }
    start = time.monotonic()
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(10.0, read=TIMEOUT_S), trust_env=False) as client,
            client.stream("POST", f"{url}/openai/v1/chat/completions", json=body) as response,
        ):
            if response.status_code != 200:
                raise _refused(url, response.status_code, response.read())
            for piece in _pieces(response.iter_lines()):
                answer.first_token_s = answer.first_token_s or time.monotonic() - start
                answer.tokens += 1
                yield piece
    except httpx.TransportError as error:
        raise Unavailable(
            f"no answer from {url}: {error}; is the gateway up? (`forebay get pods -n kserve`)"
        ) from error
    answer.total_s = time.monotonic() - start


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("data:") or line.endswith("[DONE]"):
            continue
        for choice in json.loads(line[5:]).get("choices") or []:
            text = (choice.get("delta") or {}).get("content")
            if text:
                yield text


def _refused(url: str, code: int, body: bytes) -> ForebayError:
    try:
        said = json.loads(body)
        message = said["error"]["message"] if isinstance(said.get("error"), dict) else str(said.get("error"))
    except (ValueError, KeyError, AttributeError):
        message = body[:200].decode(errors="replace")
    family = {400: Invalid, 403: Denied, 404: Absent, 413: Invalid, 422: Invalid}.get(code, Unavailable)
    return family(f"{url} answered {code}: {message}")


def wait_reachable(url: str, *, deadline_s: float) -> None:
    """Return when somebody listens behind `url`. Raises Unavailable."""
    deadline, attempt = time.monotonic() + deadline_s, 0
    while True:
        try:
            httpx.get(url, timeout=5.0, trust_env=False)
            return
        except httpx.TransportError as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"nobody listens at {url} after {deadline_s:g} s") from error
            time.sleep(backoff_s(attempt, first_s=0.02, most_s=0.5))
            attempt += 1
