"""One backend: its idle connections, and the protocol that reads its responses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from forebay.kit.http1 import head
from forebay.kit.http1.messages import Headers

if TYPE_CHECKING:
    from forebay.kit.http1.exchange import Exchange

_READ = head.HOP | {b"content-length", b"x-request-id"}
Address = tuple[str, int] | str  # host and port, or the path of a unix socket


class Backend:
    """An address with a pool of kept connections."""

    __slots__ = ("address", "aside_until", "idle", "in_flight", "retired")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.idle: deque[BackendConnection] = deque()
        self.in_flight = 0
        self.aside_until = 0.0
        self.retired = False

    def take(self) -> BackendConnection | None:
        """The most recently used idle connection, if one is alive."""
        while self.idle:
            connection = self.idle.pop()
            if connection.alive:
                return connection
        return None

    def give(self, connection: BackendConnection, *, idle_max: int) -> None:
        """Keep a connection for the next request, or close it when nobody will want it."""
        if self.retired or len(self.idle) >= idle_max or not connection.alive:
            connection.close()
            return
        connection.idle_since = time.perf_counter()
        self.idle.append(connection)

    def retire(self) -> None:
        """The backend left: no new requests, idle connections closed, those in use finish."""
        self.retired = True
        while self.idle:
            self.idle.pop().close()

    def close_idle_since(self, moment: float) -> None:
        """Close connections that have been idle since before `moment`."""
        while self.idle and self.idle[0].idle_since < moment:
            self.idle.popleft().close()

    async def connect(self, timeout_s: float) -> BackendConnection:
        """Open a connection. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            if isinstance(self.address, str):
                _, protocol = await loop.create_unix_connection(lambda: BackendConnection(self), self.address)
            else:
                host, port = self.address
                _, protocol = await loop.create_connection(lambda: BackendConnection(self), host, port)
        return protocol


class BackendConnection(asyncio.Protocol):
    """Reads responses, one at a time, and hands their parts to the exchange that owns the connection."""

    __slots__ = (
        "_nominated", "_parser", "_paused", "alive", "backend", "chunked", "ended", "exchange", "fresh",
        "headers", "idle_since", "keep", "length", "reason", "transport",
    )  # fmt: skip

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.exchange: Exchange | None = None
        self.alive = False
        self.fresh = True  # no response has been read from it yet
        self.idle_since = 0.0
        self.keep = False
        self._paused = False
        self._parser = httptools.HttpResponseParser(self)
        self.ended = False
        self._reset()

    def _reset(self) -> None:
        self.headers: Headers = []  # those that are passed on
        self.reason = b""
        self.length = -1
        self.chunked = False
        self._nominated = frozenset[bytes]()

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.alive = True

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # a response nobody asked for: the two sides disagree about framing
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.exchange is exchange:
                self.alive = False
                exchange.backend_broke(f"the backend's response is not HTTP: {error}")
            self.abort()
            return
        if self.exchange is exchange:
            exchange.flush(ended=self.ended)
            # Only now: what follows a whole response in the same read must not reach the next one.
            if self.ended:
                exchange.response_end(reusable=self.keep)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.alive = False
        exchange = self.exchange
        if exchange is None:
            return
        if exchange.t_first and not self.chunked and self.length < 0 and error is None:
            exchange.flush(ended=True)  # such a body ends with the connection (RFC 9112, 6.3)
            exchange.response_end(reusable=False)
        else:
            exchange.backend_broke("the backend closed the connection" if error is None else str(error))

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_client()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_client()

    # the parser's side

    def on_message_begin(self) -> None:
        if self.ended:  # a second response to one request
            self.keep = False
            return
        self._reset()

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower not in _READ:
            self.headers.append((name, value))
        elif lower == b"content-length":
            self.length = int(value)
            self.headers.append((name, value))
        elif lower == b"transfer-encoding":
            self.chunked = True
        elif lower == b"connection":
            self._nominated |= head.nominated_by(value)

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        status = self._parser.get_status_code()
        if exchange is None or self.ended or status < 200:
            if exchange is not None and status == 101:
                exchange.backend_broke("the backend switched protocols, which nobody asked for")
                self.abort()
            return
        self.fresh = False
        if self._nominated:
            self.headers = head.without(self._nominated, self.headers)
        exchange.response_head(status, self)
        if exchange.request.method == b"HEAD":  # the parser would wait for a body that never comes
            self.ended, self.keep = True, False

    def on_body(self, piece: bytes) -> None:
        if self.exchange is not None and not self.ended:
            self.exchange.response_body(piece)

    def on_message_complete(self) -> None:
        if self.exchange is not None and not self.ended and self._parser.get_status_code() >= 200:
            self.ended, self.keep = True, self._parser.should_keep_alive()

    # the exchange's side

    def begin(self, exchange: Exchange) -> None:
        """Responses belong to `exchange` from here on."""
        self.exchange = exchange
        self.ended = False

    def pause_reading(self) -> None:
        if not self._paused and self.alive:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self.alive:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        self.alive = False
        self.exchange = None
        self.transport.close()

    def abort(self) -> None:
        self.alive = False
        self.exchange = None
        self.transport.abort()
