"""Events as we write them, on a real kube-apiserver: eventTime makes it check more strictly."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from forebay.api.kinds import ConfigMap, Event, Namespace
from forebay.api.meta import Key, Resource
from forebay.errors import Clash
from forebay.kit.clock import SystemClock
from forebay.store.events import record
from forebay.store.protocol import Where
from tests.conformance.test_store import client, real_kubeconfig

__all__ = ["real_kubeconfig"]
NOW = SystemClock().now()
ABOUT = {
    "short": "m",
    "as long as a name may be": "a" * 235 + "-" + "b" * 17,
    "cut behind a dot": "a" * 235 + "." + "b" * 17,
}


@pytest.mark.kube
@pytest.mark.parametrize("message", ["plain", "é" * 1024, "line\nline", "x" * 5000], ids=range(4))
@pytest.mark.parametrize("name", ABOUT)
def test_an_event_and_its_repeat_are_accepted(real_kubeconfig: Path, name: str, message: str) -> None:
    async def body() -> None:
        store = client(real_kubeconfig)
        try:
            with contextlib.suppress(Clash):
                await store.create(Namespace.new("told"))
            about: Resource = ConfigMap.new(ABOUT[name], "told")
            about.meta["uid"] = f"{name}-{message[:3]}-{len(message)}"
            for _ in range(2):
                await record(store, about, "Warning", "Tested", message, component="forebay-control", now=NOW)
            found = await store.list(Event, Where(namespace="told"))
            [event] = [e for e in found.items if e.raw["involvedObject"]["uid"] == about.uid]
            assert event.raw["count"] == 2
            assert event.raw["message"] and message.startswith(event.raw["message"])
            assert event.raw["eventTime"].startswith(f"{NOW:%Y-%m-%dT%H:%M:%S.%f}")
            assert event.raw["reportingComponent"] == event.raw["reportingInstance"] == "forebay-control"
            assert event.raw["action"] == "Tested"
            again = await store.get(Event, Key("told", event.name))
            assert again.raw == event.raw
        finally:
            await store.close()

    asyncio.run(body())
