"""Many small files, pipelined: whatever answer is odd, its file goes the long way and the others go on."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.faults.lying_server import Lie, LyingServer
from tests.faults.pulling import KIB, Folder, Renewing, answering, quick, some_bytes

from forebay.errors import Clash, Damaged, Denied, ForebayError
from forebay.pull import Hooks, Plan, Report, fetch
from forebay.pull.limits import Limits
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile, Source

COUNT = 12
BODY = some_bytes(5 * KIB + 7)
SETTINGS = quick(small_bytes=16 * KIB, block_bytes=64 * KIB)


def pull(
    folder: Folder, server: LyingServer, source: Source | None = None, *, promised: bool = True, **hooks: Any
) -> Report:
    digest = server.digest if promised else ""
    files = [
        RemoteFile(f"{n}.txt", len(BODY), sha256=digest, locator=f"{server.url}/{n}") for n in range(COUNT)
    ]
    listing = Listing(server.url, "r", tuple(files))
    return folder.fetch(listing, source or HttpSource({}), settings=SETTINGS, **hooks)


def whole(folder: Folder) -> bool:
    return len(folder.names()) == COUNT and all((folder.out / n).read_bytes() == BODY for n in folder.names())


@pytest.mark.parametrize("refused", [1, 7, COUNT])
def test_passes_that_expired_are_renewed(tmp_path: Path, refused: int) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(statuses=[(401, {})] * refused)) as server:
        source = Renewing(server.url)
        pull(folder, server, source)
    assert whole(folder)
    assert source.renewals <= COUNT + 2 * refused


def test_who_lets_nobody_in_is_told_of_as_denied(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(statuses=[(401, {})] * 1000)) as server, pytest.raises(Denied):
        pull(folder, server)
    assert folder.names() == []


@pytest.mark.parametrize(
    ("lie", "more"),
    [
        (Lie(statuses=[(401, {})]), 1), (Lie(statuses=[(403, {})]), 1),
        (Lie(statuses=[(503, {"Retry-After": "0"})]), 1), (Lie(statuses=[(429, {}), (500, {})]), 2),
        (Lie(redirect="/elsewhere", times=3), 3), (Lie(flip_at=9, times=1), 1), (Lie(close_each=True), 0),
        (Lie(chunked="good"), 0), (Lie(no_length=True), 0), (Lie(reset_at=(100, 4000)), 2),
    ],
    ids=["401", "403", "503", "429-500", "redirect", "flip", "closes", "chunked", "no-length", "reset"],
)  # fmt: skip
def test_an_odd_answer_among_many_costs_its_own_file_a_second_request(
    tmp_path: Path, lie: Lie, more: int
) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, lie) as server:
        pull(folder, server)
        assert len(server.gets) <= COUNT + more
    assert whole(folder)


@pytest.mark.parametrize("promised", [True, False], ids=["promised", "observed"])
@pytest.mark.parametrize(
    "lie",
    [Lie(gzip=True), Lie(chunked="cut"), Lie(chunked="bad-trailer"), Lie(length_delta=3),
     Lie(length_delta=-3)],
    ids=["gzip", "cut", "bad-trailer", "long", "short"],
)  # fmt: skip
def test_what_is_not_the_file_is_not_published(tmp_path: Path, lie: Lie, promised: bool) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, replace(lie)) as server, pytest.raises(ForebayError):
        pull(folder, server, promised=promised)
    assert all((folder.out / n).read_bytes() == BODY for n in folder.names())


def test_a_small_file_that_changed_since_it_was_listed_is_a_clash(tmp_path: Path) -> None:
    """Nobody promised a digest (Azure's blobs may have none): only the ETag says that it is another file."""
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server:
        files = [RemoteFile(f"{n}.txt", len(BODY), etag="other" if n == 5 else server.etag,
                            locator=f"{server.url}/{n}") for n in range(COUNT)]  # fmt: skip
        with pytest.raises(Clash, match=r"5\.txt .* was changed since it was listed"):
            folder.fetch(Listing(server.url, "r", tuple(files)), HttpSource({}), settings=SETTINGS)
    assert "5.txt" not in folder.names()


def test_answers_that_come_too_late_are_nobodys(tmp_path: Path) -> None:
    """The connection was kept for the next request, which then got the answer to an earlier one: another file
    of the same size, and nothing was promised of either."""
    bodies = {f"/{n}": some_bytes(4 * KIB, seed=n) for n in range(COUNT)}
    folder, asked = Folder(tmp_path), list[str]()

    def late(peer: socket.socket, first: bool) -> None:
        """The first answer at once; the others when one more request has come, on the first connection."""
        todo: list[str] = []
        while data := peer.recv(1 << 16):
            todo += [line.split()[1] for line in data.decode().splitlines() if line.startswith("GET ")]
            asked.extend(todo)
            holds, first = first, False
            for path in todo[:1] if holds else todo:
                peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {4 * KIB}\r\nETag: x\r\n\r\n".encode())
                peer.sendall(bodies[path])
            todo = todo[1:] if holds else []

    def have(file: RemoteFile) -> bool:
        return file.path == "1" and len(asked) >= COUNT  # somebody else has brought it meanwhile

    with answering(late) as url:
        files = tuple(RemoteFile(path[1:], 4 * KIB, locator=url + path) for path in bodies)
        plan = Plan(Listing(url, "r", files), (HttpSource({}),), folder.parts, folder.damaged, folder.publish)
        one = quick(small_bytes=16 * KIB, block_bytes=64 * KIB, connections_start=1, connections_max=1)
        fetch(plan, settings=one, hooks=Hooks(have=have), env={})
    assert len(folder.names()) == COUNT - 1
    assert all((folder.out / name).read_bytes() == bodies[f"/{name}"] for name in folder.names())


def test_bytes_that_do_not_match_are_kept_aside(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(flip_at=100)) as server, pytest.raises(Damaged, match="sha256 is"):
        pull(folder, server)
    assert folder.names() == []
    assert any(p.read_bytes() != BODY for p in folder.damaged.iterdir())


@pytest.mark.parametrize(
    "limits", [Limits(100_000), Limits(per_origin={"http": 100_000})], ids=["all", "one"]
)
def test_a_limit_is_kept_among_small_files_too(tmp_path: Path, limits: Limits) -> None:
    """They come over one connection, one behind the other; the limit of the pull, or of the origin, counts
    them all the same."""
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server:
        report = pull(folder, server, limits=limits)
    assert whole(folder)
    assert report.wall_s > 0.75 * COUNT * len(BODY) / 100_000 and report.wall["limit"] > 0.3


@pytest.mark.parametrize("small", [0, 16 * KIB], ids=["one-by-one", "pipelined"])
def test_files_of_one_content_are_each_there(tmp_path: Path, small: int) -> None:
    """As a tokenizer that a repository holds twice."""
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server:
        files = [
            RemoteFile(p, len(BODY), sha256=server.digest, locator=server.url) for p in ("a", "b/a", "c")
        ]
        settings = quick(small_bytes=small)
        folder.fetch(Listing(server.url, "r", tuple(files)), HttpSource({}), settings=settings)
    assert folder.names() == ["a", "b/a", "c"]
    assert {(folder.out / n).read_bytes() for n in folder.names()} == {BODY}
