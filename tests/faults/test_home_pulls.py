"""Downloads of a whole home, killed, corrupted, stalled: never anything wrong, hardly a byte twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.mischief import SlyHub, sly_hub
from tests.seeds.objects import cache, downloader, node_group
from tests.seeds.world import HomeUnderTest, eventually, home, put_file
from tests.service.kubectl import needs_kubectl

SIZE, LARGE = 48 << 20, 250 << 20
LOST_MAX = 56 << 20  # blocks that were being filled, and what the kernel held: 1.5 % of 4 GB
MODELS = ("killed", "flipped", "stalled", "deaf", "wide")
pytestmark = [
    pytest.mark.timeout(180),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlyHub]:
    folder = tmp_path_factory.mktemp("hub")
    for name in MODELS:
        put_file(folder, f"acme/{name}", "model.safetensors", size=LARGE if name == "killed" else SIZE)
    with sly_hub(folder) as hub:
        yield hub


@pytest.fixture(scope="module")
def farm(origin: SlyHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home")) as running:
        running.apply(downloader("acme", origin.url, ""), node_group("workers"))
        yield running


@pytest.fixture(autouse=True)
def honest(origin: SlyHub) -> Iterator[None]:
    """Each test starts with a hub that behaves, and ends with one."""
    yield
    origin.mischief.rate_bytes_s, origin.mischief.flip_at, origin.mischief.ignore_range = 0.0, -1, False
    origin.mischief.stall.clear()


def start(farm: HomeUnderTest, name: str) -> None:
    farm.apply(cache(name, f"hf://acme/{name}", "workers"))


def status(farm: HomeUnderTest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = farm.json("localmodelcache", name).get("status") or {}
    return found


def arrived(farm: HomeUnderTest, name: str, *, seconds: float = 60.0) -> None:
    want = {"available": 1, "total": 1}
    eventually(
        lambda: status(farm, name).get("copies") == want, deadline_s=seconds, what=f"the copy of {name}"
    )


def view(farm: HomeUnderTest, name: str) -> Path:
    key = status(farm, name)["storageKey"]
    return farm.data / "nodes" / "forebay" / "root" / "models" / "models" / key / "model.safetensors"


def right(farm: HomeUnderTest, origin: SlyHub, name: str) -> bool:
    original = origin.settings.folder / "acme" / name / "model.safetensors"
    return view(farm, name).read_bytes() == original.read_bytes()


def pulling(farm: HomeUnderTest) -> list[int]:
    """The processes of download Jobs: those with the program's name on their command line."""
    found = []
    for pid in farm.processes():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"\0storage-initializer\0" in line and b"supervisor" not in line:
            found.append(pid)
    return found


def arriving(origin: SlyHub, sent: float) -> None:
    eventually(lambda: origin.mischief.sent > sent, what=f"{sent:g} bytes of the hub")


def test_a_killed_pull_goes_on_where_it_was(farm: HomeUnderTest, origin: SlyHub) -> None:
    before, origin.mischief.rate_bytes_s = origin.mischief.sent, 100e6
    start(farm, "killed")
    arriving(origin, before + LARGE * 0.5)
    origin.mischief.rate_bytes_s = 1e6  # a kill may cost the last second: let that be little
    arriving(origin, before + LARGE * 0.51)
    victims = pulling(farm)
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    origin.mischief.rate_bytes_s = 0.0
    arrived(farm, "killed")
    assert right(farm, origin, "killed")
    assert origin.mischief.sent - before <= LARGE + LOST_MAX


def test_a_flipped_byte_is_never_published_and_the_reason_is_shown(
    farm: HomeUnderTest, origin: SlyHub
) -> None:
    origin.mischief.flip_at = SIZE // 3
    start(farm, "flipped")

    def refused() -> Any:
        said = [c for c in status(farm, "flipped").get("conditions") or [] if c["type"] == "Ready"]
        return said and "sha256" in said[0]["message"] and said[0]

    said = eventually(refused, deadline_s=60, what="the reason")
    assert said["status"] == "False"
    assert status(farm, "flipped")["copies"].get("available", 0) == 0
    root = farm.data / "nodes" / "forebay" / "root" / "models"
    assert not view(farm, "flipped").exists()
    assert not (root / ".forebay" / "manifests" / f"{status(farm, 'flipped')['storageKey']}.json").exists()
    origin.mischief.flip_at = -1
    arrived(farm, "flipped", seconds=90)
    assert right(farm, origin, "flipped")


def test_a_stalling_hub_costs_time_and_no_bytes(farm: HomeUnderTest, origin: SlyHub) -> None:
    before, origin.mischief.rate_bytes_s = origin.mischief.sent, 16e6
    start(farm, "stalled")
    arriving(origin, before + SIZE * 0.3)
    origin.mischief.stall.set()
    eventually(lambda: status(farm, "stalled").get("nodeStatus"), what="a status while it stalls")
    assert status(farm, "stalled")["copies"].get("available", 0) == 0
    origin.mischief.stall.clear()
    origin.mischief.rate_bytes_s = 0.0
    arrived(farm, "stalled")
    assert right(farm, origin, "stalled")


def test_a_hub_that_ignores_ranges_gives_the_right_bytes_after_a_kill(
    farm: HomeUnderTest, origin: SlyHub
) -> None:
    before, origin.mischief.rate_bytes_s = origin.mischief.sent, 24e6
    origin.mischief.ignore_range = True
    start(farm, "deaf")
    arriving(origin, before + SIZE * 0.5)
    for pid in pulling(farm):
        os.kill(pid, signal.SIGKILL)
    origin.mischief.rate_bytes_s = 0.0
    arrived(farm, "deaf")
    assert right(farm, origin, "deaf")
    events = json.loads(farm.kubectl("get", "events", "-A", "-o", "json"))["items"]
    assert any(e["reason"] == "Downloaded" and e["involvedObject"]["name"] == "deaf" for e in events)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own is for root only")
def test_a_full_disk_is_told_beforehand_and_room_lets_it_go_on(farm: HomeUnderTest, origin: SlyHub) -> None:
    place = farm.data / "nodes" / "forebay" / "root" / "small"
    place.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no mounts here: {mounted.stderr.decode().strip()}")
    try:
        before = origin.mischief.sent
        farm.apply(node_group("narrow", path="/small"), cache("wide", "hf://acme/wide", "narrow"))

        def refused() -> Any:
            said = [c for c in status(farm, "wide").get("conditions") or [] if c["type"] == "Ready"]
            return said and "room" in said[0]["message"] and said[0]["message"]

        told = eventually(refused, what="the refusal")
        assert "free" in told and origin.mischief.sent == before, told
        assert not list((place / ".forebay" / "blobs").rglob("[0-9a-f]" * 64))
        subprocess.run(["mount", "-o", "remount,size=256m", str(place)], check=True)
        arrived(farm, "wide", seconds=120)
        farm.kubectl("delete", "localmodelcache/wide", "localmodelnodegroup/narrow", "--timeout=60s")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
