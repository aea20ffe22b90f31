"""What the commands may start or talk to; `main` fills it in, so that no command names a home."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from forebay.api.meta import Json, Key, Resource
from forebay.store.protocol import EVERYWHERE, Store, T, Where


class Client(Store, Protocol):
    """A store over HTTP, with what only an API server has."""

    async def create(self, item: T, *, dry_run: bool = False, strict: bool = False) -> T:
        """`dry_run` stores nothing; `strict` refuses fields that the kind does not have."""

    async def update(self, item: T, *, dry_run: bool = False, strict: bool = False) -> T:
        """As create."""

    def table_changes(
        self, kind: type[Resource], where: Where = EVERYWHERE, *, since: str
    ) -> AsyncIterator[tuple[str, Json]]:
        """Type and Table of each change, as `kubectl get --watch` asks for them."""

    async def table(self, kind: type[Resource], where: Where = EVERYWHERE) -> Json:
        """A meta.k8s.io/v1 Table of the objects."""

    def logs(
        self,
        key: Key,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
    ) -> AsyncIterator[str]:
        """Lines of a pod's log."""


class Connect(Protocol):
    """Opens a client of the API server of a data folder, of KUBECONFIG, or of the default data folder."""

    def __call__(self, *, data: Path | None) -> AbstractAsyncContextManager[Client]: ...


@dataclass(frozen=True)
class UpOptions:
    """`forebay up` as typed."""

    data: Path
    api_port: int
    gateway_port: int
    nodes: int
    node_name: str
    node_labels: tuple[str, ...]
    node_capacity: tuple[str, ...]
    detach: bool


@dataclass(frozen=True)
class PullWish:
    """`forebay pull` as typed; `rate_bytes_s` 0 means no limit, no patterns all files."""

    uri: str
    dest: Path
    revision: str
    explain: bool
    as_json: bool
    rate_bytes_s: float
    peers: tuple[str, ...] = ()
    include: tuple[str, ...] = ()  # patterns of paths
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Programs:
    """The programs behind the commands. Each int is an exit code."""

    connect: Connect
    default_data: Callable[[], Path]
    running: Callable[[Path], dict[str, Any]]  # pid, ports and addresses; raises Absent
    user_kubeconfig: Callable[[Path, str, Sequence[str]], Path]
    up: Callable[[UpOptions], int]
    node: Callable[[], int]
    gateway: Callable[[str, int], int]
    llama: Callable[[Sequence[str]], int]
    pull: Callable[[PullWish], int]
    storage_initializer: Callable[[Sequence[str]], int]
    hub: Callable[[Sequence[str]], int]
    blobs: Callable[[Sequence[str]], int]
