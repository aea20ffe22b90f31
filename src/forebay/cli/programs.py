"""What the commands may start or talk to; `main` fills it in, so that no command names a home."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from forebay.store.protocol import Store


class Connect(Protocol):
    """Opens a store to the API server of a kubeconfig, of a data folder, or of the environment."""

    def __call__(self, *, data: Path | None) -> AbstractAsyncContextManager[Store]: ...


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
class Programs:
    """The programs behind the commands. Each int is an exit code."""

    connect: Connect
    default_data: Callable[[], Path]
    running: Callable[[Path], dict[str, Any]]  # pid, ports and addresses; raises Absent
    up: Callable[[UpOptions], int]
    node: Callable[[], int]
    gateway: Callable[[str, int], int]
    llama: Callable[[Sequence[str]], int]
    pull: Callable[[Sequence[str]], int]
    storage_initializer: Callable[[Sequence[str]], int]
    hub: Callable[[Sequence[str]], int]
