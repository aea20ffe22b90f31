"""What forebay-llama refuses before llama.cpp would ignore it, and how errors and log probabilities read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.engines.llama import openai
from forebay.engines.llama.openai import CHAT, COMPLETIONS, EMBEDDINGS, Abilities, CompletionLogprobs, Wrong

USER = [{"role": "user", "content": "hi"}]
TEXT_ONLY = Abilities(tools=False, images=False)


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (CHAT, "temperature", "hot"), (CHAT, "temperature", -0.1), (CHAT, "temperature", True),
        (CHAT, "top_p", 1.1), (CHAT, "presence_penalty", 3), (CHAT, "max_tokens", 0),
        (CHAT, "max_tokens", -1),
        (CHAT, "max_tokens", 1.5),
        (CHAT, "max_completion_tokens", "many"), (CHAT, "n", 0), (CHAT, "stop", 5), (CHAT, "stop", ["a", 1]),
        (CHAT, "top_logprobs", 21), (CHAT, "messages", []), (CHAT, "tools", [{"type": "function"}]),
        (CHAT, "messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        (COMPLETIONS, "echo", True), (COMPLETIONS, "suffix", "end"), (COMPLETIONS, "best_of", 3),
        (COMPLETIONS, "logprobs", True), (COMPLETIONS, "logprobs", 6), (EMBEDDINGS, "dimensions", 8),
        (CHAT, "functions", [{"name": "f"}]), (CHAT, "function_call", {"name": "f"}),
        (CHAT, "modalities", ["text", "audio"]), (CHAT, "audio", {"voice": "alloy"}),
        (CHAT, "web_search_options", {"search_context_size": "low"}),
        (CHAT, "messages", [{"role": "king", "content": "hi"}]),
        (CHAT, "messages", [{"role": "user", "content": None}]), (CHAT, "messages", [{"role": "system"}]),
        (CHAT, "logit_bias", {"x": "y"}), (CHAT, "logit_bias", {"1": 101}), (CHAT, "logit_bias", "x"),
        (COMPLETIONS, "logit_bias", {"1": True}), (CHAT, "store", True), (CHAT, "service_tier", "flex"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused_by_its_name(path: str, field: str, value: object) -> None:
    wrong = openai.check(path, {"messages": USER, "prompt": "x", field: value}, TEXT_ONLY)
    assert wrong is not None
    assert (wrong.param, field in wrong.message or field == "messages") == (field, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": USER, "temperature": 0, "top_p": 1, "n": 2, "stop": None, "max_tokens": None}),
        (CHAT, {"messages": USER, "stop": ["a"], "logprobs": True, "top_logprobs": 20, "tools": []}),
        (CHAT, {"messages": USER, "tools": [{}], "tool_choice": "none"}),
        (CHAT, {"messages": USER, "functions": [], "function_call": "none", "modalities": ["text"]}),
        (CHAT, {"messages": [{"role": "developer", "content": "be short"}, *USER]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
        (CHAT, {"messages": USER, "logit_bias": {"17": -100, "18": 0.5}, "store": False}),
        (CHAT, {"messages": USER, "logit_bias": [[17, False]], "service_tier": "auto"}),
        (CHAT, {"messages": [*USER, {"role": "assistant", "content": None, "tool_calls": []}]}),
        (CHAT, {"messages": ["nonsense", 3]}),  # llama.cpp says what is wrong with it
        (COMPLETIONS, {"prompt": "x", "echo": False, "suffix": None, "best_of": 1, "logprobs": 0}),
        (EMBEDDINGS, {"input": "x", "encoding_format": "base64"}),
        ("/v1/responses", {"input": "x"}),
    ],
)
def test_what_works_passes(path: str, body: dict[str, Any]) -> None:
    assert openai.check(path, body, TEXT_ONLY) is None


def test_tools_and_images_pass_where_the_model_takes_them() -> None:
    body = {"messages": [{"content": [{"type": "image_url"}]}], "tools": [{"type": "function"}]}
    assert openai.check(CHAT, body, Abilities(tools=True, images=True)) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_no_value_of_any_field_makes_the_check_itself_fail(value: object) -> None:
    names = [
        "temperature",
        "max_tokens",
        "stop",
        "messages",
        "tools",
        "top_logprobs",
        "logit_bias",
        "service_tier",
        "logprobs",
        "prompt",
        "n",
        "best_of",
    ]
    for path in (CHAT, COMPLETIONS, EMBEDDINGS):
        for name in names:
            found = openai.check(path, {"prompt": "x", "messages": USER, name: value}, TEXT_ONLY)
            assert found is None or found.message


def test_a_body_that_is_no_object_is_told_so() -> None:
    for body in (b"{", b"[1]", b"3", b"\xff", b"[" * 100_000):
        assert isinstance(openai.read(body), Wrong)
    assert openai.read(b'{"a": 1}') == {"a": 1}


def native(message: str, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "type": kind}}).encode()


OVER_CONTEXT = "request (5001 tokens) exceeds the available context size (2048 tokens), try increasing it"
OVER_BATCH = (
    "input (700 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
)
TOO_LONG = "context_length_exceeded"


@pytest.mark.parametrize(
    ("path", "status", "body", "want"),
    [
        (COMPLETIONS, 400, native(OVER_CONTEXT, "exceed_context_size_error"),
         (400, "the request has 5001 tokens; at most 2048 fit here: shorten it", "prompt", TOO_LONG)),
        (EMBEDDINGS, 500, native(OVER_BATCH, "server_error"),
         (400, "the request has 700 tokens; at most 512 fit here: shorten it", "input", TOO_LONG)),
        (CHAT, 500, native("image input is not supported - hint: mmproj", "server_error"),
         (400, "image input is not supported", "messages", None)),
        (CHAT, 400, native("Field 'seed': [json.exception.type_error.302] type must be number"),
         (400, "Field 'seed': type must be number", "seed", None)),
        (CHAT, 400, native("'messages' is required"), (400, "'messages' is required", "messages", None)),
        ("/v1/x", 404, native("File Not Found"), (404, "there is no /v1/x here", None, None)),
        (CHAT, 500, b"<html>", (500, "<html>", None, None)),
        (CHAT, 503, native("Loading model", "unavailable_error"), (503, "Loading model", None, None)),
    ],
)  # fmt: skip
def test_errors_have_openais_fields(path: str, status: int, body: bytes, want: tuple[Any, ...]) -> None:
    code, told = openai.reworded(path, status, body)
    error = told["error"]
    assert (code, error["message"], error["param"], error["code"]) == want
    assert error["type"] == ("invalid_request_error" if code < 500 else "server_error")


def token(text: str, logprob: float) -> dict[str, Any]:
    other = {"id": 18, "token": "~", "logprob": -9.0}
    same = {"id": 17, "token": text, "logprob": logprob}
    return {**same, "top_logprobs": [same, other]}


def answer(index: int, *tokens: str) -> dict[str, Any]:
    content = [token(text, -0.5) for text in tokens]
    return {"choices": [{"index": index, "text": "".join(tokens), "logprobs": {"content": content}}]}


def test_log_probabilities_of_completions_have_their_own_shape() -> None:
    rewrite = CompletionLogprobs(top=1, streamed=False)
    assert rewrite.feed(json.dumps(answer(0, "a", " bé")).encode()) == b""
    assert json.loads(rewrite.end())["choices"][0]["logprobs"] == {
        "tokens": ["a", " bé"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [{"a": -0.5}, {" bé": -0.5}],
        "text_offset": [0, 1],
    }  # fmt: skip
    ids = CompletionLogprobs(top=1, streamed=False, as_ids=True)
    ids.feed(json.dumps(answer(0, "a")).encode())
    assert json.loads(ids.end())["choices"][0]["logprobs"]["tokens"] == ["token_id:17"]
    none = CompletionLogprobs(top=0, streamed=False)
    none.feed(json.dumps(answer(0, "a")).encode())
    assert json.loads(none.end())["choices"][0]["logprobs"]["top_logprobs"] is None


@given(st.lists(st.integers(1, 40), max_size=30))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    events = [answer(0, "ab"), answer(1, "x"), answer(0, "c", "d"), {"choices": [{"logprobs": None}]}]
    stream = b"".join(
        b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events
    )
    stream = b": ping\n\n" + stream + b"data: [DONE]\n\n"
    rewrite, out, at = CompletionLogprobs(top=2, streamed=True), b"", 0
    for cut in [*cuts, len(stream)]:
        out += rewrite.feed(stream[at : at + cut])
        at += cut
    out += rewrite.end()
    lines = out.split(b"\n\n")
    assert (lines[0], lines[-2], lines[-1]) == (b": ping", b"data: [DONE]", b"")
    told = [json.loads(line[6:])["choices"][0]["logprobs"] for line in lines[1:-2]]
    assert [item and item["text_offset"] for item in told] == [[0], [0], [2, 3], None]


def test_what_is_not_understood_passes_as_it_is() -> None:
    rewrite = CompletionLogprobs(top=1, streamed=False)
    rewrite.feed(b"<html>")
    assert rewrite.end() == b"<html>"
