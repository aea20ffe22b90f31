"""The controllers on a real store in a temporary folder, with a kubelet that needs no processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.fakes.instant_kubelet import InstantKubelet

from forebay.api.admission import Rules
from forebay.api.kinds import Namespace, Pod, StorageClass
from forebay.api.meta import Json, Key
from forebay.errors import Absent
from forebay.home.workloads import controllers
from forebay.kit.clock import SystemClock
from forebay.store.loop import run_controllers
from forebay.store.protocol import Where
from forebay.store.sqlite import SqliteStore

DEADLINE_S = 20.0


class FastClock(SystemClock):
    """The machine's clock, with time that can be skipped."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait until then, however the clock gets there."""
        until = self.now() + timedelta(seconds=seconds)
        while self.now() < until:
            await asyncio.sleep(0.005)


class World:
    """What a test holds."""

    def __init__(self, store: SqliteStore, kubelet: InstantKubelet, clock: FastClock) -> None:
        self.store, self.kubelet, self.clock = store, kubelet, clock

    async def pods(self, namespace: str = "default") -> list[Pod]:
        """All pods of a namespace."""
        return list((await self.store.list(Pod, Where(namespace=namespace))).items)

    async def until(
        self, what: Callable[[], Awaitable[Any]], *, invariant: Callable[[], Awaitable[None]] | None = None
    ) -> Any:
        """Poll until `what` is true and return it; errors of absence count as not yet."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        last: object = None
        while asyncio.get_running_loop().time() < deadline:
            try:
                last = await what()
                if last:
                    return last
            except LookupError as error:
                last = error
            if invariant is not None:
                await invariant()
            await asyncio.sleep(0.003)
        raise AssertionError(f"not within {DEADLINE_S} s: {what.__name__}, last {last!r}")

    async def there(self, kind: type[Any], name: str, namespace: str = "default") -> Any:
        """The object, or LookupError."""
        try:
            return await self.store.get(kind, Key(namespace if kind.namespaced else "", name))
        except Absent as error:
            raise LookupError(error.message) from error

    async def gone(self, kind: type[Any], name: str, namespace: str = "default") -> bool:
        """Whether it is not there (any more)."""
        try:
            await self.there(kind, name, namespace)
        except LookupError:
            return True
        return False


@contextlib.asynccontextmanager
async def world(folder: Path, *, nodes: int = 1, rules: Rules | None = None) -> AsyncIterator[World]:
    """A home of controllers over a store, without programs."""
    clock = FastClock()
    store = SqliteStore(folder / "forebay.db", rules or Rules(), clock=clock)
    await store.open()
    kubelet = InstantKubelet(store, clock=clock)
    await store.create(Namespace.new("default"))
    await store.create(
        StorageClass.new("local-storage", provisioner="kubernetes.io/no-provisioner",
                         volumeBindingMode="WaitForFirstConsumer")
    )  # fmt: skip
    for number in range(nodes):
        await kubelet.register(f"node-{number}")
    own = controllers(store, clock=clock, ca_pem="the CA")
    task = asyncio.ensure_future(run_controllers(store, [*own, kubelet], clock=clock))
    try:
        yield World(store, kubelet, clock)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


def template(labels: dict[str, str], **spec: Any) -> Json:
    """A pod template with one container."""
    container = {"name": "main", "image": "forebay/test", "ports": [{"name": "http", "containerPort": 8080}]}
    return {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}}
