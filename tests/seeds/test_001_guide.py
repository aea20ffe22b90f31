"""KServe's local model cache guide, typed with the real kubectl, its manifests unchanged."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml

from forebay.cli import smollm2
from tests.seeds.world import HomeUnderTest, Hub, eventually, home, hub, put_model
from tests.service.kubectl import needs_kubectl

GUIDE = Path(__file__).parent / "guide"
REPO = "meta-llama/meta-llama-3-8b-instruct"
NODE = "kind-worker"
UP = (
    "--node-name", NODE, "--node-label", "nvidia.com/gpu-product=NVIDIA-A100-SXM4-80GB",
    "--node-capacity", "cpu=8,memory=32Gi,nvidia.com/gpu=1",
)  # fmt: skip
pytestmark = [
    pytest.mark.timeout(300),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    put_model(folder, REPO, smollm2.ensure())
    with hub(folder, gated=(REPO,), token="xxxx") as running:  # the token that the guide's secret holds
        yield running


@pytest.fixture(scope="module")
def guide(origin: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home"), *UP, env={"HF_ENDPOINT": origin.url}) as running:
        yield running


def test_the_guide_from_its_first_line_to_an_answer(guide: HomeUnderTest, origin: Hub) -> None:
    enable_local_models(guide)
    for name in ("secret", "clusterstoragecontainer", "localmodelnodegroup"):
        assert re.search(r" created\n$", guide.kubectl("apply", "-f", str(GUIDE / f"{name}.yaml")))
    agent_daemonset(guide)
    guide.kubectl("apply", "-f", str(GUIDE / "localmodelcache.yaml"))
    download_job(guide)
    download_claim(guide)
    cache_status(guide)
    node_status(guide)
    labels = guide.json("node", NODE)["metadata"]["labels"]
    assert labels.get("localmodel.forebay.dev/c277d78a31bc6624") == "workers"  # the group that holds the copy
    before = origin.gets()
    guide.kubectl("apply", "-f", str(GUIDE / "inferenceservice.yaml"))
    guide.kubectl("wait", "--for=condition=Ready", "isvc/huggingface-llama3", "--timeout=60s")
    assert "Paris" in ask(guide, "huggingface-llama3", "llama3")
    assert origin.gets() == before, "the service fetched what the cache holds"


def enable_local_models(guide: HomeUnderTest) -> None:
    """`kubectl edit configmap inferenceservice-config -n kserve`, as the guide's first step."""
    script = guide.data / "editor.py"
    wanted = (
        '{"enabled": true, "jobNamespace": "kserve-localmodel-jobs", "defaultJobImage": '
        '"kserve/storage-initializer:latest", "fsGroup": 1000, "localModelAgentImage": '
        '"kserve/kserve-localmodelnode-agent:latest", "localModelAgentCpuRequest": "100m", '
        '"localModelAgentMemoryRequest": "200Mi", "localModelAgentCpuLimit": "100m", '
        '"localModelAgentMemoryLimit": "300Mi"}'
    )
    script.write_text(
        "import sys, yaml\n"
        "path = sys.argv[1]\n"
        "doc = yaml.safe_load(open(path))\n"
        f"doc.setdefault('data', {{}})['localModel'] = {wanted!r}\n"
        "open(path, 'w').write(yaml.safe_dump(doc))\n"
    )
    editor = {"KUBE_EDITOR": f"{sys.executable} {script}"}
    told = guide.kubectl("edit", "configmap", "inferenceservice-config", "-n", "kserve", env=editor)
    assert told == "configmap/inferenceservice-config edited\n"


def rows(text: str) -> list[list[str]]:
    """A table's cells: columns are three spaces apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.strip().splitlines()]


def agent_daemonset(guide: HomeUnderTest) -> None:
    def ready() -> list[list[str]] | None:
        found = rows(guide.kubectl("get", "daemonset", "-n", "kserve", "workers-agent", check=False))
        return found if len(found) == 2 and found[1][1:6] == ["1"] * 5 else None

    head, row = eventually(ready, what="the agent's DaemonSet")
    assert head == ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", "AGE"]
    assert row[:7] == ["workers-agent", "1", "1", "1", "1", "1", "<none>"]


def download_job(guide: HomeUnderTest) -> None:
    name = "meta-llama3-8b-instruct-kind-worker"
    words = ("get", "jobs", name, "-n", "kserve-localmodel-jobs")
    eventually(lambda: "Complete" in guide.kubectl(*words, check=False), what="the download job")
    head, row = rows(guide.kubectl(*words))
    assert head == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert row[:3] == [name, "Complete", "1/1"]


def download_claim(guide: HomeUnderTest) -> None:
    text = guide.kubectl("get", "pvc", "meta-llama3-8b-instruct", "-n", "kserve-localmodel-jobs")
    head, row = rows(text)
    assert head == [
        "NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS", "VOLUMEATTRIBUTESCLASS", "AGE"
    ]  # fmt: skip
    wanted = [
        "meta-llama3-8b-instruct",
        "Bound",
        "meta-llama3-8b-instruct-download",
        "10Gi",
        "RWO",
        "local-storage",
    ]
    assert row[:7] == [*wanted, "<unset>"]


def cache_status(guide: HomeUnderTest) -> None:
    words = ("get", "localmodelcache", "meta-llama3-8b-instruct", "-oyaml")
    eventually(lambda: "NodeDownloaded" in guide.kubectl(*words), what="the copy")
    cache = yaml.safe_load(guide.kubectl(*words))
    assert cache["status"]["copies"] == {"available": 1, "total": 1}
    assert cache["status"]["nodeStatus"] == {NODE: "NodeDownloaded"}
    assert cache["spec"]["sourceModelUri"] == f"hf://{REPO}"


def node_status(guide: HomeUnderTest) -> None:
    node = yaml.safe_load(guide.kubectl("get", "localmodelnode", NODE, "-oyaml"))
    entry = node["spec"]["localModels"][0]
    assert entry["modelName"] == "meta-llama3-8b-instruct"
    assert entry["sourceModelUri"] == f"hf://{REPO}"
    assert node["status"]["modelStatus"] == {"meta-llama3-8b-instruct": "ModelDownloaded"}


def ask(guide: HomeUnderTest, service: str, model: str) -> str:
    """The streamed answer to the question of questions."""
    url = f"{guide.facts['gateway']}/serving/default/{service}/openai/v1/chat/completions"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 32,
    }
    with httpx.stream("POST", url, json=body, timeout=60, trust_env=False) as answer:
        text = "".join(answer.iter_lines())
        assert answer.status_code == 200, text
    assert text.endswith("[DONE]")
    return "".join(re.findall(r'"content":"([^"]*)"', text))
