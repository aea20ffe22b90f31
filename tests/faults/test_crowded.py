"""Origins that let few connections in: the pull goes on with as many as they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.lying_server import Lie, LyingServer
from tests.faults.pulling import Folder, quick, some_bytes

from forebay.errors import Unavailable

BODY = some_bytes(3 << 20)
TWO = quick(connections_start=2, connections_max=2, segment_bytes=1 << 22)
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
MANY = BUSY.replace(b"503 Busy", b"429 Too Many")


@pytest.mark.parametrize("answer", [BUSY, MANY, b""], ids=["503", "429", "closed"])
def test_what_is_not_let_in_waits_while_others_are_served(tmp_path: Path, answer: bytes) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(at_once=1, crowded=answer)) as server:
        folder.pull(server.url, settings=TWO)
    assert (folder.out / "model.bin").read_bytes() == BODY
    assert server.refused  # else nothing was shown
    assert server.sent == len(BODY)


@pytest.mark.parametrize("answer", [BUSY, b""], ids=["503", "closed"])
def test_who_lets_nobody_in_ends_the_pull(tmp_path: Path, answer: bytes) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(at_once=1, crowded=answer)) as server:
        server._places.acquire()
        with pytest.raises(Unavailable, match=f"failed {TWO.attempts_max} times in a row"):
            folder.pull(server.url, settings=TWO)
    assert folder.names() == []


def test_who_is_idle_keeps_no_place_at_a_server_of_one_thread(tmp_path: Path) -> None:
    """It serves a connection to its end, and the others wait until then, for ever if nobody closes his."""
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(alone=True)) as server:
        report = folder.pull(server.url, settings=quick(timeout_stall_s=5.0, segment_bytes=1 << 22))
    assert (folder.out / "model.bin").read_bytes() == BODY
    assert server.sent == len(BODY) and not report.retries


def test_a_source_that_is_gone_has_time_to_come_back(tmp_path: Path) -> None:
    folder, gone = Folder(tmp_path), [(502, {})] * 3 * TWO.attempts_max
    with LyingServer(BODY, Lie(statuses=gone)) as server:
        folder.pull(server.url, settings=replace(TWO, patience_s=20.0, backoff_most_s=0.02))
        assert len(server.gets) >= len(gone)
    assert (folder.out / "model.bin").read_bytes() == BODY
