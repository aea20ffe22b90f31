"""A pod's folder is long, and all of the engine's files lie in it, so they go with the pod."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
from tests.fakes.program import LLAMA, running

ASKED = {"model": "smol", "prompt": "The capital of France is", "max_tokens": 1, "temperature": 0}


def test_the_private_socket_lies_in_the_pods_own_folder_however_long_its_path(
    model: Path, tmp_path: Path
) -> None:
    folder = tmp_path.joinpath(*["a-folder-of-a-pod"] * 8, "tmp")
    folder.mkdir(parents=True)
    assert len(str(folder)) > 107, "longer than a socket's path may be"
    argv = [*LLAMA, "--http_port=0", "--model_name=smol", f"--model_dir={model}", "--ctx-size=512"]
    with running(argv, env={"TMPDIR": str(folder)}) as program:
        port = program.wait_json(deadline_s=30, phase="listen")["port"]
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=ASKED, timeout=30)
        assert answer.status_code == 200 and answer.json()["choices"][0]["text"]
        assert len(list(folder.rglob("llama.sock"))) == 1
    assert not list(folder.iterdir()), "and an orderly end leaves nothing"
