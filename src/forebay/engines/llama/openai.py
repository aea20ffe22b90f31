"""The OpenAI API as its clients expect it, where llama.cpp differs: what is refused, how errors read (pure).

Sources: the OpenAI API reference (bodies, error objects, ranges), and vLLM behind KServe's Hugging Face
server for what a server of one model does with them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
LOGPROBS_MAX, TOP_LOGPROBS_MAX = 5, 20
_PARAMS = re.compile(
    r"\b(messages|prompt|input|response_format|top_logprobs|logprobs|tools|tool_choice|stop|seed|logit_bias|n|"
    r"max_tokens|max_completion_tokens|temperature|top_p|frequency_penalty|presence_penalty|stream_options)\b"
)
_NUMBER = re.compile(r"\d+")
_NUMBERS = {
    "temperature": (0, None),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_CHAT_NOT = {  # llama.cpp would answer as if they were not there
    "functions": "; use tools", "function_call": "; use tools and tool_choice",
    "audio": "", "web_search_options": "", "store": ": no answer is kept here",
}  # fmt: skip
_TIERS = (None, "auto", "default")  # any other is a promise about speed that nobody keeps here
LOGIT_BIAS_MAX = 100
_COUNTS = {"max_tokens": 1, "max_completion_tokens": 1, "n": 1}


@dataclass(frozen=True)
class Abilities:
    """What the loaded model can do, as llama.cpp tells it."""

    tools: bool = True
    images: bool = True


@dataclass(frozen=True)
class Wrong:
    """Why a request is refused; `param` is the field, "" if it is none."""

    message: str
    param: str = ""
    code: str | None = None


def error_object(message: str, status: int, *, param: str = "", code: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}


def reworded(path: str, status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """llama.cpp's error in OpenAI's words; a client's mistake is 400 even where llama.cpp says 500."""
    try:
        said = json.loads(body)["error"]
        message, kind = str(said["message"]), str(said.get("type") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return status, error_object(body[:500].decode(errors="replace") or "no reason was given", status)
    if kind == "exceed_context_size_error" or "too large to process" in message:
        wanted = {CHAT: "messages", COMPLETIONS: "prompt"}.get(path, "input")
        return 400, error_object(_too_long(message), 400, param=wanted, code="context_length_exceeded")
    if "input is not supported" in message:
        return 400, error_object(message.partition(" - hint")[0], 400, param="messages")
    if status == 404:
        return 404, error_object(f"there is no {path} here", 404)
    message = re.sub(r"\[json\.exception\.\w+\.\d+\] ", "", message)
    named = _PARAMS.search(message) if status < 500 else None
    return status, error_object(message, status, param=named[1] if named else "")


def _too_long(message: str) -> str:
    """Both numbers, and what may be done; llama.cpp speaks of its own settings."""
    numbers = _NUMBER.findall(message)
    if len(numbers) != 2:
        return message
    return f"the request has {numbers[0]} tokens; at most {numbers[1]} fit here: shorten it"


def read(body: bytes) -> dict[str, Any] | Wrong:
    """A request's body as an object."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Wrong(f"the body is not JSON: {error}")
    return found if isinstance(found, dict) else Wrong("the body must be a JSON object")


def check(path: str, body: dict[str, Any], can: Abilities) -> Wrong | None:
    """What llama.cpp would ignore or do otherwise than a client of this API expects."""
    wrong = _check_numbers(body) or _check_stop(body.get("stop")) or _check_bias(body.get("logit_bias"))
    if wrong is not None:
        return wrong
    if path == CHAT:
        return _check_chat(body, can)
    if path == COMPLETIONS:
        return _check_completion(body)
    if body.get("dimensions") is not None:
        return Wrong("dimensions is not supported: this model's vectors have one length", "dimensions")
    return None


def _check_numbers(body: dict[str, Any]) -> Wrong | None:
    for name, (least, most) in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Wrong(f"{name} must be a number, not {_type(value)}", name)
        if value < least or (most is not None and value > most):
            return Wrong(f"{name} is {value}; it must be {_range(least, most)}", name)
    for name, lowest in _COUNTS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            return Wrong(f"{name} must be a whole number, not {_type(value)}", name)
        if value < lowest:
            return Wrong(f"{name} is {value}; it must be at least {lowest}", name)
    return None


def _range(least: float, most: float | None) -> str:
    return f"at least {least}" if most is None else f"between {least} and {most}"


def _type(value: object) -> str:
    return {str: "a string", bool: "true or false", list: "a list", dict: "an object"}.get(
        type(value), "a fraction"
    )


def _check_stop(stop: object) -> Wrong | None:
    texts = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if not all(isinstance(text, str) for text in texts):
        return Wrong("stop must be a string or a list of strings", "stop")
    return None


def _check_bias(bias: object) -> Wrong | None:
    """OpenAI's form, token ids to numbers; llama.cpp's own, a list of pairs, passes."""
    if bias is None or isinstance(bias, list):
        return None
    if not isinstance(bias, dict):
        return Wrong(f"logit_bias must be an object, not {_type(bias)}", "logit_bias")
    for token, value in bias.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Wrong(f"logit_bias of {token[:40]!r} must be a number, not {_type(value)}", "logit_bias")
        if not -LOGIT_BIAS_MAX <= value <= LOGIT_BIAS_MAX:
            told = f"it must be {_range(-LOGIT_BIAS_MAX, LOGIT_BIAS_MAX)}"
            return Wrong(f"logit_bias of {token[:40]!r} is {value}; {told}", "logit_bias")
    return None


def _check_messages(given: list[Any], can: Abilities) -> Wrong | None:
    for message in given:
        role = message.get("role") if isinstance(message, dict) else None
        if isinstance(role, str) and role not in _ROLES:
            return Wrong(f"{role[:40]!r} is no role; known are {', '.join(_ROLES)}", "messages")
        if role in _ROLES and role != "assistant" and message.get("content") is None:
            return Wrong(f"a message of role {role} has no content; write a string or a list", "messages")
    contents = [message.get("content") for message in given if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    if not can.images and any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts):
        return Wrong("this model takes text only, no images", "messages")
    return None


def _check_chat(body: dict[str, Any], can: Abilities) -> Wrong | None:
    messages = body.get("messages")
    if messages == []:
        return Wrong("messages is empty; at least one message is needed", "messages")
    for name, instead in _CHAT_NOT.items():
        if body.get(name) not in (None, False, "none", [], {}):
            return Wrong(f"{name} is not supported by this engine{instead}", name)
    modes = body.get("modalities")
    if isinstance(modes, list) and any(mode != "text" for mode in modes):
        return Wrong("modalities: this model answers in text only", "modalities")
    if body.get("tools") and not can.tools and body.get("tool_choice") != "none":
        return Wrong("this model's chat template has no place for tools, so it would never see them", "tools")
    top = body.get("top_logprobs")
    if isinstance(top, int) and not 0 <= top <= TOP_LOGPROBS_MAX:
        return Wrong(f"top_logprobs is {top}; it must be between 0 and {TOP_LOGPROBS_MAX}", "top_logprobs")
    if body.get("service_tier") not in _TIERS:
        return Wrong(
            "service_tier is not supported by this engine, which has one; leave it out", "service_tier"
        )
    return _check_messages(messages if isinstance(messages, list) else [], can)


def _check_completion(body: dict[str, Any]) -> Wrong | None:
    if "prompt" not in body:
        return Wrong("prompt is missing", "prompt")
    for name in ("echo", "suffix"):
        if body.get(name):
            return Wrong(f"{name} is not supported by this engine", name)
    best_of, n = body.get("best_of"), body.get("n") or 1
    if best_of is not None and best_of != n:
        return Wrong("best_of is not supported by this engine; ask for n answers and choose", "best_of")
    asked = body.get("logprobs")
    if asked is None:
        return None
    if isinstance(asked, bool) or not isinstance(asked, int):
        return Wrong(f"logprobs must be a whole number, not {_type(asked)}", "logprobs")
    if not 0 <= asked <= LOGPROBS_MAX:
        return Wrong(f"logprobs is {asked}; it must be between 0 and {LOGPROBS_MAX}", "logprobs")
    return None


class CompletionLogprobs:
    """Turns `logprobs` of /v1/completions from the chat API's shape, in which llama.cpp gives them, into its
    own.

    `top` is what the request asked for; offsets count characters from the start of each choice's text. With
    `as_ids` (vLLM's return_tokens_as_token_ids) tokens are called `token_id:17` instead of by their text.
    """

    def __init__(self, *, top: int, streamed: bool, as_ids: bool = False) -> None:
        self._top, self._streamed, self._as_ids = top, streamed, as_ids
        self._kept = bytearray()
        self._offsets: dict[int, int] = {}

    def feed(self, piece: bytes) -> bytes:
        """Whole events of a stream; an answer in one piece is kept until its end."""
        self._kept += piece
        if not self._streamed:
            return b""
        whole, newline, rest = bytes(self._kept).rpartition(b"\n")
        self._kept = bytearray(rest)
        return b"\n".join(self._line(line) for line in whole.split(b"\n")) + newline if newline else b""

    def end(self) -> bytes:
        """What is left."""
        rest, self._kept = bytes(self._kept), bytearray()
        return self._line(rest) if self._streamed else self._changed(rest)

    def _line(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b": ")
        if name != b"data" or not value.startswith(b"{"):
            return line
        return name + colon + self._changed(value)

    def _changed(self, body: bytes) -> bytes:
        try:
            answer = json.loads(body)
        except ValueError:
            return body  # not what we know: better as it is than not at all
        for choice in answer.get("choices") or ():
            content = (choice.get("logprobs") or {}).get("content")
            if content is not None:
                choice["logprobs"] = self._of_choice(int(choice.get("index") or 0), content)
        return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()

    def _of_choice(self, index: int, content: list[dict[str, Any]]) -> dict[str, Any]:
        at, offsets = self._offsets.get(index, 0), []
        for token in content:
            offsets.append(at)
            at += len(token["token"])
        self._offsets[index] = at
        tops = [
            {self._name(other): other["logprob"] for other in (token.get("top_logprobs") or [])[: self._top]}
            for token in content
        ]
        return {
            "tokens": [self._name(token) for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": tops if self._top else None,
            "text_offset": offsets,
        }

    def _name(self, token: dict[str, Any]) -> str:
        return f"token_id:{token['id']}" if self._as_ids else str(token["token"])
