"""The life of one request: planned, perhaps held, sent to a backend, perhaps sent again, answered.

Everything happens in callbacks on the event loop; only opening a connection is a task. Nothing of the response is
written before a backend's whole head has been read, so until then the request can be sent again or refused properly.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from forebay.kit.http1 import head
from forebay.kit.http1.backend import Address, Backend, BackendConnection
from forebay.kit.http1.field import FieldFinder, Outcome
from forebay.kit.http1.messages import Forward, NeedField, Reply, Request

if TYPE_CHECKING:
    from forebay.kit.http1.client import ClientConnection
    from forebay.kit.http1.server import ProxyServer

SENDS_MAX = 3  # a request that has reached backends which then broke off without a byte
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
RECONNECT_FIRST_S = 0.05


class Exchange:
    """One request and its answer. Times are of time.perf_counter(); 0.0 means it did not come to that."""

    __slots__ = (
        "_backend", "_body_growth", "_chunk_out", "_connection", "_deadline", "_field", "_finder", "_forward", "_held",
        "_held_bytes", "_last_error", "_out", "_proxy", "_refusals", "_replayable", "_sends", "_task", "_timer",
        "_tried", "client", "ended", "keep_alive", "request", "request_bytes", "request_complete", "response_bytes", "status",
        "t_connected", "t_end", "t_first", "t_routed", "t_start", "t_wait", "why",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, request: Request, proxy: ProxyServer) -> None:
        self.client = client
        self.request = request
        self._proxy = proxy
        self._field: NeedField | None = None
        self._finder: FieldFinder | None = None
        self._forward: Forward | None = None
        self._backend: Backend | None = None
        self._connection: BackendConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tried: set[Address] = set()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._replayable = True
        self._sends = self._refusals = 0
        self._last_error = ""
        self._out: list[bytes] = []
        self._chunk_out = False
        self._body_growth = 0
        self._deadline = 0.0
        self.request_complete = False
        self.keep_alive = True
        self.ended = False
        self.status = 0
        self.why = ""
        self.request_bytes = self.response_bytes = 0
        self.t_start = time.perf_counter()
        self.t_routed = self.t_wait = self.t_connected = self.t_first = self.t_end = 0.0

    @property
    def label(self) -> object:
        """What the site called the forward; None if it never came to one."""
        return self._forward.label if self._forward else None

    @property
    def backend_address(self) -> Address | None:
        return self._backend.address if self._backend else None

    @property
    def attempts(self) -> int:
        """How often the request was sent or a connection for it was refused."""
        return self._sends + self._refusals

    @property
    def whole_request(self) -> bool:
        """All of the request has been read."""
        request = self.request
        return self.request_complete or not (request.chunked or self.request_bytes < request.content_length)

    # the request arrives

    def begin(self) -> None:
        """The head is complete and the client's earlier requests are answered."""
        self._follow(self._proxy.site.plan(self.request))

    def _follow(self, plan: Reply | Forward | NeedField) -> None:
        if isinstance(plan, Forward):
            self._start_forward(plan)
        elif isinstance(plan, Reply):
            self.answer(plan)
        else:
            self._field = plan
            self._finder = FieldFinder(plan.name)
            self._ask_for_body()
            pieces, self._held, self._held_bytes = self._held, [], 0
            for piece in pieces:
                self._look_for_field(piece)
            if self.request_complete:
                self.body_end()

    def _ask_for_body(self) -> None:
        if self.request.expects and not self.request_complete:
            self.request.expects = False
            self.client.write(head.CONTINUE)

    def body(self, piece: bytes) -> None:
        """The next bytes of the request's body."""
        self.request_bytes += len(piece)
        if self.ended:
            return
        if self._finder is not None:
            self._look_for_field(piece)
        elif self._connection is not None and self.t_connected:
            self._send_piece(piece)
        else:
            self._hold(piece)

    def body_end(self) -> None:
        """The request's body is complete."""
        self.request_complete = True
        if self.ended:
            return
        if self._finder is not None and self._field is not None:
            message = f"the body is a JSON object without the string field {self._field.name!r}"
            self._field_known(None, message if self.request_bytes else "the request has no body")
        elif self._connection is not None and self.t_connected and self.request.chunked:
            self._connection.transport.write(b"0\r\n\r\n")
        if self._connection is not None and not self.t_first:
            self._expect_within(self._first_byte_s())

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self._proxy.limits.replay_max:
            self.client.pause_reading()  # goes on when a backend takes what is held

    def _look_for_field(self, piece: bytes) -> None:
        finder, field = self._finder, self._field
        if finder is None or field is None:
            self.request_bytes -= len(piece)
            self.body(piece)  # the field is known by now
            return
        outcome = finder.feed(piece)
        if outcome is Outcome.FOUND:
            self._field_known(finder.value, "")
        elif outcome is Outcome.ABSENT:
            self._field_known(None, f"the body has no field {field.name!r}")
        elif outcome is Outcome.WRONG:
            self._field_known(None, f"the body must be a JSON object with the string field {field.name!r}")
        elif len(finder.body) > self._proxy.limits.body_held_max:
            limit = self._proxy.limits.body_held_max
            self.fail(413, f"no field {field.name!r} in the first {limit} bytes of the body; put it first")

    def _field_known(self, value: str | None, reason: str) -> None:
        field, finder = self._field, self._finder
        assert field is not None and finder is not None
        self._field = self._finder = None
        plan = field.then(self.request, value, reason)
        if isinstance(plan, Reply):
            self.answer(plan)
            return
        body = bytes(finder.body)
        if plan.body_value is not None:
            body = body[: finder.start] + plan.body_value + body[finder.end :]
            self._body_growth = len(body) - len(finder.body)
        self._held, self._held_bytes = [body], len(body)
        self._start_forward(plan)

    # towards a backend

    def _start_forward(self, forward: Forward) -> None:
        self._forward = forward
        self.t_routed = time.perf_counter()
        self._proxy.active.add(self)
        forward.group.in_flight += 1
        self._ask_for_body()
        self.try_again()

    def try_again(self) -> None:
        """Look for a backend now; also called when the group has changed."""
        forward = self._forward
        if self.ended or forward is None:
            return
        self._stop_timer()
        backend = forward.group.pick(self._tried)
        if backend is None and self._tried:
            if self._sends:
                self.fail(502, f"no backend answered: {self._last_error}")
                return
            self._tried.clear()
            self._wait(min(self._proxy.limits.reconnect_s, forward.group.wait_s), poll=True)
            return
        if backend is None:
            self._wait(forward.group.wait_s, poll=False)
            return
        self.t_wait = time.perf_counter()
        self._backend = backend
        backend.in_flight += 1
        replay_max = self._proxy.limits.replay_max
        kept = None
        if self._held_bytes <= replay_max and self.request.content_length <= replay_max:
            kept = (
                backend.take()
            )  # never for what cannot be sent twice: a kept connection may close at any time
        if kept is not None:
            self._send(kept)
        else:
            self._task = self._proxy.spawn(self._connect(backend))

    def _wait(self, bound_s: float, *, poll: bool) -> None:
        forward = self._forward
        assert forward is not None
        left_s = self.t_routed + bound_s - time.perf_counter()
        if left_s <= 0:
            self.answer(
                self._proxy.site.unavailable(self.request, forward, max(0.0, bound_s), self._last_error)
            )
            return
        if not poll and len(forward.group.waiting) >= forward.group.waiting_max:
            self.fail(
                429, f"{forward.group.waiting_max} requests wait for this service already; try again later"
            )
            return
        loop = self._proxy.loop
        if poll:
            pause_s = min(left_s, RECONNECT_FIRST_S * 2.0 ** min(self._refusals, 4))
            self._timer = loop.call_later(pause_s, self.try_again)
            return
        forward.group.waiting[self] = None
        self._timer = loop.call_later(left_s, self._waited_too_long)

    def _waited_too_long(self) -> None:
        forward = self._forward
        assert forward is not None
        forward.group.waiting.pop(self, None)
        waited_s = time.perf_counter() - self.t_routed
        self.answer(self._proxy.site.unavailable(self.request, forward, waited_s, self._last_error))

    async def _connect(self, backend: Backend) -> None:
        try:
            connection = await backend.connect(self._proxy.limits.timeout_connect_s)
        except OSError as error:  # TimeoutError is one
            self._task = None
            if self.ended:
                return
            self._refusals += 1
            self._last_error = str(error) or type(error).__name__
            self._tried.add(backend.address)
            self._release_backend()
            backend.aside_until = time.perf_counter() + 1.0
            self.try_again()
            return
        self._task = None
        if self.ended or not connection.alive:
            connection.abort()
            if not self.ended:
                self._release_backend()
                self.try_again()
            return
        self._send(connection)

    def _send(self, connection: BackendConnection) -> None:
        """The head and what there is of the body, in one write."""
        forward = self._forward
        assert forward is not None
        self.t_connected = time.perf_counter()
        self._connection = connection
        self._sends += 1
        connection.begin(self)
        request = self.request
        parts = [
            head.request_head(
                request, forward.target, request.content_length + self._body_growth, self._proxy.proto
            )
        ]
        for piece in self._held:
            parts.append(b"%x\r\n%b\r\n" % (len(piece), piece) if request.chunked and piece else piece)
        if request.chunked and self.request_complete:
            parts.append(b"0\r\n\r\n")
        connection.transport.write(b"".join(parts) if len(parts) > 1 else parts[0])
        if self._held_bytes > self._proxy.limits.replay_max:
            self._forget_body()
        self.client.resume_reading()
        self._expect_within(
            self._first_byte_s() if self.request_complete else self._proxy.limits.timeout_body_s
        )

    def _first_byte_s(self) -> float:
        forward = self._forward
        return (forward.first_byte_s if forward else 0.0) or self._proxy.limits.timeout_first_byte_s

    def _send_piece(self, piece: bytes) -> None:
        connection = self._connection
        assert connection is not None
        if self._replayable:
            self._held.append(piece)
            self._held_bytes += len(piece)
            if self._held_bytes > self._proxy.limits.replay_max:
                self._forget_body()
        connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.request.chunked else piece)
        if not self.t_first:
            self._expect_within(self._proxy.limits.timeout_body_s)

    def _forget_body(self) -> None:
        self._replayable = False
        self._held, self._held_bytes = [], 0

    # the response arrives

    def response_head(self, status: int, connection: BackendConnection) -> None:
        """The backend's head is complete: from here on the request cannot be sent again."""
        self.t_first = time.perf_counter()
        self.status = status
        self._forget_body()
        request, client = self.request, self.client
        bodyless = request.method == b"HEAD" or status in (204, 304)
        extra = b"X-Request-Id: " + request.id + b"\r\n" if request.id else b""
        if not bodyless and connection.length < 0:
            if request.minor:
                self._chunk_out = True
                extra += b"Transfer-Encoding: chunked\r\n"
            else:
                client.keep_alive = False
        if not self.whole_request or self._proxy.stopping:
            client.keep_alive = False
        if not client.keep_alive:
            extra += b"Connection: close\r\n"
        elif not request.minor:
            extra += b"Connection: keep-alive\r\n"
        self._out.append(head.response_head(status, connection.reason, connection.headers, extra))

    def response_body(self, piece: bytes) -> None:
        """The next bytes of the body, already without the backend's framing."""
        self.response_bytes += len(piece)
        self._out.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunk_out else piece)

    def flush(self) -> None:
        """Write what one read from the backend gave, at once."""
        self._expect_within(self._proxy.limits.timeout_between_bytes_s)
        connection = self._connection
        if connection is not None and connection.ended and self._chunk_out:
            self._out.append(b"0\r\n\r\n")
        if self._out:
            self.client.write(b"".join(self._out))
            self._out.clear()

    def response_end(self, *, reusable: bool) -> None:
        """The response is complete and written."""
        connection, backend = self._connection, self._backend
        assert connection is not None and backend is not None
        self._connection = connection.exchange = None
        connection.resume_reading()
        if reusable and self.request_complete:
            backend.give(connection, idle_max=self._proxy.limits.idle_per_backend_max)
        else:
            connection.close()
        self._finish()
        self.client.answered(self)

    def response_cut(self) -> None:
        """The connection closed, which ends a body that has no length."""
        if self._chunk_out:
            self._out.append(b"0\r\n\r\n")
        if self._out:
            self.client.write(b"".join(self._out))
        self.response_end(reusable=False)

    # trouble

    def backend_broke(self, reason: str) -> None:
        """The backend closed, or spoke nonsense, before its response was complete."""
        connection, backend = self._connection, self._backend
        if connection is None or backend is None:
            return
        self._connection = connection.exchange = None
        self._last_error = reason
        if self.t_first:
            self.why = f"the backend broke off: {reason}"
            self._finish()
            self.client.cut(self)
            return
        self._release_backend()
        # A kept connection that closes tells nothing about this request. A new one might: the request may be what
        # ended the backend, so one that changes something is sent once more at most.
        again = self._replayable and self._sends < SENDS_MAX
        if connection.fresh:
            again = again and (self._sends < 2 or self.request.method in _IDEMPOTENT)
            self._tried.add(backend.address)
        if again:
            self.t_connected = 0.0
            self.try_again()
        else:
            self.fail(502, f"the backend broke off before it answered: {reason}")

    def fail(self, status: int, message: str) -> None:
        """Answer with an error of our own."""
        self.why = message
        self.answer(self._proxy.site.error(self.request, status, message))

    def answer(self, reply: Reply) -> None:
        """Answer without a backend (or instead of one)."""
        if self.ended:
            return
        self._drop_connection()
        self.status = reply.status
        self.response_bytes = len(reply.body)
        client = self.client
        if not self.whole_request or self._proxy.stopping:
            client.keep_alive = False
        bodyless = self.request.method == b"HEAD"
        close = not client.keep_alive
        self._finish()
        client.write(head.reply_bytes(reply, request_id=self.request.id, close=close, bodyless=bodyless))
        client.answered(self)

    def client_gone(self) -> None:
        """The client closed its connection: whatever is going on for it ends."""
        if self.ended:
            return
        self._drop_connection()
        self.status = self.status if self.t_first else 499
        self.why = self.why or "the client closed the connection"
        self._finish()

    def check(self, now: float) -> None:
        """Called about once a second: is a deadline over?"""
        if self.ended or not self._deadline or now < self._deadline:
            return
        self._drop_connection()
        if self.t_first:
            self.why = "the backend sent nothing for too long"
            self._finish()
            self.client.cut(self)
        elif not self.request_complete:
            self.fail(408, "the request's body did not arrive in time")
        else:
            self.fail(504, "the backend did not begin to answer in time")

    # flow and end

    def pause_client(self) -> None:
        """The backend takes the body more slowly than the client sends it."""
        self.client.pause_reading()

    def resume_client(self) -> None:
        self.client.resume_reading()

    def pause_backend(self) -> None:
        """The client takes the response more slowly than the backend sends it."""
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_backend(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()
            self._expect_within(self._proxy.limits.timeout_between_bytes_s)

    def _expect_within(self, seconds: float) -> None:
        self._deadline = time.perf_counter() + seconds

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release_backend(self) -> None:
        if self._backend is not None:
            self._backend.in_flight -= 1
            self._backend = None

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _finish(self) -> None:
        """Counts and times are final; the exchange holds nothing any more."""
        if self.ended:
            return
        self.ended = True
        self.t_end = time.perf_counter()
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        forward, backend = self._forward, self._backend
        if backend is not None:
            backend.in_flight -= 1
        if forward is not None:
            forward.group.waiting.pop(self, None)
            forward.group.in_flight -= 1
            self._proxy.active.discard(self)
        self._held = []
        self._finder = None
        self._proxy.site.done(self)
