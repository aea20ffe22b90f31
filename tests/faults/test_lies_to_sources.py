"""Every source is told every lie: nothing wrong is published, progress is kept, and the error says what to
do. What is owed for which lie stands in `lies.py`.

Lies whose outcome hangs on what a source promises of a file are told for every kind of promise; the others
for one file of each protocol, since nothing in a promise changes what is done about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.fronts import FRONTS, NAME, S3, SECRET, SOURCES, Front
from tests.faults.lies import LIES, SIZE, Owed
from tests.faults.lying_server import Lie, LyingServer
from tests.faults.pulling import KIB, Folder, quick, some_bytes
from tests.faults.test_pull_local_faults import authority, over_tls

from forebay.errors import ForebayError, Unavailable
from forebay.pull import Report
from forebay.sources.peer import PeerSource
from forebay.sources.table import source_for
from forebay.sources.types import Listing, Source

__all__ = ["authority"]  # a fixture
BODY = some_bytes(SIZE)
STEP = re.compile(r"pull again|check |set ", re.IGNORECASE)
ALL = [(lie, kind) for lie, told in LIES.items() for kind in (FRONTS if told.by_promise else SOURCES)]


@dataclass
class Met:
    """A source that has listed its file, and the server that will lie about it."""

    front: Front
    server: LyingServer
    source: Source
    listing: Listing
    folder: Folder

    def pull(self, *peers: Source) -> Report:
        """With little patience only where the server is silent on purpose: a busy machine is no stall."""
        silent = self.server.lie.stall_at >= 0 or self.server.lie.drip
        settings = quick(timeout_stall_s=10.0)
        if silent:  # in pieces that two attempts do not bring
            settings = quick(timeout_stall_s=0.3, attempts_max=2, segment_bytes=256 * KIB)
        return self.folder.fetch(self.listing, *peers, self.source, settings=settings)

    @property
    def published(self) -> bytes:
        assert self.folder.names() == [NAME]
        return (self.folder.out / NAME).read_bytes()


@pytest.fixture
def meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Met]]:
    """Meet a kind of source; with a certificate's file behind TLS."""
    with ExitStack() as stack:

        def met(kind: str, lie: Lie, *, tls: Path | None = None) -> Met:
            front = FRONTS[kind](BODY, tmp_path)
            server = stack.enter_context(LyingServer(BODY, lie, front=front))
            url = stack.enter_context(over_tls(server, tls, ask_client=False)) if tls else server.url
            front.base = url.removesuffix(f"/{NAME}")
            if isinstance(front, S3):
                for name, value in front.process_env().items():
                    monkeypatch.setenv(name, value.replace(front.base, server.url.removesuffix(f"/{NAME}")))
            source = source_for(front.uri(), {**front.env(), **({"SSL_CERT_FILE": str(tls)} if tls else {})})
            return Met(front, server, source, source.resolve(front.uri()), Folder(tmp_path))

        yield met


@pytest.mark.parametrize(("lie", "kind"), ALL)
def test_a_source_that_is_lied_to_owes_what_its_promises_allow(
    meet: Callable[..., Met], lie: str, kind: str
) -> None:
    told = LIES[lie]
    met, owed = meet(kind, told.lie()), told.owed(FRONTS[kind])
    if owed.error is None:
        met.pull()
        assert (met.published == BODY) is owed.right
        (done,) = met.folder.published
        assert done.observed is not bool(met.front.digest)
        assert list(met.folder.parts.iterdir()) == []
        return
    with pytest.raises(ForebayError) as caught:
        met.pull()
    assert type(caught.value) is owed.error, caught.value
    assert met.folder.names() == []
    fit_for_a_person(caught.value.message, met.front)
    goes_on(met, kept=told.keeps)


def fit_for_a_person(message: str, front: Front) -> None:
    """It names file and source, says what to do, tells no secret."""
    assert NAME in message and f"from {front.source}" in message, message
    assert STEP.search(message), f"no next step: {message}"
    assert SECRET not in message.lower() and "signature=" not in message.lower()
    assert "\n" not in message and len(message) < 400


def goes_on(met: Met, *, kept: bool) -> None:
    """The next pull, from a server that has come to its senses, moves only what is not there yet."""
    met.server.lie, met.server.expired = Lie(), set()
    report = met.pull()
    assert met.published == BODY
    assert report.bytes_network == SIZE - report.bytes_resumed and report.notes == []
    assert report.bytes_resumed > 0 or not kept


@pytest.mark.parametrize("kind", SOURCES)
def test_resets_at_every_tenth_cost_next_to_no_bytes(meet: Callable[..., Met], kind: str) -> None:
    met = meet(kind, LIES["resets-at-every-tenth"].lie())
    met.pull()
    assert met.published == BODY
    assert met.server.sent <= SIZE * 1.06  # three connections, each with a block of its own under way


@pytest.mark.parametrize("kind", SOURCES)
def test_no_credentials_follow_a_redirect_to_another_host(meet: Callable[..., Met], kind: str) -> None:
    with LyingServer(BODY, promise=False) as other:
        met = meet(kind, Lie(redirect=other.url.replace("127.0.0.1", "localhost")))
        other.etag = met.front.version
        met.pull()
    assert met.published == BODY
    assert other.gets and all(SECRET in s.login.lower() for s in met.server.gets)
    assert not any(SECRET in str(s).lower() for s in other.seen)


@pytest.mark.parametrize("kind", SOURCES)
def test_no_source_follows_a_redirect_to_plain_http(
    meet: Callable[..., Met], kind: str, authority: Path
) -> None:
    with LyingServer(BODY, promise=False) as other:
        met = meet(kind, Lie(redirect=other.url), tls=authority)
        with pytest.raises(Unavailable, match="https to http") as caught:
            met.pull()
        assert other.seen == []
    fit_for_a_person(caught.value.message, met.front)
    goes_on(met, kept=False)


@pytest.mark.parametrize("kind", [k for k, f in FRONTS.items() if f.digest in ("sha256", "git sha1", "md5")])
def test_a_peers_etag_is_not_taken_for_the_sources(meet: Callable[..., Met], kind: str) -> None:
    met = meet(kind, Lie())
    with LyingServer(BODY, promise=False) as server:
        server.etag = server.digest
        peer = PeerSource(server.url.removesuffix(f"/{NAME}"), {NAME: server.digest})
        report = met.pull(peer)
    assert met.published == BODY and report.bytes_by_origin == {peer.name: SIZE}


def test_what_is_owed_is_never_wrong_bytes_under_a_promise() -> None:
    """The table itself: who promises a digest is never given other bytes."""
    for told in LIES.values():
        for front in FRONTS.values():
            owed = told.owed(front)
            assert owed.right or (not front.digest and owed == Owed(right=False))
