"""One server of a real chat model for all of these tests, and the official client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.fakes.program import LLAMA, Program, running

from forebay.cli import smollm2
from forebay.errors import Unavailable


@pytest.fixture(scope="session")
def model() -> Path:
    try:
        return smollm2.ensure()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[tuple[str, Program]]:
    argv = [
        *LLAMA,
        "--http_port=0",
        "--model_name=smol",
        f"--model_dir={model}",
        "--dtype=float32",
        "--ctx-size=2048",
    ]
    with running(argv) as program:
        port = program.wait_json(deadline_s=30, phase="listen")["port"]
        yield f"http://127.0.0.1:{port}", program


@pytest.fixture(params=["/v1", "/openai/v1"])
def client(server: tuple[str, Program], request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server[0] + request.param, api_key="none", max_retries=0, timeout=30
    ) as client:
        yield client
