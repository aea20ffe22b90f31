"""CPU per request and latency of the gateway, beside nginx and a bare uvicorn + aiohttp proxy, in one run.

`python -m tests.bench.bench_gateway [--requests N] [--rounds N]`: everything runs on loopback and is
bounded in count: a static backend, one proxy at a time, a generator that sends a 1 KB chat request again and
again. Rounds are interleaved and the medians printed. CPU is that of the proxy's processes, from the
kernel's accounting. On a machine that does other work, read ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

_MESSAGES = [{"role": "user", "content": "x" * 950}]
BODY = json.dumps({"model": "m", "messages": _MESSAGES, "max_tokens": 16}).encode()
REPLY = json.dumps({"object": "chat.completion", "choices": [{"message": {"content": "y" * 200}}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1\r\n"
    b"Accept: application/json\r\n"
    b"Authorization: Bearer none\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY
)
PACED_RPS = 200
NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log {dir}/access.log; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


# programs under test, each in a process of its own


class Static(asyncio.Protocol):
    """A backend that reads a request whole and answers at once."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = int(
                self.buffer[:head].lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0
            )
            if len(self.buffer) < head + 4 + length:
                return
            self.buffer = self.buffer[head + 4 + length :]
            self.transport.write(RESPONSE)


async def run_backend(port: int, _: int) -> None:
    server = await asyncio.get_running_loop().create_server(Static, "127.0.0.1", port)
    await server.serve_forever()


async def run_gateway(port: int, backend: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from forebay.gateway.serve import Gateway
    from tests.fakes.gateway_world import objects
    from tests.fakes.object_store import ObjectStore

    store = ObjectStore()
    await store.put(*objects("m", ports=(backend,)))
    gateway = Gateway(store, log=sys.stdout)  # type: ignore[arg-type]
    await gateway.start(host="127.0.0.1", port=port)
    await asyncio.Event().wait()


async def run_aiohttp(port: int, backend: int) -> None:
    import aiohttp
    import uvicorn

    async with aiohttp.ClientSession() as session:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            body = (await receive())["body"]
            headers = {
                name.decode(): value.decode() for name, value in scope["headers"] if name != b"content-length"
            }
            url = f"http://127.0.0.1:{backend}{scope['path']}"
            async with session.request(scope["method"], url, data=body, headers=headers) as answer:
                start = {"type": "http.response.start", "status": answer.status}
                await send(
                    {
                        **start,
                        "headers": [(k.lower().encode(), v.encode()) for k, v in answer.headers.items()],
                    }
                )
                async for piece in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})

        config = uvicorn.Config(
            app, "127.0.0.1", port, log_level="warning", loop="uvloop", http="httptools", lifespan="off"
        )
        await uvicorn.Server(config).serve()


ROLES = {"backend": run_backend, "gateway": run_gateway, "uvicorn+aiohttp": run_aiohttp}


# measuring


@dataclass(frozen=True)
class Round:
    """Microseconds of CPU per request, requests per second, latencies in milliseconds."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float


class Generator(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again."""

    def __init__(self) -> None:
        self.got = b""
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(REPLY) and self.done is not None:
            if not self.got.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(AssertionError(self.got[:80]))
            else:
                self.done.set_result(None)
            self.got = b""

    async def ask(self) -> float:
        self.done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.transport.write(REQUEST)
        async with asyncio.timeout(10):
            await self.done
        return (time.perf_counter() - began) * 1000


async def load(port: int, *, requests: int, connections: int, rps: float) -> tuple[list[float], float]:
    """Latencies and seconds; `rps` 0 means as fast as the connections allow."""
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(Generator, "127.0.0.1", port))[1] for _ in range(connections)]
    for client in made:
        await client.ask()
    each, began = requests // connections, time.perf_counter()

    async def work(client: Generator, slot: int) -> list[float]:
        out = []
        for turn in range(each):
            if rps:
                await asyncio.sleep(began + (turn * connections + slot) / rps - time.perf_counter())
            out.append(await client.ask())
        return out

    results = await asyncio.gather(*(work(client, slot) for slot, client in enumerate(made)))
    seconds = time.perf_counter() - began
    for client in made:
        client.transport.close()
    return [value for part in results for value in part], seconds


def cpu_s(pids: list[int]) -> float:
    """Seconds on a CPU of all threads, to the nanosecond (the first field of schedstat)."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def measure(port: int, pids: list[int], **how: Any) -> Round:
    before = cpu_s(pids)
    latencies, seconds = uvloop.run(load(port, **how))
    cpu_us = (cpu_s(pids) - before) / len(latencies) * 1e6
    cut = statistics.quantiles(latencies, n=100)
    return Round(cpu_us, len(latencies) / seconds, cut[49], cut[98])


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextmanager
def child(argv: list[str], port: int) -> Iterator[int]:
    """A process that listens on `port` within ten seconds; ended by its pid."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{argv[:4]} does not listen")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
        process.kill()
        process.wait()


@contextmanager
def target(name: str, backend: int, scratch: Path) -> Iterator[tuple[int, list[int]]]:
    """(port, pids) of one running proxy; `direct` is the backend itself."""
    if name == "direct":
        yield backend, []
        return
    port = free_port()
    if name != "nginx":
        argv = [sys.executable, __file__, "--role", name, "--port", str(port), "--backend", str(backend)]
        with child(argv, port) as pid:
            yield port, [pid]
        return
    config = scratch / "nginx.conf"
    config.write_text(NGINX.format(dir=scratch, port=port, backend=backend))
    with child([shutil.which("nginx") or "nginx", "-c", str(config)], port) as pid:
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        yield port, [pid, *map(int, workers)]


def bench(*, requests: int, rounds: int, connections: int) -> None:
    names = ["direct", "gateway", "uvicorn+aiohttp"]
    if shutil.which("nginx"):
        names.insert(1, "nginx")
    else:
        print("nginx is not installed (Debian: nginx-light); the table lacks it")
    found: dict[tuple[str, str], list[Round]] = {}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        argv = [sys.executable, __file__, "--role", "backend", "--port", str(port)]
        with child(argv, port):
            for _ in range(rounds):
                for name in names:
                    with target(name, port, Path(folder)) as (at, pids):
                        uvloop.run(load(at, requests=400, connections=connections, rps=0))  # warm
                        paced = measure(
                            at, pids, requests=PACED_RPS * 3, connections=connections, rps=PACED_RPS
                        )
                        found.setdefault((name, "200 rps"), []).append(paced)
                        free = measure(at, pids, requests=requests, connections=connections, rps=0)
                        found.setdefault((name, "max"), []).append(free)
    report(found, connections)


def report(found: dict[tuple[str, str], list[Round]], connections: int) -> None:
    print(f"1 KB chat request, {connections} connections, medians")
    print(f"{'proxy':<18}{'load':<9}{'CPU us/request':>15}{'best':>8}", end="")
    print(f"{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for (name, mode), rounds in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):

        def middle(field: str, rounds: list[Round] = rounds) -> float:
            return statistics.median(getattr(one, field) for one in rounds)

        best = min(one.cpu_us for one in rounds)
        print(
            f"{name:<18}{mode:<9}{middle('cpu_us'):>15.0f}{best:>8.0f}{middle('rps'):>12.0f}"
            f"{middle('p50_ms'):>9.2f}{middle('p99_ms'):>9.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--role", choices=sorted(ROLES))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--backend", type=int, default=0)
    args = parser.parse_args()
    if args.role:
        uvloop.run(ROLES[args.role](args.port, args.backend))
    else:
        bench(requests=args.requests, rounds=args.rounds, connections=args.connections)


if __name__ == "__main__":
    main()
