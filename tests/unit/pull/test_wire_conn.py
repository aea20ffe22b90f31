"""One connection, byte by byte: what may follow on it, and what ends it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from forebay.sources.wire.conn import Conn, Deadlines, Trust
from forebay.sources.wire.heads import BadAnswer, WireError, where

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def told(*pieces: bytes, stall_s: float = 5.0) -> Iterator[Conn]:
    """A connection that has been asked once, to a server that says these bytes and then nothing."""
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def talk() -> None:
        with suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                for piece in pieces:
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
