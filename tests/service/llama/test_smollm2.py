"""forebay-llama with a real chat model, spoken to by the official client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest
from tests.fakes.program import LLAMA, Program, running

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def test_it_knows_the_capital_of_france(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=QUESTION, temperature=0, max_tokens=20)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_piece_by_piece_and_ends_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smol", messages=QUESTION, temperature=0, max_tokens=20, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "Paris" in "".join(texts)
    assert sum(bool(text) for text in texts) > 3
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0


def test_plain_completions_embeddings_and_models(client: openai.OpenAI) -> None:
    done = client.completions.create(
        model="smol", prompt="The capital of France is", max_tokens=4, temperature=0
    )
    assert "Paris" in done.choices[0].text
    texts = ["A cat sits on the mat.", "A kitten sits on the rug.", "Stock markets fell sharply on Tuesday."]
    vectors = [item.embedding for item in client.embeddings.create(model="smol", input=texts).data]
    assert _cosine(vectors[0], vectors[1]) > _cosine(vectors[0], vectors[2])
    assert [item.id for item in client.models.list()] == ["smol"]
    assert client.models.retrieve("smol").id == "smol"


def _cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return float(dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)


def test_a_model_that_is_not_here_is_an_error_the_client_understands(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="other", messages=QUESTION)
    assert "'other' does not exist" in str(caught.value) and caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("path", "has"),
    [
        ("/health", "ok"), ("/v2/health/ready", "ok"), ("/v2/health/live", "true"),
        ("/v1/models/smol", '"ready": true'),
        ("/v2/models/smol/ready", '"ready": true'), ("/metrics", "llamacpp:prompt_tokens_total"),
    ],
)  # fmt: skip
def test_probes_of_every_protocol(server: tuple[str, Program], path: str, has: str) -> None:
    with urllib.request.urlopen(server[0] + path, timeout=5) as answer:
        assert has in answer.read().decode()


def test_foreign_flags_are_named_and_the_start_is_timed(server: tuple[str, Program]) -> None:
    text = "".join(server[1].lines)
    assert "--dtype float32 has no effect" in text
    phases = [json.loads(line) for line in server[1].lines if line.startswith("{")]
    assert [line["phase"] for line in phases if "phase" in line][:2] == ["load", "listen"]


def test_sigterm_finishes_what_is_under_way_and_takes_no_more(model: Path) -> None:
    argv = [*LLAMA, "--port", "0", "--model_name", "smol", "--model_dir", str(model), "--linger-s", "0.2"]
    with running(argv) as program:
        port = program.wait_json(deadline_s=30, phase="listen")["port"]
        base = f"http://127.0.0.1:{port}"
        body = {
            "prompt": "Once upon a time",
            "max_tokens": 120,
            "model": "smol",
            "stream": True,
            "ignore_eos": True,
        }
        request = urllib.request.Request(base + "/v1/completions", json.dumps(body).encode())
        got: list[bytes] = []
        with urllib.request.urlopen(request, timeout=30) as answer:
            got.append(answer.readline())
            reader = threading.Thread(target=lambda: got.extend(answer))
            reader.start()
            os.kill(program.process.pid, signal.SIGTERM)
            assert program.process.wait(20) == 0
            reader.join(10)
        assert got[-2:] == [b"data: [DONE]\n", b"\n"] or got[-1].startswith(b"data: [DONE]")
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(base + "/health", timeout=2)


def test_a_client_that_leaves_stops_the_generation(server: tuple[str, Program]) -> None:
    base = server[0]
    body = {"prompt": "Once", "max_tokens": 4000, "model": "smol", "stream": True, "ignore_eos": True}
    request = urllib.request.Request(base + "/v1/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.readline()
    until = time.monotonic() + 10
    while _processing(base):  # bounded polling: the engine notices at its next token
        assert time.monotonic() < until, "the engine still generates for a client that has gone"
        time.sleep(0.05)


def _processing(base: str) -> bool:
    with urllib.request.urlopen(base + "/metrics", timeout=5) as answer:
        return "llamacpp:requests_processing 0" not in answer.read().decode()


def refused(*argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [*LLAMA, "--port", "0", *argv],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return done.returncode, done.stderr


def test_what_cannot_be_served_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    code, text = refused("--model_dir", str(tmp_path))
    assert code == 2 and "model.onnx" in text and "GGUF" in text and "safetensors" in text
    code, text = refused("--model_dir", str(tmp_path / "none"), "--model_id", "org/name")
    assert code == 2 and "forebay pull hf://org/name" in text
    code, text = refused("--model_dir", str(tmp_path / "none"))
    assert code == 4 and "--model_dir" in text
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 64)
    code, text = refused("--model_dir", str(broken))
    assert code == 8 and "cannot load" in text
