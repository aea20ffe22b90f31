"""One connection, byte by byte: what may follow on it, and what ends it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.faults.test_pull_local_faults import authority

from forebay.sources.wire.conn import Conn, Deadlines, Dropped, Trust
from forebay.sources.wire.heads import BadAnswer, WireError, where
from forebay.sources.wire.proxy import Proxy

__all__ = ["authority"]  # a fixture

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def told(said: bytes, *, more: bytes = b"", times: int = 200, stall_s: float = 5.0) -> Iterator[Conn]:
    """A connection that has been asked once, to a server that says these bytes and then nothing more, or
    `more` so many times."""
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def talk() -> None:
        with suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                for piece in (said, *[more] * times):
                    peer.sendall(piece)
                over.wait(10)

    threading.Thread(target=talk, daemon=True).start()
    at = where(f"http://127.0.0.1:{listener.getsockname()[1]}/x")
    conn = Conn(at, deadlines=Deadlines(5, stall_s), trust=Trust())
    try:
        conn.send("GET", at, {})
        yield conn
    finally:
        conn.close()
        over.set()
        listener.close()


def test_after_a_whole_answer_another_request_may_follow() -> None:
    with told(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n") as conn:
        assert not conn.reusable  # the answer is still to come
        conn.answer()
        assert conn.skip(10) == b"abc" and conn.reusable


@pytest.mark.parametrize(
    "rest",
    [b"3\r\nabcXX\r\n", b"3\r\nabc\r\nzz\r\n", b"3\r\nabc\r\n0\r\nno trailer\r\n\r\n", b"3\r\nabc"],
    ids=["longer", "no-size", "no-trailer", "cut"],
)
def test_a_body_that_breaks_off_is_the_last_of_its_connection(rest: bytes) -> None:
    """It was kept, and what followed was taken for the next answer."""
    with told(CHUNKED + rest, stall_s=0.1) as conn:
        conn.answer()
        with pytest.raises(WireError):
            conn.skip(10)
        assert not conn.reusable


def test_a_head_that_makes_no_sense_is_the_last_of_its_connection() -> None:
    with told(OK + b"Content-Length: 0\r\n\r\nHTTP/9 nonsense\r\n\r\n") as conn:
        conn.answer()
        conn.send("GET", where("http://h/"), {})
        with pytest.raises(BadAnswer):
            conn.answer()
        assert not conn.reusable


@pytest.mark.parametrize(
    "endless",
    [b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 1000],
    ids=["continue", "hints"],
)
def test_who_only_announces_an_answer_has_none(endless: bytes) -> None:
    """He was listened to for ever: bytes came, so nothing stalled."""
    with told(b"", more=endless) as conn, pytest.raises(BadAnswer, match="interim"):
        conn.answer()


def test_trailers_without_end_are_no_end() -> None:
    with told(CHUNKED + b"3\r\nabc\r\n0\r\n", more=b"X-More: and more\r\n" * 4096) as conn:
        conn.answer()
        with pytest.raises(BadAnswer, match="trailer"):
            conn.skip(10)


def test_a_head_with_bare_line_ends_ends_at_its_own() -> None:
    """Not where the body has an empty line by chance."""
    body = b"a\r\n\r\nb"
    with told((OK + b"Content-Length: 6\r\n\r\n").replace(b"\r", b"") + body) as conn:
        assert conn.answer().content_length == len(body) and conn.skip(10) == body


def test_a_proxy_that_hangs_up_is_an_error_of_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no bug of ours, which a ConnectionResetError was taken for."""
    ours, theirs = socket.socketpair()
    theirs.close()
    monkeypatch.setattr("forebay.sources.wire.conn._connect", lambda *_: ours)
    with pytest.raises(WireError, match="proxy p:3128"):
        Conn(where("https://h/"), deadlines=Deadlines(1, 1), trust=Trust(), proxy=Proxy("p", 3128))
    assert ours.fileno() == -1


@pytest.mark.parametrize("length", ["Content-Length: 6\r\n", ""], ids=["announced", "to-the-end"])
@pytest.mark.parametrize("goodbye", [True, False])
def test_over_tls_only_a_goodbye_ends_a_body_without_length(
    authority: Path, length: str, goodbye: bool
) -> None:
    """Else anyone on the way, or a server that dies, decides how long the file is (RFC 9112, 9.8)."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority)
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        with suppress(OSError), server.wrap_socket(listener.accept()[0], server_side=True) as peer:
            peer.recv(1000)
            peer.sendall(OK + length.encode() + b"\r\nabcdef")
            if goodbye:
                peer.unwrap()

    threading.Thread(target=talk, daemon=True).start()
    at = where(f"https://127.0.0.1:{listener.getsockname()[1]}/x")
    conn = Conn(at, deadlines=Deadlines(5, 5), trust=Trust(ca_file=str(authority)))
    conn.send("GET", at, {})
    conn.answer()
    body = memoryview(bytearray(100))
    if goodbye or length:
        assert conn.read_into(body, lambda _: None) == 6
    else:
        with pytest.raises(Dropped, match="cut"):
            conn.read_into(body, lambda _: None)
    conn.close()
    listener.close()
