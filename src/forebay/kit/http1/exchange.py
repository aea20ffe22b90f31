"""The life of one request: planned, perhaps read for a field, passed on, answered.

Everything happens in callbacks on the event loop. Nothing is written to the client before the head of a
response has been read whole, so until then the request can be sent elsewhere or refused properly.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from forebay.kit.http1 import head
from forebay.kit.http1.backend import Address, BackendConnection
from forebay.kit.http1.field import FieldFinder, Outcome
from forebay.kit.http1.messages import Forward, NeedBody, NeedField, Plan, Reply, Request, Rewrite
from forebay.kit.http1.passage import Passage

if TYPE_CHECKING:
    from forebay.kit.http1.client import ClientConnection
    from forebay.kit.http1.server import ProxyServer

ERROR_MAX = 64 * 1024  # of a backend's own error, where it is worded anew


class Exchange:
    """One request and its answer. Times are of time.perf_counter(); 0.0 means it did not come to that.

    `t_first` is the head of the backend's response, `t_body` the first bytes of its body: some engines send
    the head at once and think then.
    """

    __slots__ = (
        "_chunk_out", "_deadline", "_error", "_field", "_finder", "_held", "_held_bytes", "_out", "_passage",
        "_proxy", "_rewrite", "_whole", "client", "ended", "keep_alive", "request", "request_bytes",
        "request_complete", "response_bytes", "status", "t_body", "t_connected", "t_end", "t_first",
        "t_routed", "t_start", "t_wait", "why",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, request: Request, proxy: ProxyServer) -> None:
        self.client = client
        self.request = request
        self._proxy = proxy
        self._field: NeedField | None = None
        self._finder: FieldFinder | None = None
        self._whole: NeedBody | None = None
        self._rewrite: Rewrite | None = None
        self._error: bytearray | None = None  # the backend's own error, until it is whole
        self._passage: Passage | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._out: list[bytes] = []
        self._chunk_out = False
        self._deadline = 0.0
        self.request_complete = False
        self.keep_alive = True
        self.ended = False
        self.status = 0
        self.why = ""
        self.request_bytes = self.response_bytes = 0
        self.t_start = time.perf_counter()
        self.t_routed = self.t_wait = self.t_connected = self.t_first = self.t_body = self.t_end = 0.0

    @property
    def label(self) -> object:
        """What the site called the forward; None if it never came to one."""
        return self._passage.forward.label if self._passage else None

    @property
    def streamed(self) -> bool:
        """The answer is passed on in pieces, its length unknown."""
        return self._chunk_out

    @property
    def backend_address(self) -> Address | None:
        backend = self._passage.backend if self._passage else None
        return backend.address if backend else None

    @property
    def attempts(self) -> int:
        """How often the request was sent, or a connection for it was refused."""
        return self._passage.attempts if self._passage else 0

    @property
    def whole_request(self) -> bool:
        """All of the request has been read."""
        request = self.request
        return self.request_complete or not (request.chunked or self.request_bytes < request.content_length)

    # the request arrives

    def begin(self) -> None:
        """The head is complete and the client's earlier requests are answered."""
        self._proxy.active.add(self)
        self._follow(self._proxy.site.plan(self.request))

    def _follow(self, plan: Plan) -> None:
        if isinstance(plan, Reply):
            self.answer(plan)
            return
        if self.request.expects and not self.request_complete:
            self.client.write(head.CONTINUE)
        pieces, self._held = self._held, []
        if isinstance(plan, Forward):
            self._pass_on(plan, pieces, growth=0)
            return
        if isinstance(plan, NeedBody):
            self._whole, self._held_bytes = plan, 0
        else:
            self._field, self._finder = plan, FieldFinder(plan.name)
        self._expect_within(self._proxy.limits.timeout_body_s)
        for piece in pieces:
            self._take(piece)
        if self.request_complete:
            self.body_end()

    def body(self, piece: bytes) -> None:
        """The next bytes of the request's body."""
        self.request_bytes += len(piece)
        self._take(piece)

    def _take(self, piece: bytes) -> None:
        if self.ended:
            return
        if self._passage is not None:
            self._passage.body(piece)
        elif self._finder is not None and self._field is not None:
            self._look_for_field(piece, self._finder, self._field)
        elif self._whole is not None:
            self._keep(piece)
        else:  # an earlier request of this client is still being answered
            self._held.append(piece)
            self._held_bytes += len(piece)
            if self._held_bytes > self._proxy.limits.replay_max:
                self.client.pause_reading()

    def body_end(self) -> None:
        """The request's body is complete."""
        self.request_complete = True
        if self.ended:
            return
        if self._passage is not None:
            self._passage.body_end()
        elif self._whole is not None:
            self._body_known(self._whole)
        elif self._field is not None:
            cut = (
                "the body ends in the middle of its JSON" if self.request_bytes else "the request has no body"
            )
            self._field_known(None, cut)

    def _keep(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)
        limit = self._proxy.limits.body_held_max
        if self._held_bytes > limit:
            self.fail(413, f"the body is larger than {limit} bytes")
        else:
            self._expect_within(self._proxy.limits.timeout_body_s)

    def _body_known(self, whole: NeedBody) -> None:
        body, self._held, self._whole = b"".join(self._held), [], None
        plan = whole.then(self.request, body)
        if isinstance(plan, Reply):
            self.answer(plan)
            return
        sent = body if plan.body is None else plan.body
        self._pass_on(plan, [sent] if sent else [], growth=len(sent) - len(body))

    def _look_for_field(self, piece: bytes, finder: FieldFinder, field: NeedField) -> None:
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
        else:
            self._expect_within(self._proxy.limits.timeout_body_s)

    def _field_known(self, value: str | None, reason: str) -> None:
        field, finder = self._field, self._finder
        assert field is not None and finder is not None
        self._field = self._finder = None
        plan = field.then(self.request, value, reason)
        if isinstance(plan, Reply):
            self.answer(plan)
            return
        body = bytes(finder.body)
        if plan.body_value is not None and value is not None:
            body = body[: finder.start] + plan.body_value + body[finder.end :]
        self._pass_on(plan, [body] if body else [], growth=len(body) - len(finder.body))

    def _pass_on(self, forward: Forward, body: list[bytes], *, growth: int) -> None:
        self._deadline = 0.0  # while it waits for a backend, the group's bound holds
        self.t_routed = time.perf_counter()
        self._passage = Passage(self, self._proxy, forward)
        self._passage.start(body, growth=growth)

    # the response arrives

    def response_head(self, status: int, connection: BackendConnection) -> None:
        """The backend's head is complete: from here on the request cannot be sent again."""
        self.t_first = time.perf_counter()
        self.status = status
        request, client, length, headers = self.request, self.client, connection.length, connection.headers
        bodyless = request.method == b"HEAD" or status in (204, 304)
        if self._passage is not None:
            self._passage.forget_body()
            forward = self._passage.forward
            if status >= 400 and forward.on_error is not None and not bodyless:
                self._error = bytearray()
                return
            if status == 200 and forward.rewrite is not None and not bodyless:
                self._rewrite, length = forward.rewrite(), -1
                headers = [header for header in headers if header[0].lower() != b"content-length"]
        if not self.whole_request or self._proxy.stopping:
            client.keep_alive = False
        extra = b"X-Request-Id: " + request.id + b"\r\n"
        if not bodyless and length < 0:
            if request.minor:
                self._chunk_out = True
                extra += b"Transfer-Encoding: chunked\r\n"
            else:
                client.keep_alive = False
        if not client.keep_alive:
            extra += b"Connection: close\r\n"
        elif not request.minor:
            extra += b"Connection: keep-alive\r\n"
        self._out.append(head.response_head(status, connection.reason, headers, extra))

    def response_body(self, piece: bytes) -> None:
        """The next bytes of the body, already without the backend's framing."""
        if not self.t_body and not piece.startswith(b":"):  # a comment of an event stream is no answer yet
            self.t_body = time.perf_counter()
        if self._error is not None:
            self._error += piece[: ERROR_MAX - len(self._error)]
            return
        if self._rewrite is not None:
            piece = self._rewrite.feed(piece)
        self._put(piece)

    def _put(self, piece: bytes) -> None:
        if piece:
            self.response_bytes += len(piece)
            self._out.append(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunk_out else piece)

    def flush(self, *, ended: bool) -> None:
        """Write what one read from the backend gave, at once; `ended`: the response is complete with it."""
        if ended and self._rewrite is not None:
            self._put(self._rewrite.end())
        if ended and self._chunk_out and self._error is None:
            self._out.append(b"0\r\n\r\n")
        if self._out:
            self._expect_within(self._proxy.limits.timeout_between_bytes_s)
            self.client.write(b"".join(self._out))
            self._out.clear()

    def response_end(self, *, reusable: bool) -> None:
        """The response is complete and written."""
        passage = self._passage
        if passage is not None:
            passage.arrived(reusable=reusable)
            if self._error is not None and passage.forward.on_error is not None:
                self.answer(passage.forward.on_error(self.request, self.status, bytes(self._error)))
                return
        self._finish()
        self.client.answered(self)

    # trouble

    def backend_broke(self, reason: str) -> None:
        """The backend closed, or spoke nonsense, before its response was complete."""
        if self._passage is None:
            return
        if not self.t_first:
            self._passage.broke(reason)
            return
        if self._error is not None:  # nothing is written yet
            self._passage.connection = None
            self.fail(502, f"the backend broke off in the middle of an error of its own: {reason}")
            return
        self.why = f"the backend broke off: {reason}"
        self._passage.connection = None
        self._finish()
        self.client.cut()

    def fail(self, status: int, message: str) -> None:
        """Answer with an error of our own."""
        self.why = message
        self.answer(self._proxy.site.error(self.request, status, message))

    def answer(self, reply: Reply) -> None:
        """Answer without a backend, or instead of one."""
        if self.ended:
            return
        if self._passage is not None:
            self._passage.drop_connection()
        self.status = reply.status
        self.response_bytes = len(reply.body)
        client = self.client
        if not self.whole_request or self._proxy.stopping:
            client.keep_alive = False
        bodyless = self.request.method == b"HEAD"
        client.write(
            head.reply_bytes(
                reply, request_id=self.request.id, close=not client.keep_alive, bodyless=bodyless
            )
        )
        self._finish()
        client.answered(self)

    def client_gone(self) -> None:
        """The client closed its connection: whatever is going on for it ends."""
        if self.ended:
            return
        if self._passage is not None:
            self._passage.drop_connection()
        self.status = self.status if self.t_first else 499
        self.why = self.why or "the client closed the connection"
        self._finish()

    def check(self, now: float) -> None:
        """Called about once a second: is a deadline over?"""
        if self.ended or not self._deadline or now < self._deadline:
            return
        if not self.t_first:
            slow = "the request's body did not arrive in time"
            if self.request_complete:
                self.fail(504, "the backend did not begin to answer in time")
            else:
                self.fail(408, slow)
            return
        if self._error is not None:  # nothing is written yet
            self.fail(504, "the backend did not come to the end of an error of its own in time")
            return
        if self._passage is not None:
            self._passage.drop_connection()
        self.why = "nothing moved between backend and client for too long"
        self._finish()
        self.client.cut()

    # flow and end

    def pause_client(self) -> None:
        """The backend takes the body more slowly than the client sends it."""
        self.client.pause_reading()

    def resume_client(self) -> None:
        self.client.resume_reading()

    def pause_backend(self) -> None:
        """The client takes the response more slowly than the backend sends it."""
        if self._passage is not None and self._passage.connection is not None:
            self._passage.connection.pause_reading()

    def resume_backend(self) -> None:
        if self._passage is not None and self._passage.connection is not None:
            self._passage.connection.resume_reading()

    def expect_answer(self) -> None:
        """Sent is sent: the next piece of the body, or the first byte of the answer, is due."""
        if self.t_first or self._passage is None:
            return
        limits = self._proxy.limits
        first_byte_s = self._passage.forward.first_byte_s or limits.timeout_first_byte_s
        self._expect_within(first_byte_s if self.request_complete else limits.timeout_body_s)

    def _expect_within(self, seconds: float) -> None:
        self._deadline = time.perf_counter() + seconds

    def _finish(self) -> None:
        """Counts and times are final; the exchange holds nothing any more."""
        if self.ended:
            return
        self.ended = True
        self.t_end = time.perf_counter()
        self._proxy.active.discard(self)
        if self._passage is not None:
            self._passage.finish()
        self._held = []
        self._field = self._finder = self._whole = self._rewrite = None
        self._proxy.site.done(self)
        # They name each other; without this each request would be work for the cycle collector.
        self._passage = None
