"""The gateway program: informers feed the route table, the proxy serves from it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TextIO

from forebay.api.kinds import EndpointSlice, InferenceService, Service
from forebay.gateway.observe import FLUSH_S, Observer
from forebay.gateway.routes import build
from forebay.gateway.settings import DRAIN_S, LIMITS, LINGER_S
from forebay.gateway.site import GatewaySite
from forebay.kit.clock import SystemClock
from forebay.kit.http1 import Limits, ProxyServer
from forebay.store.informer import Informer
from forebay.store.protocol import Store


class Gateway:
    """A running data plane over one store. start(), then stop(); `address` in between."""

    def __init__(self, store: Store, *, limits: Limits = LIMITS, log: TextIO | None = sys.stdout) -> None:
        clock = SystemClock()
        self._services = Informer(store, Service, clock=clock)
        self._slices = Informer(store, EndpointSlice, clock=clock)
        self._isvcs = Informer(store, InferenceService, clock=clock)
        self._synced = False
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.observer = Observer(log=log)
        self.site = GatewaySite(
            ready=lambda: self._synced and not self.proxy.stopping,
            metrics=self.observer.exposition,
            done=self.observer.done,
        )
        self.observer.site = self.site
        self.proxy = ProxyServer(self.site, limits)
        self.address = ("", 0)

    async def start(self, *, host: str, port: int) -> tuple[str, int]:
        """Listen at once; requests before the first full list wait for it. Raises OSError."""
        loop = asyncio.get_running_loop()
        for informer in (self._services, self._slices, self._isvcs):
            self._tasks.append(loop.create_task(informer.run(self._changed)))
        self._tasks.append(loop.create_task(self._keep_table()))
        self._tasks.append(loop.create_task(self._keep_log()))
        self.proxy.groups = self.site.groups.values()
        self.address = await self.proxy.start(host=host, port=port)
        return self.address

    def _changed(self, *_: object) -> None:
        self._dirty.set()

    async def _keep_table(self) -> None:
        for informer in (self._services, self._slices, self._isvcs):
            await informer.wait_synced()
        while True:
            self._dirty.clear()
            table = build(
                self._services.items.values(), self._slices.items.values(), self._isvcs.items.values(),
                before=self.site.table,
            )  # fmt: skip
            self.site.take(table)
            self._synced = True
            await self._dirty.wait()
            await asyncio.sleep(0.005)  # a rollout comes as a burst of events: one table for all of them

    async def _keep_log(self) -> None:
        while True:
            await self.observer.has_lines.wait()
            await asyncio.sleep(FLUSH_S)
            self.observer.flush()

    async def stop(self, *, deadline_s: float, linger_s: float = 0.0) -> int:
        """Finish what is under way; returns how many requests had to be cut."""
        cut = await self.proxy.stop(deadline_s=deadline_s, linger_s=linger_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.observer.flush()
        return cut


async def run_gateway(store: Store, *, host: str, port: int) -> None:
    """Serve until cancelled, then drain. Raises OSError when the address is taken."""
    gateway = Gateway(store)
    address = await gateway.start(host=host, port=port)
    _say("listening", host=address[0], port=address[1])
    try:
        await asyncio.Event().wait()
    finally:
        _say("stopped", cut=await gateway.stop(deadline_s=DRAIN_S, linger_s=LINGER_S))


def _say(event: str, **facts: object) -> None:
    print(json.dumps({"log": "gateway", "event": event, **facts}), flush=True)
