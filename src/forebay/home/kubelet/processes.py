"""The home's side of a pod's supervisor."""

from __future__ import annotations

import asyncio
import itertools
import marshal
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.errors import Unavailable

SUPERVISOR = Path(__file__).with_name("supervisor.py")
POD_DIR = "FOREBAY_POD_DIR"  # in the environment of every process of a pod: how a later life finds leftovers
CONTAINER = "FOREBAY_CONTAINER"


@dataclass(frozen=True)
class Launch:
    """A process to start: `log` is the file for its output, or "" to have the last 10 KiB with its exit."""

    id: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    log: str = ""


@dataclass(frozen=True)
class Exited:
    """How a process ended; `at` in seconds since the epoch, `signal` 0 if it left by itself."""

    code: int
    signal: int
    at: float
    oom: bool
    output: bytes


class StartFailed(Unavailable):
    """The program could not be started (not found, not executable, no such working directory)."""


class PodProcesses:
    """One supervisor. `on_exit(id, exited)` is called for every process that ends, also when the supervisor
    does.
    """

    def __init__(self, pod_dir: Path, on_exit: Callable[[str, Exited], None]) -> None:
        self._dir, self._on_exit = pod_dir, on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starts: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._alive: dict[str, int] = {}
        self._execs: dict[str, asyncio.Future[Exited]] = {}
        self._numbers = itertools.count(1)

    @property
    def pids(self) -> dict[str, int]:
        """First process of every running container and exec."""
        return dict(self._alive)

    async def start(self, launch: Launch) -> tuple[int, float]:
        """Start a process; its pid and the moment, seconds since the epoch. Raises StartFailed."""
        await self._ensure()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._starts[launch.id] = answer
        env = {**launch.env, POD_DIR: str(self._dir), CONTAINER: launch.id}
        self._send(do="start", id=launch.id, argv=list(launch.argv), env=env, cwd=launch.cwd, log=launch.log)
        event = await answer
        if event["event"] == "failed":
            raise StartFailed(f'exec: "{launch.argv[0]}": {event["text"]}', reason=str(event["errno"]))
        return event["pid"], event["at"]

    def signal(self, id: str, sig: int) -> None:
        """Signal a container's process group; SIGKILL reaches everything it left behind too."""
        if id in self._alive:
            self._send(do="signal", id=id, sig=int(sig))

    async def run(self, launch: Launch, *, timeout_s: float) -> Exited:
        """Run a command to its end beside the containers (exec probes and hooks). Raises StartFailed,
        TimeoutError.
        """
        id = f"{launch.id}#{next(self._numbers)}"
        done: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()
        self._execs[id] = done
        try:
            async with asyncio.timeout(timeout_s):
                await self.start(Launch(id, launch.argv, launch.env, launch.cwd))
                return await done
        finally:
            self._execs.pop(id, None)
            self.signal(id, signal.SIGKILL)

    async def close(self) -> None:
        """Close the pipe, so that the supervisor kills what runs, and wait for it."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(12):
                await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _ensure(self) -> None:
        if self._process is not None and self._process.returncode is None:
            return
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(SUPERVISOR), stdin=-1, stdout=-1, start_new_session=True,
            cwd="/", env={"PATH": os.environ.get("PATH", os.defpath), POD_DIR: str(self._dir)},
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process), name=f"supervisor {self._dir.name}")

    def _send(self, **command: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        data = marshal.dumps(command)
        with suppress(ConnectionError):
            self._process.stdin.write(len(data).to_bytes(4, "big") + data)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await process.stdout.readexactly(4), "big")
                self._take(marshal.loads(await process.stdout.readexactly(size)))
        self._lost()

    def _take(self, event: dict[str, Any]) -> None:
        id = event["id"]
        if event["event"] == "exited":
            self._alive.pop(id, None)
            self._ended(
                id, Exited(event["code"], event["signal"], event["at"], event["oom"], event["output"])
            )
            return
        if event["event"] == "started":
            self._alive[id] = event["pid"]
        answer = self._starts.pop(id, None)
        if answer is not None and not answer.done():
            answer.set_result(event)

    def _ended(self, id: str, exited: Exited) -> None:
        if "#" not in id:
            self._on_exit(id, exited)
        elif id in self._execs and not self._execs[id].done():
            self._execs[id].set_result(exited)

    def _lost(self) -> None:
        """The supervisor ended: its children got the parent-death signal, and their own children are looked
        for.
        """
        for answer in self._starts.values():
            if not answer.done():
                answer.set_result({"event": "failed", "errno": 0, "text": "the pod's supervisor ended"})
        self._starts.clear()
        if self._alive:
            kill_leftovers(self._dir)
        for id in list(self._alive):
            del self._alive[id]
            self._ended(id, Exited(137, signal.SIGKILL, time.time(), False, b""))


def kill_leftovers(below: Path) -> int:
    """Kill every process of this user that carries the marker of a pod folder at or below `below`; how many.

    Only for folders this home holds the lock of: whatever carries the marker is from an earlier life.
    """
    killed = 0
    wanted = f"{POD_DIR}={below}".encode()
    for _ in range(100):
        found = [pid for pid in _pids() if _carries(pid, wanted)]
        if not found:
            return killed
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _carries(pid: int, wanted: bytes) -> bool:
    """True if the environment has the marker; a zombie's is empty."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(line == wanted or line.startswith(wanted + b"/") for line in environ.split(b"\0"))
