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
START_S, CLOSE_S = 30.0, 12.0  # how long a supervisor may take to start a process; to kill everything and end
KILL_S = 5.0  # and to tell that a process it was to kill has ended


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
    """One supervisor. `on_exit(id, exited)` is called for every process that ends, whatever ended it."""

    def __init__(self, pod_dir: Path, on_exit: Callable[[str, Exited], None]) -> None:
        self._dir, self._on_exit = pod_dir, on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starts: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._alive: dict[str, int] = {}
        self._execs: dict[str, asyncio.Future[Exited]] = {}
        self._numbers = itertools.count(1)
        self._beginning = asyncio.Lock()  # a restart and a probe may both find that the supervisor is gone
        self._closed = False

    @property
    def pids(self) -> dict[str, int]:
        """First process of every running container and exec."""
        return dict(self._alive)

    async def start(self, launch: Launch) -> tuple[int, float]:
        """Start a process; its pid and the moment, seconds since the epoch. Raises StartFailed."""
        async with self._beginning:
            await self._ensure()
        if self._closed or self._reader is None or self._reader.done():
            raise StartFailed("the pod's supervisor ended: the pod is being stopped")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._starts[launch.id] = answer
        env = {**launch.env, POD_DIR: str(self._dir), CONTAINER: launch.id}
        self._send(do="start", id=launch.id, argv=list(launch.argv), env=env, cwd=launch.cwd, log=launch.log)
        try:
            async with asyncio.timeout(START_S):
                event = await answer
        except TimeoutError as error:
            self._kill_supervisor()  # it hangs in the kernel or was stopped; what it started goes with it
            raise StartFailed(f"the pod's supervisor did not answer in {START_S:.0f} s") from error
        if event["event"] == "failed":
            raise StartFailed(f'exec: "{launch.argv[0]}": {event["text"]}', reason=str(event["errno"]))
        return event["pid"], event["at"]

    def signal(self, id: str, sig: int) -> None:
        """Signal a container's process group; SIGKILL reaches everything it left behind too.

        A supervisor that does not carry that out (it was stopped, or hangs in the kernel) is killed itself.
        """
        if id in self._alive:
            self._send(do="signal", id=id, sig=int(sig))
            if sig == signal.SIGKILL:
                asyncio.get_running_loop().call_later(KILL_S, self._insist, id, self._alive[id])

    def _insist(self, id: str, pid: int) -> None:
        if self._alive.get(id) == pid:
            self._kill_supervisor()

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
        """Close the pipe: the supervisor kills what runs. Waits for it; nothing starts any more."""
        self._closed = True
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            self._kill_supervisor()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    def _kill_supervisor(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _ensure(self) -> None:
        if self._process is not None and self._reader is not None:
            if self._process.returncode is None and not self._reader.done():
                return
            self._kill_supervisor()  # its pipe is closed: it is about to end, if it has not
            await self._process.wait()
            await self._reader  # first all that it took along is told as lost
        env = {"PATH": os.environ.get("PATH", os.defpath), POD_DIR: str(self._dir)}
        command = (sys.executable, "-I", "-S", str(SUPERVISOR))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=-1, stdout=-1, start_new_session=True, cwd="/", env=env
            )
        except OSError as error:  # no processes or files left
            raise StartFailed(f"the pod's supervisor cannot be started: {error.strerror}") from error
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
            if "#" in id and id not in self._execs:
                self.signal(id, signal.SIGKILL)  # nobody waits for this command any more
        answer = self._starts.pop(id, None)
        if answer is not None and not answer.done():
            answer.set_result(event)

    def _ended(self, id: str, exited: Exited) -> None:
        if "#" not in id:
            self._on_exit(id, exited)
        elif id in self._execs and not self._execs[id].done():
            self._execs[id].set_result(exited)

    def _lost(self) -> None:
        """The supervisor ended: its children got the parent-death signal, and theirs are looked for."""
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
    """Kill every process of this user that an earlier life of the pods at or below `below` left; how many.

    Only for folders this home holds the lock of. A leftover carries the marker of a pod folder in its
    environment; one that wiped it is known by being an orphan whose working directory is in a pod's folder.
    """
    killed: set[int] = set()
    for _ in range(100):  # until none is left: what hid behind a dying parent is an orphan only afterwards
        found = [pid for pid in _pids() if _carries(pid, below) or _stray(pid, below)]
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
    return len(killed)


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _carries(pid: int, below: Path) -> bool:
    """True if the environment has the marker; a zombie's is empty."""
    wanted = f"{POD_DIR}={below}".encode()
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(line == wanted or line.startswith(wanted + b"/") for line in environ.split(b"\0"))


def _stray(pid: int, below: Path) -> bool:
    """True for an orphan (a child of init) that works in a pod's folder; a person's shell has a parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        here = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    parts = here.relative_to(below).parts if here.is_relative_to(below) else ()
    in_pod = parts[:1] == ("pods",) or below.parent.name == "pods"
    return fields[1] == b"1" and fields[0] not in (b"Z", b"X") and bool(parts) and in_pod
