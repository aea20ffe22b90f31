"""What goes through the proxy, and what a site answers to the question where it should go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from forebay.kit.http1.exchange import Exchange
    from forebay.kit.http1.group import Group

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Limits:
    """Bounds and deadlines of a proxy. Sizes in bytes, times in seconds."""

    head_max: int
    headers_max: int
    body_held_max: int  # held while a field of the body is looked for
    replay_max: int  # held so that a request can be sent again
    clients_max: int
    pipelined_max: int
    idle_per_backend_max: int
    timeout_connect_s: float
    timeout_head_s: float
    timeout_body_s: float  # between two pieces of a request's body
    timeout_first_byte_s: float
    timeout_between_bytes_s: float
    timeout_idle_client_s: float
    timeout_idle_backend_s: float
    reconnect_s: float  # how long refused connections are tried again


class Request:
    """The head of one request, as it was received; `passed` are the headers that a backend gets, too."""

    __slots__ = (
        "_path", "chunked", "content_length", "expects", "forwarded", "headers", "host", "id", "method",
        "minor", "passed", "peer", "target", "upgrade",
    )  # fmt: skip

    def __init__(self, *, method: bytes, target: bytes, headers: Headers, minor: int, peer: str) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.passed: Headers = []
        self.forwarded = b""  # whom it came from before, each with a comma
        self.minor = minor
        self.peer = peer
        self.host = b""
        self.id = b""
        self.content_length = 0
        self.chunked = False
        self.expects = False
        self.upgrade = b""
        self._path = ""

    @property
    def path(self) -> str:
        """The target without its query, not decoded (any byte is one character)."""
        if not self._path:
            self._path = self.target.partition(b"?")[0].decode("latin-1")
        return self._path

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0


@dataclass(frozen=True)
class Reply:
    """A short answer of our own."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Rewrite(Protocol):
    """Changes the body of an answer on its way; its length is then not known beforehand."""

    def feed(self, piece: bytes) -> bytes:
        """What may be passed on already."""

    def end(self) -> bytes:
        """The rest, when the backend's body is complete."""


@dataclass(slots=True)  # not frozen: there is one per request, and freezing costs as much as the rest of it
class Forward:
    """Send it to one of a group's backends, as `target`.

    `body_value`: if not None, replaces the value of the field that was found (its JSON token); `body`
    replaces the body that was read whole. `label` is what the access log and the metrics call it.
    `first_byte_s`: 0 means the proxy's own limit. `on_error` words the backend's own errors (status 400 and
    up); `rewrite` makes what changes the body of an answer of status 200.
    """

    group: Group
    target: bytes
    label: object
    body_value: bytes | None = None
    first_byte_s: float = 0.0
    body: bytes | None = None
    on_error: Callable[[Request, int, bytes], Reply] | None = None
    rewrite: Callable[[], Rewrite] | None = None


@dataclass(frozen=True)
class NeedBody:
    """Read the whole body first, up to the proxy's limit."""

    then: Callable[[Request, bytes], Reply | Forward]


@dataclass(frozen=True)
class NeedField:
    """Read the body's top-level string field `name` first; `then` gets its value, or None and a reason."""

    name: str
    then: Callable[[Request, str | None, str], Reply | Forward]


Plan = Reply | Forward | NeedField | NeedBody


class Site(Protocol):
    """The decisions of one proxy; called from the event loop, so each must be quick."""

    def plan(self, request: Request) -> Plan:
        """Where this request goes; its head is complete, its body need not be."""

    def error(self, request: Request | None, status: int, message: str) -> Reply:
        """The body of an error of the proxy's own, in the dialect of the path; None: the head was
        unreadable.
        """

    def unavailable(self, request: Request, forward: Forward, waited_s: float, last: str) -> Reply:
        """No backend took the request in time; `last` is the last refusal, if there was one."""

    def done(self, exchange: Exchange) -> None:
        """The exchange is over, in whatever way; its times and counts are final."""
