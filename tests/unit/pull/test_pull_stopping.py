"""SIGTERM and Ctrl-C while a pull waits for somebody else."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from forebay.api.names import storage_key
from forebay.cache.reservations import asking, find_all
from forebay.cache.root import open_root
from forebay.kit import disk
from forebay.pull import cached
from forebay.pull.command import PullOptions, pull_command


@pytest.mark.parametrize("what", ["an-answer", "room", "another-pull", "another-model"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 6)])
def test_who_only_waits_is_stopped_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    what: str, number: int, code: int,
) -> None:  # fmt: skip
    """A server that says nothing was listened to for two minutes, room was waited for ten, another pull for
    hours."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a")
    root, env = tmp_path / "cache", {"NO_PROXY": "*"}
    uri, slept = f"file://{tmp_path / 'source'}", time.sleep

    def signalled(seconds: float = 0.0) -> None:
        os.kill(os.getpid(), number)
        slept(seconds)

    def never_answers() -> None:
        stack.enter_context(connection := silent.accept()[0])
        connection.recv(1)  # the question has come
        signalled()

    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        if what == "an-answer":
            uri = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
            threading.Thread(target=never_answers).start()
        else:
            env["FOREBAY_CACHE_ROOT"] = str(root)
            cache, key = open_root(root), storage_key(uri)
            if what == "another-pull":
                stack.enter_context(asking(cache, key=key, model="", uri=uri))
            if what == "another-model":
                stack.enter_context(cache.disk.lock(cache.layout.part_lock(key), 1))
            monkeypatch.setattr(disk.time, "sleep", signalled)
        assert pull_command(PullOptions(uri, tmp_path / "out"), env, puller=cached.puller(env)) == code
    said = capsys.readouterr().err
    assert json.loads(said.splitlines()[-1])["code"] == "unavailable" and "Traceback" not in said
    assert what == "an-answer" or len(find_all(open_root(root))) == (what == "room")
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
