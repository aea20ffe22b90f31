"""Whatever a server does, nothing wrong is published, progress is kept, and the error says what to do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.lying_server import Lie, LyingServer, until
from tests.faults.pulling import KIB, Folder, quick, some_bytes

from forebay.errors import Clash, Damaged, Denied, ForebayError, Invalid, Unavailable
from forebay.pull.limits import Limits, Slots
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile, Request

SIZE = 700 * KIB + 123
BODY = some_bytes(SIZE)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def holds(folder: Folder) -> bool:
    return folder.names() == ["model.bin"] and (folder.out / "model.bin").read_bytes() == BODY


BEARABLE = {
    "honest": Lie(),
    "ignores-range": Lie(ignore_range="200"),
    "trap-200-with-content-range": Lie(ignore_range="trap"),
    "another-range-than-asked": Lie(wrong_start=True),
    "another-range-once": Lie(wrong_start=True, times=1),
    "resets-at-every-tenth": Lie(reset_at=tuple(SIZE * n // 10 for n in range(1, 10))),
    "closes-after-each-answer": Lie(close_each=True),
    "busy-429-with-time": Lie(statuses=[(429, {"Retry-After": "0"})] * 2),
    "busy-429-without-time": Lie(statuses=[(429, {})] * 2),
    "busy-503-with-time": Lie(statuses=[(503, {"Retry-After": "0"})] * 3),
    "error-500": Lie(statuses=[(500, {})] * 2),
    "stalls-once": Lie(stall_at=50 * KIB, times=1),
    "flips-a-byte-never-asked-for": Lie(flip_at=5, times=0),
    "changes-between-ranges-then-rests": Lie(statuses=[]),
}


@pytest.mark.parametrize("promise", [True, False], ids=["promised", "observed"])
@pytest.mark.parametrize("name", BEARABLE)
def test_a_bearable_lie_costs_time_but_no_byte_is_wrong(folder: Folder, name: str, promise: bool) -> None:
    lie = Lie(**{**BEARABLE[name].__dict__, "statuses": list(BEARABLE[name].statuses)})
    with LyingServer(BODY, lie, promise=promise) as server:
        folder.pull(server.url)
    assert holds(folder)
    assert folder.published[0].sha256 == hashlib.sha256(BODY).hexdigest()
    assert folder.published[0].observed is not promise
    assert list(folder.parts.iterdir()) == []


FATAL: dict[str, tuple[Lie, type[ForebayError]]] = {
    "flipped-byte": (Lie(flip_at=SIZE // 2), Damaged),
    "always-429": (Lie(statuses=[(429, {})] * 100), Unavailable),
    "always-403": (Lie(statuses=[(403, {})] * 100), Denied),
    "redirect-loop": (Lie(redirect="loop"), Unavailable),
    "stalls-always": (Lie(stall_at=0), Unavailable),
    "drips": (Lie(drip=True), Unavailable),
    "gzip": (Lie(gzip=True), Damaged),
    "chunk-sizes-that-are-none": (Lie(chunked="bad-size"), Unavailable),
    "no-http": (Lie(bad_head=b"SSH-2.0-OpenSSH\r\n\r\n"), Unavailable),
    "endless-head": (Lie(bad_head=b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000), Unavailable),
    "changes-all-the-time": (Lie(change_after=1), Clash),
}


@pytest.mark.parametrize("name", FATAL)
def test_a_fatal_lie_publishes_nothing_and_has_the_right_error(folder: Folder, name: str) -> None:
    lie, error = FATAL[name]
    with LyingServer(BODY, lie) as server, pytest.raises(ForebayError) as caught:
        folder.pull(server.url, settings=quick(attempts_max=2))
    assert folder.names() == []
    assert isinstance(caught.value, (error, Damaged) if name == "changes-all-the-time" else error), (
        caught.value
    )
    assert "model.bin" in caught.value.message


def test_bytes_that_failed_the_check_are_kept_aside(folder: Folder) -> None:
    with LyingServer(BODY, Lie(flip_at=100)) as server, pytest.raises(Damaged, match="sha256 is"):
        folder.pull(server.url)
    (evidence,) = folder.damaged.iterdir()
    assert evidence.read_bytes() != BODY and len(evidence.read_bytes()) == SIZE


@pytest.mark.parametrize("delta", [-1, 1, 4096])
def test_a_size_other_than_listed_is_never_published(folder: Folder, delta: int) -> None:
    with LyingServer(BODY, Lie(length_delta=delta)) as server:
        source = HttpSource({})
        listing = source.resolve(server.url)
        file = RemoteFile("model.bin", SIZE, sha256=server.digest, locator=server.url)
        lying = Listing(listing.uri, listing.revision, (file,))
        with pytest.raises(ForebayError) as caught:
            folder.fetch(lying, source, settings=quick(attempts_max=2))
    assert folder.names() == []
    assert isinstance(caught.value, (Damaged, Unavailable))


@pytest.mark.parametrize("kind", ["good", "bad-trailer", "cut"])
def test_chunked_bodies_are_taken_only_when_they_end_as_they_should(folder: Folder, kind: str) -> None:
    with LyingServer(BODY, Lie(chunked=kind)) as server:
        if kind == "good":
            folder.pull(server.url)
            assert holds(folder)
        else:
            with pytest.raises(ForebayError):
                folder.pull(server.url, settings=quick(segment_bytes=1 << 20, attempts_max=2))
            assert folder.names() == []


def test_a_body_without_any_length_is_taken_as_it_comes(folder: Folder) -> None:
    with LyingServer(BODY, Lie(no_length=True)) as server:
        file = RemoteFile("model.bin", None, sha256=server.digest, locator=server.url)
        folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}))
    assert holds(folder)


def test_a_file_that_changes_between_ranges_starts_over_and_is_the_new_one(folder: Folder) -> None:
    """Nobody promised a digest; mixing old and new bytes would go unseen but for the ETag."""
    with LyingServer(BODY, Lie(change_after=4), promise=False) as server:
        file = RemoteFile("model.bin", SIZE, locator=server.url)
        report = folder.fetch(
            Listing(server.url, "r", (file,)), HttpSource({}), settings=quick(connections_max=1)
        )
    assert (folder.out / "model.bin").read_bytes() == bytes(b ^ 1 for b in BODY)
    assert any("started over" in note for note in report.notes)


def test_credentials_do_not_follow_a_redirect_to_another_host(folder: Folder) -> None:
    with LyingServer(BODY) as other:
        to = other.url.replace("127.0.0.1", "localhost")
        with LyingServer(BODY, Lie(redirect=to)) as server:
            source = HttpSource({"127.0.0.1-headers": "Authorization: Bearer sesame\nX-Api-Key: k"})
            folder.fetch(source.resolve(server.url), source)
        assert all(s.headers["authorization"] == "Bearer sesame" for s in server.gets)
        assert other.gets and not any({"authorization", "x-api-key"} & set(s.headers) for s in other.gets)
    assert holds(folder)


def test_credentials_do_follow_a_redirect_on_the_same_host(folder: Folder) -> None:
    with LyingServer(BODY, Lie(redirect="/elsewhere", times=1)) as server:
        source = HttpSource({"127.0.0.1-headers": "Authorization: Bearer sesame"})
        folder.fetch(source.resolve(server.url), source)
    assert {s.headers.get("authorization") for s in server.gets} == {"Bearer sesame"}
    assert holds(folder)


class Renewing:
    """A source whose addresses expire; each `request` gives a fresh one."""

    scheme, name = "https", "renewing"

    def __init__(self, server: LyingServer) -> None:
        self.server = server

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        raise Invalid("not asked for here")

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        self.server.renewals += 1
        return Request(f"{self.server.url}?renewed={self.server.renewals}")


def test_an_address_that_expires_midway_is_asked_for_again(folder: Folder) -> None:
    with LyingServer(BODY, Lie(expire_after=2)) as server:
        file = RemoteFile("model.bin", SIZE, sha256=server.digest)
        folder.fetch(Listing("x", "r", (file,)), Renewing(server), settings=quick(connections_max=1))
        assert server.renewals == 2
    assert holds(folder)


def test_a_drop_at_every_tenth_costs_next_to_no_bytes(folder: Folder) -> None:
    lie = BEARABLE["resets-at-every-tenth"]
    with LyingServer(BODY, Lie(reset_at=lie.reset_at)) as server:
        folder.pull(server.url, settings=quick(connections_max=1, segment_bytes=1 << 20))
        assert server.sent <= SIZE * 1.02
    assert holds(folder)


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


def test_a_redirect_from_https_to_http_is_refused() -> None:
    from forebay.sources.wire.heads import BadAnswer, follow, where

    with pytest.raises(BadAnswer, match="https to http"):
        follow(where("https://hub.example/a"), "http://hub.example/a")
