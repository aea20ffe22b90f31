"""kill -9 of the home, its agent, its gateway and its engines: nothing stays behind, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.faults.mischief import SlyHub, sly_hub
from tests.seeds.objects import cache, downloader, node_group, service
from tests.seeds.world import (
    HomeUnderTest,
    eventually,
    facts_of,
    home,
    put_file,
    put_model,
    start,
)
from tests.service.kubectl import needs_kubectl

from forebay.cli import smollm2

SIZE, LARGE = 48 << 20, 250 << 20
LOST_MAX = 56 << 20  # blocks that were being filled, and what the kernel held: 1.5 % of 4 GB
CHAT = "acme/chat"
NODE = Path("nodes/forebay/root/models")
pytestmark = [
    pytest.mark.timeout(240),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlyHub]:
    folder = tmp_path_factory.mktemp("hub")
    put_model(folder, CHAT, smollm2.ensure())
    for name, size in {"cut": LARGE, "busy1": SIZE, "busy2": SIZE, "busy3": SIZE}.items():
        put_file(folder, f"acme/{name}", "model.safetensors", size=size)
    with sly_hub(folder) as hub:
        yield hub


@pytest.fixture
def farm(origin: SlyHub, tmp_path: Path) -> Iterator[HomeUnderTest]:
    """A home that serves one model."""
    origin.mischief.rate_bytes_s = 0.0
    with home(tmp_path / "home") as running:
        running.apply(
            downloader("acme", origin.url, ""),
            node_group("workers"),
            cache("chat", f"hf://{CHAT}", "workers"),
            service("chat", f"hf://{CHAT}"),
        )
        running.kubectl("wait", "--for=condition=Ready", "isvc/chat", "--timeout=60s")
        yield running


def programs(farm: HomeUnderTest) -> dict[int, str]:
    """Every process of the home but itself, by what it runs."""
    found = {}
    for pid in farm.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if pid != farm.process.pid and words[0]:
            kind = "supervisor" if any("supervisor" in word for word in words) else ""
            named = [w for w in words if w in ("node", "gateway", "llama", "storage-initializer")]
            found[pid] = kind or (named[0] if named else "other")
    return found


def the(farm: HomeUnderTest, program: str) -> list[int]:
    return [pid for pid, name in programs(farm).items() if name == program]


def answers(farm: HomeUnderTest) -> bool:
    """Whether the service answers a question."""
    url = f"{farm.facts['gateway']}/serving/default/chat/openai/v1/completions"
    body = {"model": "chat", "prompt": "1 2 3", "max_tokens": 2, "temperature": 0}
    try:
        return httpx.post(url, json=body, timeout=30, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def have(farm: HomeUnderTest, name: str) -> bool:
    status = farm.json("localmodelcache", name).get("status") or {}
    return bool(status.get("copies") == {"available": 1, "total": 1})


def same(farm: HomeUnderTest, origin: SlyHub, name: str) -> bool:
    key = farm.json("localmodelcache", name)["status"]["storageKey"]
    copy = farm.data / NODE / "models" / key / "model.safetensors"
    return copy.read_bytes() == (origin.settings.folder / "acme" / name / "model.safetensors").read_bytes()


def again(farm: HomeUnderTest) -> None:
    """The same folder, another life."""
    farm.process.wait(timeout=10)
    farm.process = start(farm.data)
    farm.facts = facts_of(farm.data, farm.process)


def test_a_killed_home_leaves_no_process_and_loses_nothing(farm: HomeUnderTest, origin: SlyHub) -> None:
    before, origin.mischief.rate_bytes_s = origin.mischief.sent, 100e6
    farm.apply(cache("cut", "hf://acme/cut", "workers"))
    eventually(lambda: origin.mischief.sent - before > LARGE * 0.4, what="some of the file")
    origin.mischief.rate_bytes_s = 1e6  # a kill may cost the last second: let that be little
    eventually(lambda: origin.mischief.sent - before > LARGE * 0.41, what="a little more")
    farm.kubectl("create", "configmap", "note", "--from-literal=a=b")
    pids = set(programs(farm))
    assert {"node", "gateway", "llama", "storage-initializer"} <= set(programs(farm).values())
    farm.process.kill()
    farm.process.wait()
    eventually(lambda: not farm.processes(), deadline_s=2, what=f"the end of {pids}")
    origin.mischief.rate_bytes_s = 0.0
    again(farm)
    assert farm.json("configmap", "note")["data"] == {"a": "b"}
    eventually(lambda: have(farm, "cut"), deadline_s=60, what="the interrupted download")
    assert same(farm, origin, "cut")
    assert origin.mischief.sent - before <= LARGE + LOST_MAX
    farm.kubectl("wait", "--for=condition=Ready", "isvc/chat", "--timeout=60s")
    eventually(lambda: answers(farm), what="an answer")


def reach(farm: HomeUnderTest, origin: SlyHub, name: str, sent: float) -> None:
    """The moment when the hub has sent so much, or the download is over."""
    eventually(lambda: origin.mischief.sent >= sent or have(farm, name), what="the moment")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_programs_killed_at_random_times_come_back(farm: HomeUnderTest, origin: SlyHub, seed: int) -> None:
    dice = random.Random(seed)
    before, origin.mischief.rate_bytes_s = origin.mischief.sent, 12e6
    farm.apply(cache(f"busy{seed}", f"hf://acme/busy{seed}", "workers"))
    farm.apply(service("chat", f"hf://{CHAT}", args=("--model_name=chat", "--model_name=chat")))
    for program in dice.sample(("node", "gateway", "llama", "supervisor", "storage-initializer"), 3):
        mark = before + dice.random() * SIZE
        eventually(
            lambda mark=mark: origin.mischief.sent >= mark or have(farm, f"busy{seed}"), what="the moment"
        )  # type: ignore[misc]
        for pid in the(farm, program)[:1]:
            os.kill(pid, signal.SIGKILL)
    origin.mischief.rate_bytes_s = 0.0
    eventually(lambda: have(farm, f"busy{seed}"), deadline_s=90, what="the download")
    assert same(farm, origin, f"busy{seed}")
    farm.kubectl("rollout", "status", "deployment/chat-predictor", "--timeout=60s")
    farm.kubectl("wait", "--for=condition=Ready", "isvc/chat", "--timeout=60s")
    eventually(lambda: answers(farm), what="an answer")


def test_down_leaves_no_process_and_the_next_up_has_everything(farm: HomeUnderTest) -> None:
    assert farm.forebay("down").strip() == f"Forebay on {farm.data} is down."
    eventually(lambda: not farm.processes(), deadline_s=2, what="the end of every process")
    again(farm)
    farm.kubectl("wait", "--for=condition=Ready", "isvc/chat", "--timeout=60s")
    eventually(lambda: answers(farm), what="an answer")
