"""What a pull does about servers that lie, beyond what `test_lies_to_sources.py` asks of every source:
several senders, expiry, evidence, and what it costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import quote

import pytest
from tests.faults.lying_server import Lie, LyingServer, until
from tests.faults.pulling import KIB, Folder, Renewing, quick, some_bytes

from forebay.errors import Damaged, Denied, Invalid, Unavailable
from forebay.pull.limits import Limits, Slots
from forebay.pull.tuner import Tuner
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile, Request

SIZE = 700 * KIB + 123
BODY = some_bytes(SIZE)


def holds(folder: Folder) -> bool:
    return folder.names() == ["model.bin"] and (folder.out / "model.bin").read_bytes() == BODY


def test_bytes_that_failed_the_check_are_kept_aside(folder: Folder) -> None:
    with LyingServer(BODY, Lie(flip_at=100)) as server, pytest.raises(Damaged, match="sha256 is"):
        folder.pull(server.url)
    (evidence,) = folder.damaged.iterdir()
    assert evidence.read_bytes() != BODY and len(evidence.read_bytes()) == SIZE


def test_evidence_of_a_long_name_is_kept_aside(folder: Folder) -> None:
    """As many bytes as a name may have, in letters of three bytes: more would be in front of them."""
    name = "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 83 + ".b"
    with LyingServer(BODY, Lie(flip_at=100)) as server, pytest.raises(Damaged, match="sha256 is"):
        folder.pull(server.url.replace("model.bin", quote(name)))
    (evidence,) = folder.damaged.iterdir()
    assert evidence.name.endswith(".b") and len(evidence.read_bytes()) == SIZE


def test_a_body_without_any_length_is_taken_as_it_comes(folder: Folder) -> None:
    with LyingServer(BODY, Lie(no_length=True)) as server:
        file = RemoteFile("model.bin", None, sha256=server.digest, locator=server.url)
        folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}))
    assert holds(folder)


@pytest.mark.parametrize("dated", [False, True])
def test_a_file_that_changes_between_ranges_starts_over_and_is_the_new_one(
    folder: Folder, dated: bool
) -> None:
    """Nobody promised a digest; mixing old and new bytes would go unseen but for the ETag, or for the date
    where there is none."""
    with LyingServer(BODY, Lie(change_after=4, dated=dated), promise=False) as server:
        file = RemoteFile("model.bin", SIZE, locator=server.url)
        report = folder.fetch(
            Listing(server.url, "r", (file,)), HttpSource({}), settings=quick(connections_max=1)
        )
    assert (folder.out / "model.bin").read_bytes() == bytes(b ^ 1 for b in BODY)
    assert any("started over" in note for note in report.notes)


@pytest.mark.parametrize("status", [401, 403])
def test_who_lets_nobody_in_is_asked_once(folder: Folder, status: int) -> None:
    """A refusal is an expired pass only where one was accepted before; a wrong password is wrong."""
    with LyingServer(BODY, Lie(statuses=[(status, {})] * 99)) as server:
        with pytest.raises(Denied, match=f"refused \\({status}\\): check the credentials"):
            folder.pull(server.url, settings=quick(connections_start=1, connections_max=1))
        assert len(server.gets) == 1


def test_credentials_do_follow_a_redirect_on_the_same_host(folder: Folder) -> None:
    with LyingServer(BODY, Lie(redirect="/elsewhere", times=1)) as server:
        source = HttpSource({"127.0.0.1-headers": "Authorization: Bearer sesame"})
        folder.fetch(source.resolve(server.url), source)
    assert {s.headers.get("authorization") for s in server.gets} == {"Bearer sesame"}
    assert holds(folder)


def test_an_address_that_expires_midway_is_asked_for_again(folder: Folder) -> None:
    with LyingServer(BODY, Lie(expire_after=2)) as server:
        file = RemoteFile("model.bin", SIZE, sha256=server.digest)
        source = Renewing(server.url)
        folder.fetch(Listing("x", "r", (file,)), source, settings=quick(connections_max=1))
        assert source.renewals == 2
    assert holds(folder)


def test_a_drop_at_every_tenth_costs_next_to_no_bytes(folder: Folder) -> None:
    with LyingServer(BODY, Lie(reset_at=tuple(SIZE * n // 10 for n in range(1, 10)))) as server:
        folder.pull(server.url, settings=quick(connections_max=1, segment_bytes=1 << 20))
        assert server.sent <= SIZE * 1.02
    assert holds(folder)


@pytest.mark.parametrize("status", [429, 503])
def test_who_says_that_it_is_too_much_is_asked_by_fewer(
    folder: Folder, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, slow_down = [], Tuner.slow_down
    monkeypatch.setattr(Tuner, "slow_down", lambda *of: targets.append(slow_down(*of)) or targets[-1])
    busy = Lie(statuses=[(status, {"Retry-After": "0"})] * 2)
    with LyingServer(BODY, busy) as server:
        folder.pull(server.url, limits=Limits(2_000_000))
    assert targets and min(targets) < 3
    assert holds(folder)


def test_drops_far_within_a_block_end_with_the_file(folder: Folder) -> None:
    """A proxy that cuts each connection short: every one brings a little, and none of it comes twice."""
    body = some_bytes(2_000_000)
    settings = quick(block_bytes=4 << 20, buffers_bytes_max=16 << 20, connections_start=1, connections_max=1)
    with LyingServer(body, Lie(reset_at=tuple(range(100_000, 2_000_000, 100_000)))) as server:
        report = folder.pull(server.url, settings=settings)
        assert server.sent == len(body)
    assert (folder.out / "model.bin").read_bytes() == body and report.retries == 19


def test_a_peer_that_sends_bad_bytes_is_named_and_avoided(folder: Folder) -> None:
    with LyingServer(BODY, Lie(flip_at=SIZE // 3)) as peer, LyingServer(BODY) as origin:
        near, far = Naming("peer-7", peer), Naming("origin", origin)
        file = RemoteFile("model.bin", SIZE, sha256=origin.digest)
        report = folder.fetch(Listing("x", "r", (file,)), near, far)
    assert holds(folder)
    assert any("peer-7 is avoided" in note for note in report.notes)
    assert report.bytes_by_origin["origin"] == SIZE


def test_a_peer_that_dies_midway_is_left_within_the_file(folder: Folder) -> None:
    with LyingServer(BODY) as origin:
        with LyingServer(BODY, Lie(stall_at=30 * KIB)) as peer:
            file = RemoteFile("model.bin", SIZE, sha256=origin.digest)
            report = folder.fetch(Listing("x", "r", (file,)), Naming("peer", peer), Naming("origin", origin))
        assert origin.sent < SIZE
    assert holds(folder)
    assert 0 < report.bytes_by_origin["peer"] < SIZE


def test_of_several_senders_only_the_one_whose_bytes_differ_is_named(folder: Folder) -> None:
    """The first peer is honest and dies midway, the second one lies; the source settles it."""
    with (
        LyingServer(BODY, Lie(stall_at=30 * KIB)) as honest,
        LyingServer(BODY, Lie(flip_at=SIZE - 10)) as liar,
        LyingServer(BODY) as source,
    ):
        file = RemoteFile("model.bin", SIZE, sha256=source.digest)
        origins = Naming("honest", honest), Naming("liar", liar), Naming("source", source)
        report = folder.fetch(Listing("x", "r", (file,)), *origins)
    assert holds(folder)
    (named,) = (note for note in report.notes if "what it sent" in note)
    assert named.startswith("liar is avoided") and "model.bin" in named
    assert report.bytes_by_origin["honest"] > 0 and report.bytes_by_origin["source"] >= SIZE


def test_who_lied_about_one_file_is_asked_last_for_the_next(folder: Folder) -> None:
    with LyingServer(BODY, Lie(flip_at=7)) as liar, LyingServer(BODY) as source:
        files = tuple(RemoteFile(name, SIZE, sha256=source.digest) for name in ("a.bin", "b.bin"))
        origins = Naming("liar", liar), Naming("source", source)
        one = quick(connections_start=1, connections_max=1)
        report = folder.fetch(Listing("x", "r", files[:1]), *origins, settings=one)
        assert report.bytes_by_origin["liar"] == SIZE
        both = Folder(folder.root / "both")
        report = both.fetch(Listing("x", "r", files), *origins, settings=one)
    assert both.names() == ["a.bin", "b.bin"]
    assert report.bytes_by_origin["liar"] < 2 * SIZE


class Counted(Slots):
    """Remembers how many were taken at once."""

    seen = 0

    def take(self, origin: str, over: Callable[[], bool]) -> bool:
        taken = super().take(origin, over)
        self.seen = max(self.seen, self._taken.get(origin, 0))
        return taken


def test_an_origin_gets_no_more_connections_than_it_may_have(folder: Folder) -> None:
    limits = Limits()
    limits.slots = slots = Counted(2)
    with LyingServer(BODY) as server:
        files = tuple(RemoteFile(f"{n}.bin", SIZE, sha256=server.digest, etag=str(n)) for n in range(4))
        settings = quick(connections_start=4, connections_max=4)
        listing = Listing("x", "r", files)
        report = folder.fetch(listing, Naming("one", server), settings=settings, limits=limits)
        assert len(folder.names()) == 4 and report.bytes_by_origin["one"] == 4 * SIZE
        until(lambda: not server._open)
    assert slots.seen == 2


class Naming:
    """A server under a name."""

    scheme = "https"

    def __init__(self, name: str, server: LyingServer) -> None:
        self.name, self._server = name, server

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        raise Invalid("not asked for here")

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        return Request(self._server.url)


def test_a_stop_keeps_what_came_and_the_next_pull_goes_on(folder: Folder) -> None:
    with LyingServer(BODY, Lie(stall_at=40 * KIB)) as server:
        stop = threading.Event()

        def stopper() -> None:
            until(lambda: server.sent >= 3 * 40 * KIB)
            stop.set()

        threading.Thread(target=stopper, daemon=True).start()
        with pytest.raises(Unavailable, match="pull again"):
            folder.pull(server.url, settings=quick(timeout_stall_s=30), stop=stop)
        assert folder.names() == []
        first, server.lie = server.sent, Lie()
        report = folder.pull(server.url)
        assert report.bytes_resumed > 0
        assert server.sent - first == SIZE - report.bytes_resumed
    assert holds(folder)
