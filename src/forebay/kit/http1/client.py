"""The client's side: reads requests, keeps their order, writes answers."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from forebay.kit.http1 import head
from forebay.kit.http1.exchange import Exchange
from forebay.kit.http1.messages import Headers, Reply, Request

if TYPE_CHECKING:
    from forebay.kit.http1.server import ProxyServer


LINGER_S = 2.0
_ids = map(f"{secrets.token_hex(4)}%08x".__mod__, itertools.count())  # a random name is a system call each


class ClientConnection(asyncio.Protocol):
    """One connection of a client. Requests are answered one after the other, in order (RFC 9112, 9.3)."""

    __slots__ = (
        "_closing", "_current", "_head_bytes", "_headers", "_in_head", "_incoming", "_lingering",
        "_parser", "_paused", "_proxy", "_queue", "_refused", "_restart", "_url", "keep_alive", "peer",
        "since", "transport",
    )  # fmt: skip

    def __init__(self, proxy: ProxyServer) -> None:
        self._proxy = proxy
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._incoming: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._headers: Headers = []
        self._url = b""
        self._head_bytes = 0
        self._in_head = False
        self._paused = False
        self._closing = self._lingering = False
        self._refused: tuple[int, str] | None = None
        self._restart: bytes | None = None
        self.keep_alive = True
        self.peer = ""
        self.since = time.perf_counter()

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._proxy.admit(self):
            self._refuse(503, "too many connections")

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._after_upgrade(data[pause.args[0] :])
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError as error:
            self._refused = self._refused or (400, f"not a valid HTTP/1.1 request: {error}")
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._proxy.limits.head_max:
                self._refused = self._refused or (431, "the request's head is too large")
        if self._refused is not None:
            self._refuse(*self._refused)
        elif self._queue:
            self.pause_reading()

    def eof_received(self) -> bool:
        return False  # a client that closes its side has gone: the work for it is cancelled

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._proxy.forget(self)
        current, self._current = self._current, None
        self._queue.clear()
        if current is not None:
            current.client_gone()

    def pause_writing(self) -> None:
        if self._current is not None:
            self._current.pause_backend()

    def resume_writing(self) -> None:
        if self._current is not None:
            self._current.resume_backend()

    # the parser's side

    def on_message_begin(self) -> None:
        self._headers = []
        self._url = b""
        self._head_bytes = 0
        self._in_head = True
        self.since = time.perf_counter()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer: read, and not passed on
            self._head_bytes += len(name) + len(value) + 4
            if self._head_bytes > self._proxy.limits.head_max:
                self._refused = (431, "the request's trailers are too large")
            return
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._refused is not None:  # an earlier one: what follows it is not understood, either
            return
        version = self._parser.get_http_version()
        request = Request(
            method=self._parser.get_method(), target=self._url, headers=self._headers,
            minor=0 if version == "1.0" else 1, peer=self.peer,
        )  # fmt: skip
        refusal = self._judge(request, version)
        if refusal is not None:
            self._refused = self._refused or refusal
            return
        if not request.id:
            request.id = next(_ids).encode()
        exchange = Exchange(self, request, self._proxy)
        exchange.keep_alive = self._parser.should_keep_alive()
        self._incoming = exchange
        if self._current is None and not self._queue:
            self._current = exchange
            self.keep_alive = exchange.keep_alive
            exchange.begin()
        else:
            self._queue.append(exchange)
            if len(self._queue) > self._proxy.limits.pipelined_max:
                self._refused = (400, "too many requests sent ahead of their answers")

    def _judge(self, request: Request, version: str) -> tuple[int, str] | None:
        limits = self._proxy.limits
        count = len(self._headers)
        size = len(self._url) + sum(map(len, itertools.chain.from_iterable(self._headers))) + 4 * count
        if size > limits.head_max or count > limits.headers_max:
            return 431, "the request's head is too large"
        if version not in ("1.0", "1.1"):
            return 505, "HTTP/1.1 is spoken here"
        refusal = head.read_request(request)
        if refusal is None and request.minor == 0 and request.chunked:
            return 400, "HTTP/1.0 has no chunked bodies"
        if refusal is None and self._parser.should_upgrade():
            return self._judge_upgrade(request)
        return refusal

    def _judge_upgrade(self, request: Request) -> tuple[int, str] | None:
        if request.method == b"CONNECT" or not request.upgrade.startswith(b"h2c"):
            return 501, "upgrades and tunnels are not supported; use plain HTTP/1.1"
        # HTTP/2 is an offer that may be ignored (RFC 9110, 7.8). The parser stops after this head, body or
        # not; a new one reads the same message again without the offer.
        lines = [request.method + b" " + self._url + b" HTTP/1.1"]
        for name, value in self._headers:
            if name.lower() not in (b"upgrade", b"connection", b"http2-settings"):
                lines.append(name + b": " + value)
        self._restart = b"\r\n".join(lines) + b"\r\n\r\n"
        return 0, ""

    def on_body(self, piece: bytes) -> None:
        if self._incoming is not None:
            self._incoming.body(piece)

    def on_message_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.body_end()

    def _after_upgrade(self, rest: bytes) -> None:
        restart, self._restart = self._restart, None
        if restart is None:
            return
        self._refused = None
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(restart + rest)

    # the exchange's side

    def write(self, data: bytes) -> None:
        if not self._closing:
            self.transport.write(data)

    def answered(self, exchange: Exchange) -> None:
        """The current request's answer is written; go on with the next."""
        if exchange is not self._current:
            return
        self._current = None
        self.since = time.perf_counter()
        if not self.keep_alive or (self._proxy.stopping and not self._queue):
            if exchange.whole_request:
                self.close()
            else:
                self._linger()
            return
        if self._queue:
            following = self._queue.popleft()
            self._current = following
            self.keep_alive = following.keep_alive
            self._proxy.loop.call_soon(self._begin, following)  # not from within: a thousand would nest
        elif self._refused is not None:
            self._refuse(*self._refused)
        else:
            self.resume_reading()

    def _begin(self, exchange: Exchange) -> None:
        if self._current is exchange and not self._closing:
            if self._refused is not None and exchange is self._incoming:
                self._refuse(*self._refused)  # its body will never be whole
                return
            exchange.begin()
            if not self._queue:
                self.resume_reading()

    def _linger(self) -> None:
        """Read on for a moment: closing under a client that still sends would take the answer away from
        it.
        """
        self._lingering = self._closing = True
        self.since = time.perf_counter()
        self.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def cut(self) -> None:
        """Break off: what the client has of an answer is not whole, and it must see that."""
        self._closing = True
        self.transport.abort()

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and (not self._closing or self._lingering) and not self._queue:
            self._paused = False
            self.transport.resume_reading()

    # the proxy's side

    @property
    def busy(self) -> bool:
        return self._current is not None

    def check(self, now: float) -> None:
        """Called about once a second: is an idle connection, or a head that does not end, due?"""
        limits = self._proxy.limits
        if self._lingering:
            if now - self.since > LINGER_S:
                self.close()
        elif self._in_head and now - self.since > limits.timeout_head_s:
            self._refuse(408, "the request's head did not arrive in time")
        elif self._current is None and not self._in_head and now - self.since > limits.timeout_idle_client_s:
            self.close()

    def close(self) -> None:
        """Close after what is written has left."""
        self._closing = True
        self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """The connection's stream of requests cannot be understood any further."""
        current = self._current
        if current is not None and current is not self._incoming:
            self._refused = (status, message)  # said when the requests before it are answered
            self.pause_reading()
            return
        if current is not None and not current.t_first:
            current.keep_alive = self.keep_alive = False
            current.fail(status, message)
            return
        if current is not None:  # its answer is half written, so nothing may follow it
            self._current = None
            current.client_gone()
            self.cut()
            return
        reply: Reply = self._proxy.site.error(None, status, message)
        self.write(head.reply_bytes(reply, request_id=b"", close=True, bodyless=False))
        self.close()
