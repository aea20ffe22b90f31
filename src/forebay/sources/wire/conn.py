"""One HTTP/1.1 connection over a raw socket: whole blocks go straight from the kernel to the caller.

http.client copies each body through Python bytes; `recv_into(..., MSG_WAITALL)` does not, and releases the
interpreter for the whole block. Waits are ticks: progress is seen, and a stall is told from a slow line.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from forebay.errors import Invalid
from forebay.sources.wire.dial import dial, set_up
from forebay.sources.wire.heads import HEAD_MAX, BadAnswer, Head, Where, WireError, parse_head, request_head
from forebay.sources.wire.proxy import Proxy

_TICK_S = 0.5
_INTERIM_MAX = 32  # heads before an answer's own
_BUFFER, _ROOMY = 64 * 1024, 256 * 1024  # for heads; for many small answers in one go


class Dropped(WireError):
    """The connection ended before the answer did; `got` bytes of the caller's buffer are filled."""

    def __init__(self, message: str, got: int = 0) -> None:
        super().__init__(message)
        self.got = got


class Stalled(Dropped):
    """Nothing, or next to nothing, came for too long."""


class Unreachable(WireError):
    """No connection could be made."""


class Untrusted(Unreachable):
    """The peer's certificate is not believed; asking again soon changes nothing."""


_REMEDIES = {  # by the number of OpenSSL's complaint
    9: "it is not valid yet; is this machine's clock right?",
    10: "who runs the server must renew it; or is this machine's clock wrong?",
    62: "is the address right?",  # the name
    64: "is the address right?",  # the number
}
_REMEDY = "if it is meant, add its authority to the CA bundle (SSL_CERT_FILE, or REQUESTS_CA_BUNDLE's)"


@dataclass(frozen=True)
class Trust:
    """Whom to believe over TLS, and who we say we are. `ca_file` is added to the system's own roots."""

    ca_file: str = ""
    client_cert: str = ""
    verify: bool = True


@dataclass(frozen=True)
class Deadlines:
    """Seconds to connect, seconds without progress, bytes per second that count as progress."""

    connect_s: float
    stall_s: float
    least_bytes_s: int = 0


@lru_cache(maxsize=16)
def tls_context(trust: Trust) -> ssl.SSLContext:
    """A TLS context for `trust`. Raises Invalid when a file cannot be read."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        if trust.ca_file:
            context.load_verify_locations(trust.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"{trust.ca_file} cannot be used as a CA bundle ({error}); it must be in PEM"
        ) from error
    try:
        if trust.client_cert:
            context.load_cert_chain(trust.client_cert, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Invalid(
            f"{trust.client_cert} cannot be used as a client certificate ({error}): FOREBAY_CLIENT_CERT must "
            "be a PEM file with the certificate and its key, which needs no password"
        ) from error
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal, which would wait for ever."""
    return ""


class Conn:
    """A connection to one origin. Not safe for two threads, except for `abort`."""

    def __init__(self, at: Where, *, deadlines: Deadlines, trust: Trust, proxy: Proxy | None = None) -> None:
        self.origin = at.origin
        self._deadlines = deadlines
        self._forwards = proxy if at.scheme == "http" else None  # it reads each request, not just CONNECT
        self._bytes = bytearray(_BUFFER)
        self._buffer = memoryview(self._bytes)
        self._lo = self._hi = 0
        self._left: int | None = 0  # bytes of the body still to come; None: until the end of the connection
        self._chunked = False
        self._keep = True
        self._unanswered = 0
        self._window = (time.monotonic(), 0)
        self._sock = _connect(at, deadlines, proxy)
        try:
            if proxy is not None and at.scheme == "https":
                self._tunnel(at, proxy)
            if at.scheme == "https":
                self._secure(at, trust)
        except BaseException:
            self.close()
            raise

    def _tunnel(self, at: Where, proxy: Proxy) -> None:
        host = f"[{at.host}]" if ":" in at.host else at.host
        lines = [f"CONNECT {host}:{at.port} HTTP/1.1", f"Host: {host}:{at.port}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        try:
            self.send_raw(("\r\n".join(lines) + "\r\n\r\n").encode(), 0)
            head = parse_head(self._head_bytes())
        except Dropped as error:
            raise Unreachable(f"the proxy {proxy.host}:{proxy.port} made no tunnel: {error}") from error
        proxy.check(head, at.host, tunnel=True)
        self._lo = self._hi = 0

    def _secure(self, at: Where, trust: Trust) -> None:
        try:
            self._sock.settimeout(self._deadlines.connect_s)
            self._sock = tls_context(trust).wrap_socket(
                self._sock, server_hostname=at.host, suppress_ragged_eofs=False
            )
            self._sock.settimeout(_TICK_S)
        except ssl.SSLCertVerificationError as error:
            remedy = _REMEDIES.get(error.verify_code, _REMEDY)
            raise Untrusted(
                f"the certificate of {at.host} is not trusted ({error.verify_message.rstrip('.')}): {remedy}"
            ) from error
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"no TLS connection to {at.host}:{at.port}: {error}") from error

    def make_room(self) -> None:
        """Before many small answers: more of them in one system call. Only between answers that are read."""
        if len(self._bytes) < _ROOMY and self._lo == self._hi:
            self._bytes = bytearray(_ROOMY)
            self._buffer = memoryview(self._bytes)
            self._lo = self._hi = 0

    def send(self, method: str, at: Where, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request; several may be sent before the first answer is read. Raises Dropped."""
        self.send_raw(self.head_of(method, at, headers) + body)

    def head_of(self, method: str, at: Where, headers: Mapping[str, str]) -> bytes:
        """The bytes of a request's head for this connection, which may be one to a proxy."""
        if self._forwards is None:
            return request_head(method, at, headers)
        return request_head(method, at, {**headers, **self._forwards.headers}, absolute=True)

    def send_raw(self, data: bytes, requests: int = 1) -> None:
        """Send as many heads as `requests` says, made by `head_of`. Raises Dropped."""
        self._unanswered += requests
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise Dropped(f"sending failed: {error}") from error
        self._window = (time.monotonic(), 0)

    def answer(self, *, method: str = "GET") -> Head:
        """Read the next answer's head, skipping interim ones. Raises Dropped, Stalled, BadAnswer."""
        for _ in range(_INTERIM_MAX):
            head = parse_head(self._head_bytes())
            if head.status >= 200 or head.status == 101:
                break
        else:
            raise BadAnswer(f"{_INTERIM_MAX} interim answers and no other")
        self._keep = False
        if self._forwards is not None:
            self._forwards.check(head, self.origin[1], tunnel=False)
        self._keep = head.keeps_open
        coding = head.get("transfer-encoding").lower()
        self._chunked = coding == "chunked"
        if coding and not self._chunked:
            raise BadAnswer(f"transfer-encoding {coding[:40]!r} is not spoken here")
        if method == "HEAD" or head.status in (204, 304):
            self._left, self._chunked = 0, False
        elif self._chunked:
            self._left = self._chunk_size()
        else:
            self._left = head.content_length
            self._keep = self._keep and self._left is not None
        self._unanswered -= 1
        return head

    @property
    def via(self) -> str:
        """The proxy that hands on requests and may answer itself, in words; "" without one."""
        return f" through {self._forwards}" if self._forwards is not None else ""

    @property
    def between(self) -> bool:
        """Whether the last answer is read to its end and another one may follow."""
        return self._keep and self._left == 0

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: what comes next is the answer to it and to nothing before."""
        return self.between and not self._unanswered

    def read_into(self, view: memoryview, moved: Callable[[int], None]) -> int:
        """Fill `view` from the body; fewer bytes only at the body's end. `moved` hears of each arrival.

        Raises Dropped or Stalled, whose `got` says how much of `view` is filled, and BadAnswer.
        """
        got = 0
        while got < len(view) and self._left != 0:
            most = len(view) - got if self._left is None else min(len(view) - got, self._left)
            try:
                count = self._records(view[got : got + most]) or self._some(view[got : got + most])
            except Dropped as error:
                error.got = got
                raise
            if not count:
                if self._left is None:
                    self._left = 0
                    break
                raise Dropped("the connection ended early", got)
            moved(count)
            got += count
            if self._left is not None:
                self._left -= count
            if self._chunked and self._left == 0:
                self._left = self._next_chunk(got)
        return got

    def _records(self, view: memoryview) -> int:
        """As much of `view` as comes without trouble, perhaps nothing: TLS hands out 16 KiB at a time, and a
        plain loop around it is what its speed needs. Whatever is unusual is left to the careful way."""
        if self._lo < self._hi or not isinstance(self._sock, ssl.SSLSocket):
            return 0
        want, got, read, now = len(view), 0, self._sock.read, time.monotonic
        until = now() + _TICK_S
        with contextlib.suppress(OSError):
            while got < want and now() < until and (count := int(read(want - got, view[got:want]))):
                got += count
        if got:
            self._watch_speed(got)
        return got

    def skip(self, most: int) -> bytes:
        """Read the rest of the body, at most `most` bytes; more makes the connection useless."""
        view = memoryview(bytearray(most))
        got = self.read_into(view, lambda _: None)
        if self._left != 0:
            self._keep = False
        return bytes(view[:got])

    def _next_chunk(self, got: int) -> int:
        try:
            if self._line(2) != b"":
                raise BadAnswer("a chunk does not end where it said")
            return self._chunk_size()
        except WireError as error:
            self._keep = False  # nobody knows where the next answer begins
            if isinstance(error, Dropped):
                error.got = got
            raise

    def _chunk_size(self) -> int:
        text = self._line(1024).split(b";", 1)[0].strip()
        if not text or len(text) > 15 or any(c not in b"0123456789abcdefABCDEF" for c in text):
            raise BadAnswer(f"bad chunk size {text[:20]!r}")
        size, most = int(text, 16), HEAD_MAX
        while size == 0 and (line := self._line(HEAD_MAX)):
            most -= len(line)
            if b":" not in line or most < 0:
                raise BadAnswer(f"bad trailer {line[:40]!r}")
        return size

    def _line(self, most: int) -> bytes:
        while (end := self._bytes.find(b"\n", self._lo, self._hi)) < 0:
            if self._hi - self._lo > most:
                raise BadAnswer("a line that should be short is not")
            self._fill()
        line = bytes(self._buffer[self._lo : end])
        self._lo = end + 1
        return line.removesuffix(b"\r")

    def _head_bytes(self) -> bytes:
        while True:
            end, skip = self._bytes.find(b"\r\n\r\n", self._lo, self._hi), 4
            bare = self._bytes.find(b"\n\n", self._lo, self._hi if end < 0 else end)
            if bare >= 0:
                end, skip = bare, 2
            if end >= 0:
                head = bytes(self._buffer[self._lo : end])
                self._lo = end + skip
                return head.lstrip(b"\r\n")
            self._fill()

    def _fill(self) -> None:
        """Receive more behind what is in the own buffer."""
        have = self._hi - self._lo
        if have >= HEAD_MAX:
            raise BadAnswer("a head of more than 64 KiB")
        self._buffer[:have] = self._buffer[self._lo : self._hi]
        self._lo, self._hi = 0, have
        count = self._receive(self._buffer[have:], 0)
        if not count:
            raise Dropped("the connection ended early")
        self._hi += count

    def _some(self, view: memoryview) -> int:
        """At least one byte into `view`, 0 at the end of the connection."""
        have = self._hi - self._lo
        if have:
            count = min(have, len(view))
            view[:count] = self._buffer[self._lo : self._lo + count]
            self._lo += count
            return count
        return self._receive(view, socket.MSG_WAITALL)

    def _receive(self, view: memoryview, flags: int) -> int:
        while True:
            try:
                if isinstance(self._sock, ssl.SSLSocket):
                    count = self._sock.recv_into(view)
                else:
                    count = self._sock.recv_into(view, len(view), flags)
            except (BlockingIOError, TimeoutError, InterruptedError, ssl.SSLWantReadError):
                self._watch_speed(0)
                continue
            except ssl.SSLEOFError as error:
                if self._left is None:  # RFC 9112, 9.8
                    raise Dropped("it ended without TLS's goodbye: the body may be cut") from error
                return 0
            except OSError as error:
                hint = ": set FOREBAY_CLIENT_CERT" if "CERTIFICATE_REQUIRED" in str(error) else ""
                raise Dropped(f"receiving failed: {error}{hint}") from error
            self._watch_speed(count)
            return count

    def _watch_speed(self, count: int) -> None:
        """Raise Stalled when less than the least speed came over a whole stall time."""
        since, total = self._window
        total += count
        seconds = time.monotonic() - since
        if seconds < self._deadlines.stall_s:
            self._window = (since, total)
        elif total < max(1.0, self._deadlines.least_bytes_s * seconds):
            raise Stalled(f"only {total} bytes came in {seconds:.0f} s")
        else:
            self._window = (time.monotonic(), 0)

    def rest(self) -> None:
        """Say that the caller, not the peer, was slow: the stall clock starts anew."""
        self._window = (time.monotonic(), 0)

    def stale(self) -> bool:
        """Whether the peer has closed (or written into) an idle connection."""
        with contextlib.suppress(OSError, ValueError):
            return bool(select.select([self._sock], [], [], 0)[0])
        return True

    def abort(self) -> None:
        """End it from another thread: a waiting read returns at once."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        with contextlib.suppress(OSError):
            self._sock.close()


def _connect(at: Where, deadlines: Deadlines, proxy: Proxy | None) -> socket.socket:
    host, port = (proxy.host, proxy.port) if proxy is not None else (at.host, at.port)
    try:
        sock = dial(host, port, deadlines.connect_s)
    except OSError as error:
        shown, through = f"[{host}]" if ":" in host else host, " (proxy)" if proxy is not None else ""
        raise Unreachable(f"cannot connect to {shown}:{port}{through}: {error}") from error
    set_up(sock, tick_s=_TICK_S, send_s=deadlines.stall_s)
    return sock
