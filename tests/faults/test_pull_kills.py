"""kill -9 at any instant: nothing half is under a final name, and the next run goes on where the last one
was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.lying_server import until
from tests.faults.pulling import some_bytes

from forebay.engines.hub import Hub, HubSettings
from forebay.pull.journal import last

SIZE = 48 << 20
CHILD = """
import os, sys
from pathlib import Path
from forebay.pull.command import PullOptions, pull_command
raise SystemExit(pull_command(PullOptions(sys.argv[1], Path(sys.argv[2]), rate_bytes_s=float(sys.argv[3])),
os.environ))
"""
POINTS = [
    "pull.journal.written",
    "pull.file.verified",
    "pull.file.synced",
    "pull.folder.renamed",
    "pull.file.published",
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    repo = tmp_path / "hub" / "acme" / "tiny"
    repo.mkdir(parents=True)
    (repo / "model.safetensors").write_bytes(some_bytes(SIZE))
    (repo / "config.json").write_bytes(b"{}")
    with Hub(HubSettings(tmp_path / "hub")) as hub:
        yield hub


def pull(hub: Hub, dest: Path, *, rate: float = 0, failpoints: str = "") -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "FOREBAY_FAILPOINTS": failpoints,
        "HF_TOKEN": "",
        "no_proxy": "*",
    }
    command = [sys.executable, "-c", CHILD, "hf://acme/tiny", str(dest), str(rate)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(child: subprocess.Popen[bytes]) -> int:
    _, errors = child.communicate(timeout=40)
    assert child.returncode in (0, -signal.SIGKILL), errors.decode()
    return child.returncode


def published(dest: Path) -> dict[str, bytes]:
    found = (p for p in dest.rglob("*") if p.is_file() and ".forebay-parts" not in p.parts)
    return {p.relative_to(dest).as_posix(): p.read_bytes() for p in found}


def journaled(dest: Path) -> int:
    """How many bytes of the large file the journal on disk says are there."""
    for path in (dest / ".forebay-parts").glob("*.part.journal"):
        entry = None if path.name.startswith("x-") else last(path.read_bytes())
        if entry is not None:
            return entry.done.total
    return 0


def sent(hub: Hub) -> int:
    return sum(entry.sent for entry in hub.server.log if entry.target.startswith("/_cdn/"))


WHOLE = {"config.json": b"{}", "model.safetensors": some_bytes(SIZE)}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_named_point_leaves_whole_files_or_none(hub: Hub, tmp_path: Path, point: str) -> None:
    dest = tmp_path / "out"
    assert finish(pull(hub, dest, failpoints=f"{point}=kill")) == -signal.SIGKILL
    for name, body in published(dest).items():
        assert body == WHOLE[name]
    assert finish(pull(hub, dest)) == 0
    assert published(dest) == WHOLE


def test_a_kill_in_the_middle_costs_little_more_than_nothing(hub: Hub, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    child = pull(hub, dest, rate=24e6)
    until(lambda: child.poll() is not None or journaled(dest) >= SIZE // 3, seconds=30)
    child.kill()
    assert finish(child) == -signal.SIGKILL
    assert "model.safetensors" not in published(dest)
    kept = journaled(dest)
    assert kept >= SIZE // 3
    until(lambda: not hub.server._open)  # it has noticed, and counted what it still sent
    first = sent(hub)
    assert finish(pull(hub, dest)) == 0
    assert published(dest) == WHOLE
    assert sent(hub) - first == SIZE - kept


def test_a_second_run_fetches_no_byte(hub: Hub, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    assert finish(pull(hub, dest)) == 0
    before = len([e for e in hub.server.log if "/resolve/" in e.target or e.target.startswith("/_cdn/")])
    assert finish(pull(hub, dest)) == 0
    after = len([e for e in hub.server.log if "/resolve/" in e.target or e.target.startswith("/_cdn/")])
    assert before == after


def test_bytes_that_the_disk_lost_are_fetched_again_and_nobody_is_blamed(hub: Hub, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    assert finish(pull(hub, dest, failpoints="pull.file.verified=kill")) == -signal.SIGKILL
    (part,) = (p for p in (dest / ".forebay-parts").glob("*.part") if not p.name.startswith("x-"))
    with part.open("r+b") as body:
        body.seek(1 << 20)
        body.write(bytes(4096))
    assert finish(pull(hub, dest)) == 0
    assert published(dest) == WHOLE


def test_two_pulls_of_one_model_at_once_both_end_well(hub: Hub, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    first, second = pull(hub, dest, rate=48e6), pull(hub, dest, rate=48e6)
    assert finish(first) == 0 and finish(second) == 0
    assert published(dest) == WHOLE
    assert sent(hub) <= SIZE * 1.1
