"""A kubelet over a real store, with real child processes: what the service tests of pods share."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from forebay.api.kinds import Event, Pod
from forebay.api.meta import Json, Key
from forebay.errors import Absent
from forebay.home.kubelet import account
from forebay.home.kubelet.kubelet import Kubelet
from forebay.home.kubelet.settings import NodeSettings
from forebay.kit.clock import SystemClock
from forebay.store.protocol import Where
from forebay.store.sqlite import SqliteStore

PYTHON = sys.executable
DEADLINE_S = 20.0


class AnyRules:
    """Stores what it is given."""

    def prepare(self, kind: Any, new: Json, old: Json | None, verb: str) -> Json:
        return new


class WallClock(SystemClock):
    """The machine's clock, until a test sets it."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)


class Home:
    """A store and one node."""

    def __init__(self, store: SqliteStore, settings: NodeSettings) -> None:
        self.store, self.settings, self.clock = store, settings, WallClock()
        self.kubelet = Kubelet(store, settings, clock=self.clock)

    async def pod(self, name: str, spec: Json, **meta: Any) -> Pod:
        """Create a pod that is bound to the node."""
        spec = {"nodeName": self.settings.name, "automountServiceAccountToken": False, **spec}
        item = Pod.new(name, "default", spec=spec)
        item.meta.update(meta)
        return await self.store.create(item)

    async def get(self, name: str) -> Pod:
        return await self.store.get(Pod, Key("default", name))

    async def until(self, name: str, true: Callable[[Pod], bool]) -> Pod:
        """The pod once `true` holds; bounded."""
        seen: list[Pod] = []

        async def holds() -> bool:
            seen.append(await self.get(name))
            return true(seen[-1])

        try:
            await eventually(holds)
        except TimeoutError:
            raise AssertionError(f"never came true for {seen[-1].raw}") from None
        return seen[-1]

    async def gone(self, name: str) -> None:
        async def absent() -> bool:
            with suppress(Absent):
                await self.get(name)
                return False
            return True

        await eventually(absent)

    def log(self, pod: Pod, container: str = "main", run: int = 0) -> str:
        folder = self.settings.log_dir(pod.namespace, pod.name, pod.uid)
        text = (folder / container / f"{run}.log").read_text()
        return "".join(line.split(" ", 3)[3] + "\n" for line in text.splitlines())

    async def events(self, pod: Pod) -> list[tuple[str, str]]:
        page = await self.store.list(Event, Where(namespace="default"))
        mine = [e.raw for e in page.items if e.raw["involvedObject"]["uid"] == pod.uid]
        return [(e["reason"], e["message"]) for e in mine]


async def eventually(holds: Any, deadline_s: float = DEADLINE_S) -> None:
    """Ask until it holds. Raises TimeoutError."""
    async with asyncio.timeout(deadline_s):
        while not await holds():
            await asyncio.sleep(0.02)


def _account_of(pod: Json) -> str:
    return f"system:serviceaccount:{pod['metadata']['namespace']}:{account.name(pod)}"


@asynccontextmanager
async def home(folder: Path, **changes: Any) -> AsyncIterator[Home]:
    """A running node in `folder`; its pods' processes are ended at the end."""
    settings = NodeSettings(
        data_dir=folder, name="worker", api_url="https://127.0.0.1:6443", ca_file=folder / "ca.crt",
        mint_token=lambda pod, _: f"token of {_account_of(pod)}", backoff_first_s=0.2, backoff_most_s=1.0,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(folder / "forebay.db", AnyRules())
    await store.open()
    made = Home(store, replace(settings, **changes))
    task = asyncio.create_task(made.kubelet.run())
    try:
        yield made
    finally:
        await made.kubelet.stop(0.5)
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
        assert processes_of(folder) == []


def processes_of(folder: Path) -> list[int]:
    """Living processes that carry the marker of a pod below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                lines = (entry / "environ").read_bytes().split(b"\0")
                if any(line.startswith(f"FOREBAY_POD_DIR={folder}/".encode()) for line in lines):
                    found.append(int(entry.name))
    return found


def sh(script: str, name: str = "main", **more: Any) -> Json:
    """A container that runs a shell script."""
    return {"name": name, "image": "shell", "command": ["sh", "-c", script], **more}


def terminated(pod: Pod, index: int = 0) -> Json:
    """The terminated state of a container; {} if it is in another one."""
    statuses = pod.status.get("containerStatuses") or []
    return statuses[index]["state"].get("terminated") or {} if statuses else {}


def is_ready(pod: Pod) -> bool:
    """The Ready condition."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or [])


def end(pid: int) -> None:
    """SIGKILL to one process that a test started."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
