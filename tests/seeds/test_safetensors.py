"""A Hugging Face folder in safetensors, through hub, cache, conversion and server, to an answer."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
import pytest

from forebay.cli.models import objects_for
from tests.fakes.tiny_llama import Shape, write_folder
from tests.seeds.world import eventually, home, hub
from tests.service.kubectl import needs_kubectl

pytestmark = [
    pytest.mark.timeout(180),
    needs_kubectl,
]
URI = "hf://acme/tiny-llama"


def test_a_folder_in_safetensors_is_converted_once_in_its_pod_and_answers(tmp_path: Path) -> None:
    write_folder(tmp_path / "hub" / "acme" / "tiny-llama", shape=Shape(), shards=2)
    with (
        hub(tmp_path / "hub") as origin,
        home(tmp_path / "home", env={"HF_ENDPOINT": origin.url}) as here,
    ):
        for item in objects_for(URI, "tiny", "default", replicas=1):
            here.kubectl("apply", "-f", "-", stdin=json.dumps(item.raw))
        here.kubectl("wait", "--for=condition=Ready", "isvc/tiny", "--timeout=90s")
        pod = here.json("pods", "-l", "serving.kserve.io/inferenceservice=tiny")["items"][0]
        (prepare,) = pod["status"]["initContainerStatuses"]
        assert (prepare["name"], prepare["state"]["terminated"]["exitCode"]) == ("prepare", 0)
        log = here.kubectl("logs", pod["metadata"]["name"], "-c", "prepare")
        assert '"phase": "convert"' in log
        assert '"phase": "convert"' not in here.kubectl(
            "logs", pod["metadata"]["name"], "-c", "kserve-container"
        )
        body = {"model": "tiny", "messages": [{"role": "user", "content": "The capital"}], "max_tokens": 4}
        url = f"{here.facts['gateway']}/openai/v1/chat/completions"
        answer = eventually(lambda: httpx.post(url, json=body, timeout=60, trust_env=False))
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] >= 1
