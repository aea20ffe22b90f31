"""The way of one request to a backend: pick, perhaps wait, connect, send, and again while that is safe.

Only opening a connection is a task. Sending again is safe until the first byte of a response has been read,
and possible while the body is still held.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from forebay.kit.http1 import head
from forebay.kit.http1.backend import Address, Backend, BackendConnection
from forebay.kit.http1.messages import Forward

if TYPE_CHECKING:
    from forebay.kit.http1.exchange import Exchange
    from forebay.kit.http1.server import ProxyServer

SENDS_MAX = 3  # a request that has reached backends which then broke off without a byte
ASIDE_S = 1.0
RECONNECT_FIRST_S = 0.05
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class Passage:
    """Belongs to one exchange; owns its backend, its connection, and the body until that is beyond recall."""

    __slots__ = (
        "_body", "_body_bytes", "_exchange", "_growth", "_last_error", "_proxy", "_refusals",
        "_replayable", "_sends", "_task", "_timer", "_tried", "backend", "connection", "forward",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, proxy: ProxyServer, forward: Forward) -> None:
        self._exchange = exchange
        self._proxy = proxy
        self.forward = forward
        self.backend: Backend | None = None
        self.connection: BackendConnection | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._growth = 0
        self._replayable = True
        self._tried: set[Address] = set()
        self._sends = self._refusals = 0
        self._last_error = ""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def attempts(self) -> int:
        """How often the request was sent, or a connection for it was refused."""
        return self._sends + self._refusals

    def start(self, body: list[bytes], *, growth: int) -> None:
        """Set out with what has arrived of the body; `growth`: by how many bytes it was lengthened on the
        way.
        """
        self._body, self._growth = body, growth
        self._body_bytes = sum(map(len, body))
        self.forward.group.in_flight += 1
        self.try_again()

    # finding a backend

    def try_again(self) -> None:
        """Look for a backend now; the group calls this too, when it has changed."""
        self._stop_timer()
        group = self.forward.group
        backend = group.pick(self._tried)
        if backend is not None:
            self._go_to(backend)
        elif not self._tried:
            self._wait_for_backend(group.wait_s)
        elif self._sends:
            self._exchange.fail(502, f"no backend answered: {self._last_error}")
        else:
            self._tried.clear()
            self._reconnect_later(min(self._proxy.limits.reconnect_s, group.wait_s))

    def _go_to(self, backend: Backend) -> None:
        self._exchange.t_wait = time.perf_counter()
        self.backend = backend
        backend.in_flight += 1
        replay_max = self._proxy.limits.replay_max
        kept = None
        # Never for what cannot be sent twice: a kept connection may close at any time.
        if self._body_bytes <= replay_max and self._exchange.request.content_length <= replay_max:
            kept = backend.take()
        if kept is not None:
            self._send(kept)
        else:
            self._task = self._proxy.spawn(self._connect(backend))

    def _wait_for_backend(self, bound_s: float) -> None:
        group = self.forward.group
        left_s = self._left(bound_s)
        if left_s <= 0:
            self._give_up()
        elif len(group.waiting) >= group.waiting_max:
            message = f"{group.waiting_max} requests wait for this service already; try again later"
            self._exchange.fail(429, message)
        else:
            group.waiting[self] = None
            self._timer = self._proxy.loop.call_later(left_s, self._give_up)

    def _reconnect_later(self, bound_s: float) -> None:
        """All backends refuse connections: one of them may just be starting, or the table be a moment
        late.
        """
        left_s = self._left(bound_s)
        if left_s <= 0:
            self._give_up()
        else:
            pause_s = min(left_s, RECONNECT_FIRST_S * 2.0 ** min(self._refusals, 4))
            self._timer = self._proxy.loop.call_later(pause_s, self.try_again)

    def _left(self, bound_s: float) -> float:
        return self._exchange.t_routed + bound_s - time.perf_counter()

    def _give_up(self) -> None:
        self.forward.group.waiting.pop(self, None)
        exchange = self._exchange
        waited_s = time.perf_counter() - exchange.t_routed
        reply = self._proxy.site.unavailable(exchange.request, self.forward, waited_s, self._last_error)
        exchange.why = exchange.why or f"no backend after {waited_s:.1f} s"
        exchange.answer(reply)

    async def _connect(self, backend: Backend) -> None:
        try:
            connection = await backend.connect(self._proxy.limits.timeout_connect_s)
        except OSError as error:  # TimeoutError is one
            if self._exchange.ended:
                return
            self._task = None
            self._refusals += 1
            self._last_error = str(error) or type(error).__name__
            self._tried.add(backend.address)
            backend.aside_until = time.perf_counter() + ASIDE_S
            self._leave_backend()
            self.try_again()
            return
        self._task = None
        if self._exchange.ended:
            connection.abort()
        else:
            self._send(connection)

    # sending

    def _send(self, connection: BackendConnection) -> None:
        """The head and what there is of the body, in one write."""
        exchange, request = self._exchange, self._exchange.request
        exchange.t_connected = time.perf_counter()
        self.connection = connection
        self._sends += 1
        connection.begin(exchange)
        length = request.content_length + self._growth
        parts = [head.request_head(request, self.forward.target, length, self._proxy.proto)]
        if request.chunked:
            parts += [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self._body if piece]
            if exchange.request_complete:
                parts.append(b"0\r\n\r\n")
        else:
            parts += self._body
        connection.transport.write(b"".join(parts))
        if self._body_bytes > self._proxy.limits.replay_max:
            self.forget_body()
        exchange.client.resume_reading()
        exchange.expect_answer()

    def body(self, piece: bytes) -> None:
        """The next bytes of the body."""
        connection = self.connection
        if self._replayable:
            self._body.append(piece)
            self._body_bytes += len(piece)
        if connection is not None:
            chunked = self._exchange.request.chunked
            connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self._exchange.expect_answer()
        if self._body_bytes > self._proxy.limits.replay_max:
            if connection is not None:
                self.forget_body()
            else:
                self._exchange.client.pause_reading()  # goes on when a backend takes what is held

    def body_end(self) -> None:
        """The body is complete."""
        if self.connection is not None:
            if self._exchange.request.chunked:
                self.connection.transport.write(b"0\r\n\r\n")
            self._exchange.expect_answer()

    def forget_body(self) -> None:
        """From here on the request cannot be sent again."""
        self._replayable = False
        self._body, self._body_bytes = [], 0

    # coming back

    def broke(self, reason: str) -> None:
        """The backend closed, or spoke nonsense, before the first byte of a response."""
        connection, backend = self.connection, self.backend
        assert connection is not None and backend is not None
        self.connection = None
        self._last_error = reason
        self._leave_backend()
        again = self._replayable and self._sends < SENDS_MAX
        # A kept connection that closes tells nothing about this request. A new one might: the request may
        # be what ended the backend, so one that changes something is sent once more at most.
        if connection.fresh:
            again = again and (self._sends < 2 or self._exchange.request.method in _IDEMPOTENT)
            self._tried.add(backend.address)
        if again:
            self._exchange.t_connected = 0.0
            self.try_again()
        else:
            self._exchange.fail(502, f"the backend broke off before it answered: {reason}")

    def arrived(self, *, reusable: bool) -> None:
        """The response is complete: the connection may serve the next request."""
        connection, backend = self.connection, self.backend
        assert connection is not None and backend is not None
        self.connection = connection.exchange = None
        connection.resume_reading()
        if reusable and self._exchange.request_complete:
            backend.give(connection, idle_max=self._proxy.limits.idle_per_backend_max)
        else:
            connection.close()

    def drop_connection(self) -> None:
        """Break the connection off, which tells the backend that nobody wants its answer any more."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()

    def finish(self) -> None:
        """The exchange is over: hold nothing, count for nothing."""
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        if self.backend is not None:
            self.backend.in_flight -= 1
        self.forward.group.in_flight -= 1
        self.forward.group.waiting.pop(self, None)
        self._body = []

    def _leave_backend(self) -> None:
        if self.backend is not None:
            self.backend.in_flight -= 1
            self.backend = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
