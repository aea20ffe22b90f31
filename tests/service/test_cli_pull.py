"""`forebay pull` as a person types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.engines.hub import Hub, HubSettings

TREE = {"a.safetensors": b"a", "b.bin": b"b", "original/c.safetensors": b"c"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, body in TREE.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path / "model"


def pull(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "forebay.main", "pull", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def fetched(folder: Path) -> set[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and ".forebay-parts" not in p.parts)
    return {p.relative_to(folder).as_posix() for p in found}


@pytest.mark.parametrize(("options", "expected"), [
    (("--include", "*.safetensors"), {"a.safetensors", "original/c.safetensors"}),
    (("--include", "*.safetensors", "--exclude", "original/*"), {"a.safetensors"}),
    (("--exclude", "*.bin", "--exclude", "original/*"), {"a.safetensors"}),
    (("--include", "a*", "--include", "b*"), {"a.safetensors", "b.bin"}),
])  # fmt: skip
def test_patterns_choose_among_the_files(
    source: Path, tmp_path: Path, options: tuple[str, ...], expected: set[str]
) -> None:
    said = pull(f"file://{source}", tmp_path / "out", *options)
    assert said.returncode == 0, said.stderr
    assert fetched(tmp_path / "out") == expected


def test_patterns_that_fit_nothing_are_an_error_and_not_an_empty_model(source: Path, tmp_path: Path) -> None:
    said = pull(f"file://{source}", tmp_path / "out", "--include", "*.gguf")
    assert said.returncode != 0 and "no file of" in said.stderr and "Traceback" not in said.stderr


def test_without_patterns_a_local_folder_is_linked_and_not_copied(source: Path, tmp_path: Path) -> None:
    assert pull(f"file://{source}", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "b.bin").is_symlink()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 6)])
def test_an_interruption_is_no_fault_of_the_source(tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C ended with the code of a peer that is down; a Job that is stopped is to be tried again."""
    weights = tmp_path / "hub" / "acme" / "big" / "weights.bin"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(64 << 20))
    with Hub(HubSettings(tmp_path / "hub")) as hub:
        words = ("pull", "hf://acme/big", str(tmp_path / "out"), "--limit-rate", "8M")
        argv = [sys.executable, "-m", "forebay.main", *words]
        env = {**os.environ, "HF_ENDPOINT": hub.url, "NO_PROXY": "*"}
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env) as running:
            assert running.stderr is not None
            running.stderr.readline()  # it moves
            running.send_signal(number)
            last = json.loads(running.stderr.read().splitlines()[-1])
            assert running.wait(timeout=30) == code
    assert "what came is kept, pull again to go on" in last["message"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 6)])
def test_a_source_that_does_not_answer_is_not_waited_for_when_interrupted(
    tmp_path: Path, number: int, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = ("pull", f"http://127.0.0.1:{silent.getsockname()[1]}/model.bin", str(tmp_path / "out"))
        argv = [sys.executable, "-m", "forebay.main", *words]
        env = {**os.environ, "NO_PROXY": "*"}
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env) as running:
            assert running.stderr is not None
            with silent.accept()[0] as asked:
                asked.recv(1)
                running.send_signal(number)
                said = running.stderr.read()
                assert running.wait(timeout=30) == code
    assert json.loads(said)["message"] == "stopped before the first byte was asked for; pull again"


INTERRUPTED_WHILE_LOADING = """
import os, signal, sys
chosen, sys.argv = sys.argv[1], ["forebay", "version"]
class Interrupt:
    def find_spec(self, name, *_):
        if name == chosen: os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from forebay.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["forebay.main", "click", "forebay.cli.app", "forebay.home.lock"])
def test_ctrl_c_while_the_command_loads_leaves_no_trace(module: str) -> None:
    argv = [sys.executable, "-c", INTERRUPTED_WHILE_LOADING, module]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_is_left_to_whoever_ignores_it() -> None:
    """A shell's job in the background starts with SIGINT ignored, and goes on."""
    program = INTERRUPTED_WHILE_LOADING.replace(
        "sys.meta_path", "signal.signal(2, signal.SIG_IGN); sys.meta_path"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "click"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
