"""A loopback HTTP server that lies on demand: one file, one lie, and a log of what was asked and sent."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property

from tests.fakes.fronts import Answer, Front


@dataclass
class Lie:
    """What to do wrong. Offsets in bytes of the body as sent; `times` limits how often a lie is told."""

    ignore_range: str = ""  # "200": whole body; "trap": whole body and a Content-Range beside it
    length_delta: int = 0  # announced size minus real one
    flip_at: int = -1
    change_after: int = -1  # requests after which content and ETag are others
    change_hides: bool = False  # the ETag stays
    redirect: str = ""  # a Location, or "loop"
    stall_at: int = -1  # bytes of a body after which nothing comes any more
    drip: bool = False  # one byte a second
    reset_at: tuple[int, ...] = ()  # absolute offsets in the file at which the connection is reset, each once
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # told first, one per request
    expire_after: int = -1  # requests after which every pass (address and login) shown so far gets 401
    chunked: str = ""  # "good", "bad-size", "bad-trailer", "cut"
    gzip: bool = False
    wrong_start: bool = False  # a 206 for other bytes than asked
    times: int = 1_000_000
    bad_head: bytes = b""  # sent instead of any answer
    close_each: bool = False
    no_length: bool = False  # close-delimited
    resize: tuple[int, int] | None = None  # (after so many requests, bytes more or fewer at the end)
    resize_hides: bool = False  # the ETag stays
    ranges: str = ""  # a 206 that is "multipart", "bare" (no Content-Range), "more" (than asked), "no-total"
    dated: bool = False  # Last-Modified instead of an ETag
    bare: bool = False  # no ETag: nothing tells versions apart
    extra: int = 0  # bytes after the end of a chunked or close-delimited body
    at_once: int = 0  # GETs that are answered at once, slowly; others get `crowded`. 0: any number
    alone: bool = False  # one connection is served after the other, each to its end
    crowded: bytes = b""  # sent to those beyond, whose connection ends; with nothing it just ends


@dataclass
class Seen:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    sent: int = 0
    fronted: bool = False  # answered by the front, truthfully

    @property
    def login(self) -> str:
        return self.headers.get("authorization", "")


class LyingServer:
    """Serves `body` under any path, with `lie`, or what a `front` leaves to it. `seen` is the log, `sent` the
    bytes of bodies."""

    def __init__(
        self, body: bytes, lie: Lie | None = None, *, promise: bool = True, front: Front | None = None
    ) -> None:
        self.body, self.lie, self.front = body, lie or Lie(), front
        self.digest = hashlib.sha256(body).hexdigest()
        self.etag = front.version if front else self.digest[:16]
        self.about = {"X-Checksum-Sha256": self.digest} if promise and not front else {}
        self.seen: list[Seen] = []
        self.passes: set[tuple[str, str]] = set()
        self.expired: set[tuple[str, str]] = set()
        self._resets = set(self.lie.reset_at)
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self._open: set[socket.socket] = set()
        self.stopping = threading.Event()
        self._places = threading.Semaphore(self.lie.at_once or 1 << 30)
        self.refused = 0

    @cached_property
    def changed(self) -> bytes:
        """The other version."""
        return bytes(b ^ 1 for b in self.body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/model.bin"

    @property
    def gets(self) -> list[Seen]:
        return [s for s in self.seen if s.method == "GET" and not s.fronted]

    @property
    def sent(self) -> int:
        return sum(s.sent for s in self.seen)

    def __enter__(self) -> LyingServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for peer in list(self._open):
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(peer)
            if self.lie.alone:
                self._serve(peer)
            else:
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        stream = peer.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while (line := stream.readline()).strip():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while head := stream.readline().strip():
                    name, _, value = head.decode().partition(":")
                    headers[name.lower()] = value.strip()
                stream.read(int(headers.get("content-length", 0)))
                seen = Seen(method, target, headers)
                told = self.front.answer(method, target, seen.login) if self.front else None
                seen.fronted = told is not None
                with self._lock:
                    self.seen.append(seen)
                if told is not None:
                    peer.sendall(_told(told))
                elif not self._answer(peer, seen) or self.lie.close_each:
                    break
        self._open.discard(peer)
        stream.close()
        peer.close()

    def _answer(self, peer: socket.socket, seen: Seen) -> bool:
        """One answer; False closes the connection."""
        lie = self.lie
        if seen.method == "HEAD":
            peer.sendall(self._head(200, {"Content-Length": str(len(self.body) + lie.length_delta)}))
            return True
        if lie.bad_head:
            peer.sendall(lie.bad_head)
            return False
        if lie.at_once:
            return self._one_of_few(peer, seen)
        return self._another(peer, seen)

    def _one_of_few(self, peer: socket.socket, seen: Seen) -> bool:
        if not self._places.acquire(blocking=False):
            self.refused += 1
            peer.sendall(self.lie.crowded)
            return False
        try:
            return self._another(peer, seen)
        finally:
            self._places.release()

    def _another(self, peer: socket.socket, seen: Seen) -> bool:
        lie = self.lie
        with self._lock:
            lying = lie.times > 0
            lie.times -= 1
            if lie.statuses and lying:
                status, more = lie.statuses.pop(0)
                peer.sendall(self._head(status, {"Content-Length": "0", **more}))
                return True
            if lie.expire_after >= 0:
                lie.expire_after -= 1
                self.expired = set(self.passes) if lie.expire_after < 0 else self.expired
            self.passes.add((seen.target, seen.login))
        if (seen.target, seen.login) in self.expired:
            peer.sendall(self._head(401, {"Content-Length": "0"}))
            return True
        if lie.redirect and lying:
            to = seen.target + "x" if lie.redirect == "loop" else lie.redirect
            peer.sendall(self._head(302, {"Location": to, "Content-Length": "0"}))
            return True
        return self._body(peer, seen, lying)

    def _body(self, peer: socket.socket, seen: Seen, lying: bool) -> bool:
        lie, body, etag = self.lie, self.body, self.etag
        if lie.change_after >= 0 and len(self.gets) > lie.change_after:
            body, etag = self.changed, etag if lie.change_hides else "changed"
        if lie.resize and len(self.gets) > lie.resize[0]:
            body = (body + bytes(max(0, lie.resize[1])))[: len(body) + lie.resize[1]]
            etag = etag if lie.resize_hides else "resized"
        if lie.flip_at >= 0 and lying:
            body = body[: lie.flip_at] + bytes([body[lie.flip_at] ^ 1]) + body[lie.flip_at + 1 :]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
        start = int(match[1]) if match else 0
        if start >= len(body) and match:
            peer.sendall(self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(body)}"}))
            return True
        end = min(len(body), int(match[2]) + 1) if match and match[2] else len(body)
        status, headers = (206 if match else 200), {"ETag": f'"{etag}"'}
        if match:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body) + lie.length_delta}"
        if match and lie.ignore_range and lying:
            status, start, end = 200, 0, len(body)
            if lie.ignore_range == "200":
                del headers["Content-Range"]
        if lie.wrong_start and match and lying:
            headers["Content-Range"] = f"bytes {start + 1}-{end}/{len(body) + 1}"
        if match and lie.ranges and lying:
            start, end = self._odd_range(headers, start, end, len(body))
        piece = body[start:end] + bytes(lie.extra)
        if lie.gzip:
            headers["Content-Encoding"] = "gzip"
        if lie.chunked:
            return self._chunks(peer, seen, status, headers, piece)
        if not lie.no_length:
            headers["Content-Length"] = str(len(piece) + (lie.length_delta if status == 200 else 0))
        peer.sendall(self._head(status, headers))
        return self._send(peer, seen, piece, start) and not lie.no_length

    def _odd_range(self, headers: dict[str, str], start: int, end: int, size: int) -> tuple[int, int]:
        """Answers to a range that the RFC knows, or a careless server makes."""
        match self.lie.ranges:
            case "multipart":
                headers["Content-Type"] = "multipart/byteranges; boundary=x"
                del headers["Content-Range"]
            case "bare":
                del headers["Content-Range"]
            case "more":
                end = min(size, end + 100)
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            case "no-total":
                headers["Content-Range"] = f"bytes {start}-{end - 1}/*"
        return start, end

    def _send(self, peer: socket.socket, seen: Seen, piece: bytes, start: int) -> bool:
        lie = self.lie
        if lie.drip:
            while piece and not self.stopping.wait(1.0):
                peer.sendall(piece[:1])
                piece, seen.sent = piece[1:], seen.sent + 1
            return False
        if 0 <= lie.stall_at < len(piece) and lie.times >= 0:
            peer.sendall(piece[: lie.stall_at])
            seen.sent += lie.stall_at
            self.stopping.wait(60)
            return False
        with self._lock:
            cut = min((r for r in self._resets if start <= r < start + len(piece)), default=None)
            self._resets.discard(-1 if cut is None else cut)
        if cut is not None:
            peer.sendall(piece[: cut - start])
            seen.sent += cut - start
            peer.shutdown(socket.SHUT_WR)
            return False
        pace = 16 * 1024 if lie.at_once else len(piece) or 1
        for at in range(0, len(piece), pace):
            peer.sendall(piece[at : at + pace])
            self.stopping.wait(0.002 if lie.at_once else 0)
        seen.sent += len(piece)
        return True

    def _chunks(
        self, peer: socket.socket, seen: Seen, status: int, headers: dict[str, str], piece: bytes
    ) -> bool:
        peer.sendall(self._head(status, {**headers, "Transfer-Encoding": "chunked"}))
        for at in range(0, len(piece), 10_007):
            part = piece[at : at + 10_007]
            size = b"zz" if self.lie.chunked == "bad-size" and at else b"%x" % len(part)
            peer.sendall(size + b";name=value\r\n" + part + b"\r\n")
            seen.sent += len(part)
        if self.lie.chunked == "cut":
            return False
        peer.sendall(
            b"0\r\nnonsense\r\n\r\n" if self.lie.chunked == "bad-trailer" else b"0\r\nX-Sum: 1\r\n\r\n"
        )
        return True

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        more = {"ETag": f'"{self.etag}"'} if status == 200 else {}
        more |= {"Connection": "close"} if self.lie.close_each else {}
        told = {**self.about, **more, **headers}
        if self.lie.bare:
            told.pop("ETag", "")
        if self.lie.dated and (etag := told.pop("ETag", "")):
            told["Last-Modified"] = formatdate(zlib.crc32(etag.encode()), usegmt=True)
        return _lines(status, told)


def _lines(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Lie", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _told(answer: Answer) -> bytes:
    return (
        _lines(answer.status, {"Content-Length": str(len(answer.body)), **dict(answer.headers)}) + answer.body
    )


def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for the world to be so; fails when it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.01)
