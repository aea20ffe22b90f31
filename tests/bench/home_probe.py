"""What the home's benchmark looks through: the API as a bare client sees it, and the kernel's accounts."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

SETTLE_S, POLL_S = 60.0, 0.002


def until(check: Callable[[], Any], what: str, *, deadline_s: float = SETTLE_S) -> Any:
    """The first true answer of `check`, asked every two milliseconds."""
    deadline = time.monotonic() + deadline_s
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(POLL_S)
    return answer


class Api:
    """A kept connection to the API server, with nothing in between that would cost time."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text())
        cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
        self.host, self.port = cluster["server"].removeprefix("https://").split(":")
        self.tls = ssl.create_default_context()
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.tls.load_verify_locations(cadata=authority)
        self.headers = {"Authorization": f"Bearer {user['token']}", "Accept": "application/json"}
        self._line = http.client.HTTPSConnection(self.host, int(self.port), context=self.tls, timeout=60)

    def raw(self, verb: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status code and body. Raises OSError while nobody listens."""
        headers = {**self.headers, **({"Content-Type": "application/json"} if body is not None else {})}
        text = json.dumps(body) if body is not None else None
        try:
            try:
                self._line.request(verb, path, text, headers)
                answer = self._line.getresponse()
            except http.client.RemoteDisconnected:  # it was idle for too long: once more on a new one
                self._line.close()
                self._line.request(verb, path, text, headers)
                answer = self._line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._line.close()
            raise

    def __call__(self, verb: str, path: str, body: Any = None) -> Any:
        """The object; it must succeed."""
        code, text = self.raw(verb, path, body)
        assert code < 300, f"{verb} {path}: {code} {text[:300]!r}"
        return json.loads(text)

    def close(self) -> None:
        """Let the connection go; the next request opens another."""
        self._line.close()

    def find(self, path: str) -> Any:
        """The object, or None."""
        code, text = self.raw("GET", path)
        return json.loads(text) if code < 300 else None


class Watcher(threading.Thread):
    """Notes when each change of one kind arrives: `events` are (monotonic seconds, type, object)."""

    def __init__(self, api: Api, path: str) -> None:
        super().__init__(daemon=True)
        self._line = http.client.HTTPSConnection(api.host, int(api.port), context=api.tls, timeout=600)
        self._line.request("GET", path + ("&" if "?" in path else "?") + "watch=true", headers=api.headers)
        self._answer = self._line.getresponse()
        self.events: list[tuple[float, str, Any]] = []
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._answer.readline():
                now = time.monotonic()
                event = json.loads(line)
                self.events.append((now, event["type"], event["object"]))

    def first(self, match: Callable[[str, Any], Any], what: str, *, since: float = 0.0) -> tuple[float, Any]:
        """When the first change for which `match` holds came, and its object."""

        def look() -> Any:
            return next(((t, o) for t, kind, o in list(self.events) if t >= since and match(kind, o)), None)

        found: tuple[float, Any] = until(look, what)
        return found

    def close(self) -> None:
        if self._line.sock is not None:
            with suppress(OSError):
                self._line.sock.shutdown(2)


async def crowd(api: Api, path: str, *, size: int, make: Callable[[], None]) -> tuple[float, float]:
    """Seconds from the call of `make` until the first and until the last of `size` watchers heard of it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in api.headers.items())
    request = f"GET {path}?watch=true HTTP/1.1\r\nHost: {api.host}\r\n{head}\r\n".encode()
    lines = []
    for _ in range(size):
        reader, writer = await asyncio.open_connection(api.host, int(api.port), ssl=api.tls)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        lines.append((reader, writer))

    async def hears(reader: asyncio.StreamReader) -> float:
        while b"bench-crowd" not in await reader.readline():
            pass
        return time.monotonic()

    listening = [asyncio.create_task(hears(reader)) for reader, _ in lines]
    await asyncio.sleep(0)
    began = time.monotonic()
    await asyncio.to_thread(make)
    heard = await asyncio.gather(*listening)
    for _, writer in lines:
        writer.close()
    return min(heard) - began, max(heard) - began


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def memory_mb(pids: Iterable[int]) -> tuple[float, float]:
    """(RSS, PSS) of all of them, in MB of 10^6 bytes; PSS counts a shared page once."""
    rss = pss = 0
    for pid in pids:
        with suppress(OSError):
            fields = dict(
                line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            )
            rss, pss = rss + int(fields["Rss:"]), pss + int(fields["Pss:"])
    return rss * 1024 / 1e6, pss * 1024 / 1e6


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds on a CPU so far, of all their threads (schedstat's first field, in nanoseconds)."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total += int(file.read_text().split()[0]) / 1e9
    return total


def alive(pid: int) -> bool:
    """Whether a process runs (one that nobody has reaped yet does not)."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def words_of(pid: int) -> str:
    """What kind of process it is, in a word or two."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    if "supervisor.py" in line:
        return "supervisor"
    return line.partition("forebay.main ")[2].partition(" ")[0] or line[:40]
