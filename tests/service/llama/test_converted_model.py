"""forebay-llama on a converted Hugging Face folder says what its architecture says, number by number."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.program import LLAMA, running
from tests.fakes.tiny_llama import TEXT, Shape, forward, make_tokenizer, write_folder

CASES = [
    pytest.param(Shape(), "F16", "sentencepiece", 1, id="f16-sentencepiece"),
    pytest.param(Shape(), "F32", "smollm", 1, id="f32-smollm"),
    pytest.param(Shape(tied=True, kv_heads=4), "F16", "gpt-2", 1, id="f16-tied-gpt2-mha"),
    pytest.param(
        Shape(llama3=True, theta=500000.0, kv_heads=1), "BF16", "llama-bpe", 3, id="bf16-llama3-sharded-mqa"
    ),
]
SAMPLES = ["The capital of France", "It's 1234567 degrees;  don't\n\nworry! 東京 café"]


def post(base: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return dict(json.loads(answer.read()))


@pytest.mark.parametrize(("shape", "kind", "pre", "shards"), CASES)
def test_tokens_and_probabilities_agree_with_an_independent_forward_pass(
    tmp_path: Path, shape: Shape, kind: str, pre: str, shards: int
) -> None:
    weights = write_folder(tmp_path, shape=shape, kind=kind, pre=pre, shards=shards)
    tokenizer = make_tokenizer(pre)
    argv = [*LLAMA, "--port", "0", "--model_name", "tiny", "--model_dir", str(tmp_path), "--ctx-size", "512"]
    with running(argv) as server:
        port = server.wait_json(deadline_s=30, phase="listen")["port"]
        base = f"http://127.0.0.1:{port}"
        for text in [*SAMPLES, *TEXT[:3]]:
            told = post(base, "/tokenize", {"content": text, "add_special": False})["tokens"]
            assert told == tokenizer.encode(text).ids, text
        compared = sum(_compare(base, tokenizer.encode(text).ids, weights, shape) for text in SAMPLES)
    assert compared >= 6


def _compare(base: str, tokens: list[int], weights: dict[str, np.ndarray[Any, Any]], shape: Shape) -> int:
    """Ten greedy steps, one request each. A token that is half a character is not reported."""
    compared = 0
    for _ in range(10):
        expected = forward(weights, shape, tokens)
        body = {"prompt": tokens, "max_tokens": 1, "temperature": 0, "logprobs": 4, "model": "tiny"}
        body["return_tokens_as_token_ids"] = True
        told = post(base, "/v1/completions", body)["choices"][0]["logprobs"]
        best = int(np.argmax(expected))
        if told is not None:
            for name, logprob in told["top_logprobs"][0].items():
                assert logprob == pytest.approx(expected[_id(name)], abs=0.05)
            chosen = _id(told["tokens"][0])
            assert chosen == best or expected[best] - expected[chosen] < 0.05
            compared += 1
        tokens = [*tokens, best]
    return compared


def _id(name: str) -> int:
    return int(name.removeprefix("token_id:"))
