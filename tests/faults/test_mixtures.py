"""Bytes of two versions never make one file: servers that tell no versions apart, that change their minds
about ranges, and connections that bring old bytes late."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

import pytest
from tests.faults.lying_server import Lie, LyingServer, Seen, until
from tests.faults.pulling import KIB, Folder, answering, quick, some_bytes

from forebay.errors import Clash, Damaged, Unavailable
from forebay.sources.file import FileSource
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile

SIZE = 700 * KIB + 123
BODY = some_bytes(SIZE)


def published(folder: Folder) -> bytes:
    return (folder.out / "model.bin").read_bytes()


@pytest.mark.parametrize("size", [SIZE, None], ids=["listed", "unknown"])
@pytest.mark.parametrize("chunked", ["", "good"], ids=["length", "chunked"])
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 7])
def test_what_changes_and_tells_no_versions_comes_from_one_answer(
    folder: Folder, after: int, connections: int, chunked: str, size: int | None
) -> None:
    """Neither digest nor ETag nor date, and each of the first answers breaks off: what is published is one of
    the two versions, whole."""
    lie = Lie(change_after=after, bare=True, chunked=chunked, reset_at=tuple(range(90_000, SIZE, 90_000))[:5])
    with LyingServer(BODY, lie, promise=False) as server:
        file = RemoteFile("model.bin", size, locator=server.url)
        settings = quick(connections_start=connections, connections_max=connections, attempts_max=9)
        report = folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}), settings=settings)
    assert published(folder) in (BODY, server.changed)
    assert report.bytes_resumed == 0


def test_what_tells_no_versions_is_asked_for_without_ranges(folder: Folder) -> None:
    with LyingServer(BODY, Lie(bare=True), promise=False) as server:
        report = folder.pull(server.url)
    assert published(folder) == BODY
    # Other connections may have sent a request of theirs before they heard of it.
    assert None in [seen.headers.get("range") for seen in server.gets] and len(server.gets) <= 8
    assert any("one stream" in note for note in report.notes)


def test_a_date_of_this_very_second_tells_no_versions(folder: Folder) -> None:
    """It may be written again within it."""
    lie = Lie(bare=True, change_after=3)
    with LyingServer(BODY, lie, promise=False) as server:
        server.about = {
            "Date": "Sat, 21 Nov 2026 10:00:00 GMT",
            "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT",
        }
        folder.pull(server.url, settings=quick(connections_start=1, connections_max=1))
    assert published(folder) in (BODY, server.changed)


def test_a_second_pull_of_what_tells_no_versions_begins_again(folder: Folder) -> None:
    with LyingServer(BODY, Lie(bare=True, stall_at=300 * KIB), promise=False) as server:
        with pytest.raises(Unavailable, match="began anew each time"):
            folder.pull(server.url, settings=quick(attempts_max=2, timeout_stall_s=0.3))
        server.lie, server.body = Lie(bare=True), server.changed
        report = folder.pull(server.url)
    assert published(folder) == server.body and report.bytes_resumed == 0


def test_who_always_breaks_off_and_tells_no_versions_is_given_up(folder: Folder) -> None:
    lie = Lie(bare=True, stall_at=600 * KIB)
    with (
        LyingServer(BODY, lie, promise=False) as server,
        pytest.raises(Unavailable, match="3 times in a row"),
    ):
        folder.pull(server.url, settings=quick(attempts_max=3, timeout_stall_s=0.3))
    assert len(server.gets) <= 6


class Forgetful(LyingServer):
    """Knows ranges until three pieces have come before the first one, and then only whole files with one byte
    flipped in what came early."""

    def _body(self, peer: socket.socket, seen: Seen, lying: bool) -> bool:
        if self.gets[0] is seen:
            until(lambda: len(self.gets) > 4)
            self.lie = Lie(ignore_range="200", flip_at=100 * KIB)
            return False
        return super()._body(peer, seen, lying)


def test_a_stream_after_ranges_is_checked_where_it_writes_over_them(folder: Folder) -> None:
    """What was hashed when it came early must be what is on disk in the end."""
    with Forgetful(BODY) as server:
        file = RemoteFile("model.bin", SIZE, sha256=server.digest, locator=server.url)
        with pytest.raises(Damaged):
            folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}))
    assert folder.names() == []


class Late(LyingServer):
    """Its first answer, of the old version, ends only after almost all of the new version has gone out."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, Lie(change_after=1), promise=False)
        self.new_sent, self.old_sent = threading.Event(), threading.Event()
        self.of_new = 0

    def _send(self, peer: socket.socket, seen: Seen, piece: bytes, start: int) -> bool:
        if self.seen.index(seen) == min(i for i, s in enumerate(self.seen) if s.method == "GET"):
            peer.sendall(piece[:-1])
            self.new_sent.wait(5)
            peer.sendall(piece[-1:])
            self.old_sent.set()
            return True
        if self.of_new + len(piece) >= len(self.body) - 64 * KIB:
            self.new_sent.set()
            self.old_sent.wait(5)
            self.stopping.wait(0.3)
        self.of_new += len(piece)
        return super()._send(peer, seen, piece, start)


def test_old_bytes_that_come_late_are_not_written_over_new_ones(folder: Folder) -> None:
    """The file started over while a connection still held a block of the version before."""
    with Late(BODY) as server:
        file = RemoteFile("model.bin", SIZE, locator=server.url)
        settings = quick(connections_start=2, connections_max=2, timeout_stall_s=9.0, block_bytes=64 * KIB)
        report = folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}), settings=settings)
        assert server.old_sent.is_set()
    assert any("started over" in note for note in report.notes)
    assert published(folder) == server.changed


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_file_of_this_machine_that_changes_midway_is_not_published(tmp_path: Path, how: str) -> None:
    folder, model = Folder(tmp_path / "pull"), tmp_path / "model.bin"
    model.write_bytes(BODY)
    source = FileSource({})
    listing = source.resolve(model.as_uri())

    class Writing(FileSource):
        asked = 0

        def request(self, listing: Listing, file: RemoteFile):  # type: ignore[no-untyped-def]
            if how == "in place":
                model.write_bytes(bytes(SIZE))
            else:
                (tmp_path / "new").write_bytes(bytes(SIZE))
                (tmp_path / "new").replace(model)
            return super().request(listing, file)

    with pytest.raises(Clash, match="changed since it was listed"):
        folder.fetch(listing, Writing({}), settings=quick(connections_start=1, connections_max=1))
    assert folder.names() == []


def test_who_waits_for_bytes_of_a_version_that_is_gone_holds_nobody_up(tmp_path: Path) -> None:
    """The file was there, and the pull went on waiting for a connection that had stalled over the old one."""
    old, new = some_bytes(256 * KIB), some_bytes(256 * KIB, seed=2)
    folder, asked, stalled = Folder(tmp_path), list[int](), threading.Event()

    def talk(peer: socket.socket, _: bool) -> None:
        while data := peer.recv(1 << 16):
            start, end = (int(n) for n in re.search(rb"bytes=(\d+)-(\d+)", data).groups())  # type: ignore[union-attr]
            asked.append(start)
            body, tag = (old, "old") if len(asked) <= 2 else (new, "new")
            said = f"bytes {start}-{end}/{len(body)}\r\nETag: {tag}\r\nContent-Length: {end - start + 1}"
            peer.sendall(f"HTTP/1.1 206 OK\r\nContent-Range: {said}\r\n\r\n".encode())
            if start and not stalled.is_set():
                stalled.set()
            else:
                stalled.wait(10)
                peer.sendall(body[start : end + 1])

    patient = quick(timeout_stall_s=1000.0, connections_start=2, connections_max=2)
    with answering(talk) as url:
        listing = Listing(url, "r", (RemoteFile("model.bin", len(new), locator=url),))
        folder.fetch(listing, HttpSource({}), settings=patient)
    assert published(folder) == new
