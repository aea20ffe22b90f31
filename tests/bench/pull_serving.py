"""Serving and warming for the pull bench: our file server beside nginx (D12), the page cache (D13, D14)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.pull_cases import origin
from tests.bench.pull_measure import Bench, available, evict, process_s, warm

NGINX = """
worker_processes auto; pid {root}/nginx.pid; error_log {root}/nginx.err; daemon off;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {root}/nginx-body; proxy_temp_path {root}/nginx-proxy;
  fastcgi_temp_path {root}/nginx-fcgi; uwsgi_temp_path {root}/nginx-uwsgi; scgi_temp_path {root}/nginx-scgi;
  server {{ listen 127.0.0.1:{port} backlog=512; root {root}/s3; }}
}}
"""
WARM = """
import json, resource, sys, time
from pathlib import Path
from forebay.cache.prewarm import prewarm, resident_share
paths = [Path(p) for p in sys.argv[1:]]
before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
warmed = prewarm(paths)
after, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - start
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"resident": min(resident_share(p) for p in paths), "cpu": cpu, "wall": wall,
                  "bytes": warmed.bytes}))
"""
LOAD = """
import json, sys, time
import numpy
start = time.monotonic()
seen = 0
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        tensors = json.loads(file.read(length))
    body = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + length)
    for about in tensors.values():
        first, end = about["data_offsets"]
        seen += int(body[first:end:4096].sum())  # every page once, as a loader's copy to a device does
print(json.dumps(time.monotonic() - start))
"""


@contextlib.contextmanager
def nginx(bench: Bench) -> Iterator[tuple[str, list[int]]]:
    """nginx over the same files: its address and the processes that work."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    # As on our own server: bbr paces loopback to half its speed. nginx takes over sockets named in NGINX.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    port = listener.getsockname()[1]
    conf = bench.root / "nginx.conf"
    conf.write_text(("user root;" if os.geteuid() == 0 else "") + NGINX.format(root=bench.root, port=port))
    env = {**os.environ, "NGINX": f"{listener.fileno()};"}
    child = subprocess.Popen(
        ["nginx", "-c", str(conf)], stderr=subprocess.DEVNULL, env=env, pass_fds=[listener.fileno()]
    )
    listener.close()
    try:
        while len(family := _family(child.pid)) < 2 and child.poll() is None:
            time.sleep(0.02)  # the socket answers before anybody works
        yield f"http://127.0.0.1:{port}", family
    finally:
        child.terminate()
        child.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def serving(bench: Bench) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """D12: (server, connections) to [(bytes per second, CPU seconds per GB)], one pair per round."""
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(origin(bench, "near"))
        servers = {"forebay": (ours.urls["s3"], [bench.origin_pid])}
        if shutil.which("nginx"):
            servers["nginx"] = stack.enter_context(nginx(bench))
        for number in range(bench.rounds):
            asked = [(name, count) for name in servers for count in (1, 4)]
            random.Random(number).shuffle(asked)
            for name, count in asked:
                url, pids = servers[name]
                seen.setdefault((name, count), []).append(_take(bench, url, pids, count))
    for (name, count), pairs in seen.items():
        text = ", ".join(f"{rate / 1e9:.2f} GB/s {cpu:.2f} CPU s/GB" for rate, cpu in pairs)
        print(f"  serving: {name}, {count} connections: {text}", flush=True)
    return seen


def _take(bench: Bench, url: str, pids: list[int], count: int) -> tuple[float, float]:
    shards = [f"{url}/bkt/m/{p.name}" for p in sorted((bench.root / "s3/bkt/m").glob("*.safetensors"))]
    argv = ["curl", "-sSf", "-Z", "--parallel-max", str(count), "--parallel-immediate"]
    argv += [w for shard in shards for w in ("-o", "/dev/null", shard)]
    before, start = sum(map(process_s, pids)), time.monotonic()
    subprocess.run(argv if count > 1 else [w for w in argv if not w.startswith("-Z")], check=True)
    wall = time.monotonic() - start
    return bench.bytes / wall, (sum(map(process_s, pids)) - before) / bench.gb


def warming(bench: Bench) -> tuple[list[dict[str, float]], list[tuple[float, float]]]:
    """D13 and D14: what each pre-warm did, and (load after it, cold load) in seconds."""
    shards = sorted((bench.root / "s3/bkt/m").glob("*.safetensors"))
    warmed, loads = [], []
    for number in range(bench.rounds):
        cold = _cold(bench, shards) if number % 2 else 0.0
        _forget(bench, shards)
        warmed.append(_child(WARM, shards))
        hot = _child(LOAD, shards)
        cold = cold or _cold(bench, shards)
        loads.append((float(hot), float(cold)))
        print(f"  pre-warm {warmed[-1]}, load {hot:.2f} s, cold {cold:.2f} s", flush=True)
    return warmed, loads


def _cold(bench: Bench, shards: list[Path]) -> float:
    _forget(bench, shards)
    return float(_child(LOAD, shards))


def _forget(bench: Bench, shards: list[Path]) -> None:
    """Files out of memory, and memory as warm as it gets: all that is free but two gigabytes.

    Less is not enough: the kernel may give a file pages that the host has taken back, at 2 s for each GB.
    """
    evict(shards)
    warm(max(int(bench.gb * 1.2e9), available() - (2 << 30)))


def _child(code: str, shards: list[Path]):  # type: ignore[no-untyped-def]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, shards)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)
