"""How a home starts, how it refuses to, and how it ends when it is told to."""

from __future__ import annotations

import fcntl
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.plain_user import plain_user
from tests.seeds.objects import thing
from tests.seeds.world import FOREBAY, ROOT, eventually, home, start
from tests.service.kubectl import needs_kubectl

from forebay.home.kubelet.processes import POD_DIR
from forebay.home.lock import DataFolder

FREE = ("--api-port", "0", "--gateway-port", "0")
pytestmark = [
    pytest.mark.timeout(120),
    needs_kubectl,
]


def refused(*words: str, preexec_fn: Callable[[], None] | None = None) -> tuple[int, str]:
    """Exit code and words of a `forebay up` that must not start."""
    command = [*FOREBAY, "up", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False, preexec_fn=preexec_fn
    )
    return done.returncode, done.stderr


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), text
    return lines[0]


@pytest.mark.parametrize("more", [(), ("-d",)])
def test_what_keeps_a_home_from_starting_is_one_line_and_a_code(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    with home(tmp_path / "home") as running, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, told = refused("--data", str(running.data), *FREE, *more)
        assert code == 5 and "already runs" in one_line(told) and str(running.process.pid) in told
        other = ("--data", str(tmp_path / "other"))
        code, told = refused(*other, "--api-port", port, "--gateway-port", "0", *more)
        assert code == 6 and port in one_line(told)
        code, told = refused(*other, "--api-port", "0", "--gateway-port", port, *more)
        assert code == 6 and port in one_line(told)
        code, told = refused("--data", "/proc/nobody-can-write-here", *FREE, *more)
        assert code == 3 and "cannot write" in one_line(told)
        assert running.kubectl("get", "--raw", "/readyz") == "ok"


def _noise(data: Path) -> None:
    (data / "forebay.db").write_bytes(b"\x00\xff" * 5000)


def _folder(data: Path) -> None:
    (data / "forebay.db").mkdir()


def _no_yaml(data: Path) -> None:
    (data / "images.yaml").write_text(": [\n")


@pytest.mark.parametrize("more", [(), ("-d",)])
@pytest.mark.parametrize(
    ("breakage", "code", "words"),
    [(_noise, 8, "damaged"), (_folder, 6, "cannot be opened"), (_no_yaml, 2, "images.yaml")],
)
def test_a_broken_data_folder_is_one_line_and_a_code(
    tmp_path: Path, breakage: Callable[[Path], None], code: int, words: str, more: tuple[str, ...]
) -> None:
    (tmp_path / "up.log").write_text("Error: this was another time\n")
    breakage(tmp_path)
    got, told = refused("--data", str(tmp_path), *FREE, *more)
    assert got == code and words in one_line(told)


def test_a_folder_that_was_there_shows_nobody_else_its_logs_and_models(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "nodes").mkdir(mode=0o755)
    folder = DataFolder(tmp_path)
    folder.take()
    folder.leave()
    assert (tmp_path / "nodes").stat().st_mode & 0o777 == 0o700


def test_the_leavings_of_a_dead_home_keep_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "up.lock").touch()
    (tmp_path / "up.json").write_text('{"pid": 1, "server": "https://127.0.0.1:1"}')
    with home(tmp_path) as running:
        assert running.kubectl("get", "--raw", "/readyz") == "ok"
        assert running.facts["pid"] == running.process.pid


DEAF = {
    "terminationGracePeriodSeconds": 3600,
    "containers": [
        {"name": "c", "image": "none", "command": ["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"]}
    ],
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_twice_waits_for_nobody(tmp_path: Path, number: int) -> None:
    with home(tmp_path) as running:
        running.apply(thing("v1", "Pod", "deaf", "default", spec=DEAF))
        running.kubectl("wait", "--for=condition=Ready", "pod/deaf", "--timeout=30s")
        running.process.send_signal(number)
        eventually(lambda: "once more" in running.log(), what="a word about it")
        began = time.monotonic()
        running.process.send_signal(number)
        assert running.process.wait(timeout=60) == 0
        assert time.monotonic() - began < 10, "a deaf pod is given twenty seconds otherwise"
        eventually(lambda: not running.processes(), deadline_s=3, what="the end of every process")
        assert running.log().count("Traceback") == 0


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.4, 0.5, 0.7])
def test_a_start_that_is_broken_off_leaves_nothing(tmp_path: Path, after_s: float) -> None:
    process = start(tmp_path)
    time.sleep(after_s)  # the moment of the signal, not a wait for anything
    process.terminate()
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    mark = f"{POD_DIR}={tmp_path}".encode()
    eventually(lambda: not _carrying(mark), deadline_s=3, what="the end of every process")
    with (tmp_path / "up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not (tmp_path / "up.json").exists()
    assert "Traceback" not in (tmp_path / "up.out").read_text()


def _carrying(mark: bytes) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, told = refused("--data", str(tmp_path), *FREE, preexec_fn=plain_user)
    assert code == 3 and "cannot write" in one_line(told)
