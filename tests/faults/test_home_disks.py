"""The data folder's disk is full, or becomes read-only: what is refused says so, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.bench.home_probe import Api
from tests.seeds.world import FOREBAY, ROOT, HomeUnderTest, eventually, facts_of, home, start
from tests.service.kubectl import needs_kubectl

SIZE = "24m"
MAPS = "/api/v1/namespaces/default/configmaps"
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own is for root only"),
    needs_kubectl,
]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextmanager
def asking(here: HomeUnderTest) -> Iterator[Api]:
    """A connection to a home's API."""
    api = Api(here.data / "kubeconfig")
    try:
        yield api
    finally:
        api.close()


def fill(place: Path) -> Path:
    """A file that takes all there is left."""
    stuffing = place / "stuffing"
    with stuffing.open("wb", buffering=0) as file:
        for piece in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"x" * piece)
            except OSError:
                continue
    return stuffing


def write(api: Api, name: str) -> tuple[int, bytes]:
    return api.raw("POST", MAPS, {"metadata": {"name": name}, "data": {"v": "x" * 50_000}})


def write_until_refused(api: Api) -> tuple[list[str], int, dict[str, str]]:
    """The names that were confirmed, and the refusal."""
    confirmed: list[str] = []
    for number in range(1000):
        code, text = write(api, f"c{number}")
        if code >= 300:
            return confirmed, code, json.loads(text)
        confirmed.append(f"c{number}")
    raise AssertionError("the disk never was full")


def there(api: Api) -> set[str]:
    return {o["metadata"]["name"] for o in api("GET", MAPS)["items"] if "x" in o["data"].get("v", "")}


def test_a_full_disk_refuses_writes_and_nothing_else(small: Path) -> None:
    with home(small / "data") as here:
        with asking(here) as api:
            stuffing = fill(small)
            confirmed, code, status = write_until_refused(api)
            assert (code, status["kind"]) == (507, "Status"), status["message"]
            assert "no room to write" in status["message"] and "free disk space" in status["message"]
            assert there(api) == set(confirmed), "reads go on, and show what was confirmed only"
            stuffing.unlink()
            eventually(lambda: write(api, "after")[0] == 201, what="a write when there is room again")
            eventually(
                lambda: api.find("/api/v1/nodes/forebay"), what="a node that could not register before"
            )
        here.process.kill()
        here.process.wait()
        again(here)
        with asking(here) as api:
            assert there(api) == {*confirmed, "after"}


def again(here: HomeUnderTest) -> None:
    """The same folder, another life."""
    eventually(lambda: not here.processes(), deadline_s=5, what="the end of every process")
    here.process = start(here.data)
    here.facts = facts_of(here.data, here.process)


def up(data: Path) -> tuple[int, str]:
    """Exit code and words of a `forebay up` that must not start."""
    words = [*FOREBAY, "up", "--data", str(data), "--api-port", "0", "--gateway-port", "0"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.returncode, done.stderr


def test_a_home_does_not_start_on_a_full_disk_and_says_so(small: Path) -> None:
    stuffing = fill(small)
    code, told = up(small / "data")
    lines = told.strip().splitlines()
    assert code in (3, 7) and len(lines) == 1 and ("No space left" in told or "no room" in told), told
    stuffing.unlink()
    with home(small / "data") as here, asking(here) as api:
        assert write(api, "one")[0] == 201


def test_a_folder_that_became_read_only_is_told(small: Path) -> None:
    with home(small / "data") as here, asking(here) as api:
        assert write(api, "one")[0] == 201
    remount(small, "ro")
    try:
        code, told = up(small / "data")
    finally:
        remount(small, "rw")
    assert code == 3 and "Read-only file system" in told and len(told.strip().splitlines()) == 1
    with home(small / "data") as here, asking(here) as api:
        assert there(api) == {"one"}


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)
