"""What every verb gets: the server's parts, and one request as it was understood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request

from forebay.api.meta import Json, Key
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.negotiate import Accepted
from forebay.home.apiserver.options import Query
from forebay.home.apiserver.paths import Operation
from forebay.home.apiserver.registry import Registry, Served
from forebay.home.apiserver.status import About
from forebay.home.tokens import User
from forebay.kit.clock import Clock
from forebay.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from forebay.api.kinds import Pod


@dataclass(frozen=True)
class LogQuery:
    """Options of a log request. `since_s` in seconds; None where nothing was asked."""

    container: str
    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since_s: float | None = None
    limit_bytes: int | None = None


class PodLogs(Protocol):
    """Where a pod's log comes from (the kubelet of its node)."""

    def __call__(self, pod: Pod, query: LogQuery) -> AsyncIterator[bytes]:
        """Chunks of the log; with `follow` until the container ends. Raises Absent."""


@dataclass
class Api:
    """The parts of one server. `stopping` ends open watches and followed logs."""

    store: SqliteStore
    auth: Authenticator
    logs: PodLogs
    clock: Clock
    registry: Registry = field(default_factory=Registry)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Call:
    """One request for a resource. `warnings` become Warning headers of the answer."""

    api: Api
    op: Operation
    served: Served
    user: User
    query: Query
    accepted: Accepted
    request: Request
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """The key in the store of the object that the path names."""
        return Key(self.op.namespace if self.served.kind.namespaced else "", self.op.name)

    @property
    def about(self) -> About:
        return About.of(self.served.kind, self.op.name)

    def wire(self, raw: Json) -> Json:
        """A stored object in the form and version of this path."""
        kind = self.served.kind
        return {**self.served.to_wire(raw), "apiVersion": kind.api_version, "kind": kind.kind}
