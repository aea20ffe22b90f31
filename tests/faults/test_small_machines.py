"""A machine that gives no more threads, memory or open files: that is Exhausted, says what to raise, and
harms nothing."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path

import pytest
from tests.faults.lying_server import LyingServer
from tests.faults.pulling import Folder, quick, some_bytes

from forebay.errors import Exhausted
from forebay.pull import buffers, engine

BODY = some_bytes(1_000_003)
SETTINGS = quick(hashers=2)  # and one that publishes; what comes then are connections


def only(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine starts so many threads of a pull."""
    started, real = [], threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name == "forebay-pull":
            if len(started) >= count:
                raise RuntimeError("can't start new thread")
            started.append(self)
        real(self)

    monkeypatch.setattr(engine.threading.Thread, "start", start)


def at_work() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "forebay-pull"]


@pytest.mark.parametrize("count", range(4))
def test_without_threads_a_pull_says_which_limit_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server:
        with monkeypatch.context() as patch:
            only(count, patch)
            with pytest.raises(Exhausted, match="the container's limit of pids"):
                folder.pull(server.url, settings=SETTINGS)
        assert folder.names() == [] and at_work() == []
        assert [p.name for p in folder.parts.iterdir() if p.name.startswith("small-")] == []
        folder.pull(server.url, settings=SETTINGS)
    assert folder.names() == ["model.bin"]


@pytest.mark.parametrize("connections", [1, 2])
def test_with_few_threads_a_pull_has_fewer_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    folder = Folder(tmp_path)
    only(SETTINGS.hashers + 1 + connections, monkeypatch)
    with LyingServer(BODY) as server:
        report = folder.pull(server.url, settings=SETTINGS)
    assert (folder.out / "model.bin").read_bytes() == BODY
    assert report.connections_most <= connections
    assert [note for note in report.notes if note.startswith(f"no more connections than {connections}:")]


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), MemoryError()])
def test_without_memory_a_pull_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folder, real, made = Folder(tmp_path), buffers.block, []

    def block(size: int) -> mmap.mmap:
        made.append(size)
        if len(made) > 3:
            raise error
        return real(size)

    with LyingServer(BODY) as server:
        with monkeypatch.context() as patch:
            patch.setattr(buffers, "block", block)
            with pytest.raises(Exhausted, match=r"Cannot allocate memory.*: give it more memory"):
                folder.pull(server.url, settings=SETTINGS)
        assert folder.names() == []
        folder.pull(server.url, settings=SETTINGS)
    assert (folder.out / "model.bin").read_bytes() == BODY


def test_without_files_to_open_a_pull_says_which_limit_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = Folder(tmp_path), os.open

    def no_more(path: object, *args: object, **more: object) -> int:
        if str(path).endswith(".part"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *args, **more)  # type: ignore[arg-type]

    with LyingServer(BODY) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", no_more)
            with pytest.raises(Exhausted, match=r"ulimit -n"):
                folder.pull(server.url, settings=SETTINGS)
        folder.pull(server.url, settings=SETTINGS)
    assert (folder.out / "model.bin").read_bytes() == BODY
