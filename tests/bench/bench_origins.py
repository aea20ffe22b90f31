"""Origins for the pull bench, in a process of their own: a hub, an S3 of plain files, far and broken
variants.

`python -m tests.bench.bench_origins ROOT KIND` prints one JSON line with addresses. ROOT/hub holds
repositories, ROOT/s3 holds buckets. KIND: near (hub and S3), tls (both, with ROOT/tls.pem), far (S3 that
paces each connection, and waits before it is taken and before each answer), drops (S3 that cuts connections).
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import sys
import time
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from forebay.engines import fileserver
from forebay.engines.fileserver import FileBody, FileServer, Reply, Request
from forebay.engines.hub import Hub, HubSettings

HOST = "127.0.0.1"
FAR_RATE = 75e6
FAR_ANSWER_S = 0.04
FAR_CONNECT_S = 0.08


def s3_answer(root: Path, request: Request, page: int = 1000) -> Reply:
    """ListObjectsV2 and GET over folders, without signatures."""
    parts = urlsplit(request.target)
    path = unquote(parts.path).lstrip("/")
    query = parse_qs(parts.query)
    if "list-type" not in query:
        full = root / path
        if full.is_dir() and full.parent == root:  # the bucket; no folder is an object
            return Reply(200, {"x-amz-bucket-region": "us-east-1"})
        if not full.is_file():
            return Reply(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        stat = full.stat()
        return Reply(
            200,
            {"ETag": f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"', "Accept-Ranges": "bytes",
             "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"},
            FileBody(full),
        )  # fmt: skip
    bucket = root / path.strip("/")
    prefix = query.get("prefix", [""])[0]
    keys = _keys(bucket)
    keys = [k for k in keys if k.startswith(prefix) and k > query.get("continuation-token", [""])[0]]
    items = []
    for key in keys[:page]:
        stat = (bucket / key).stat()
        items.append(
            f"<Contents><Key>{escape(key)}</Key><Size>{stat.st_size}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{stat.st_size:x}-{stat.st_mtime_ns:x}"</ETag><StorageClass>STANDARD</StorageClass></Contents>'
        )
    more = len(keys) > page
    tail = f"<NextContinuationToken>{escape(keys[page - 1])}</NextContinuationToken>" if more else ""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{bucket.name}</Name>'
        f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(items)}</KeyCount><MaxKeys>{page}</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{tail}{''.join(items)}</ListBucketResult>"
    )
    return Reply(200, {"Content-Type": "application/xml"}, body.encode())


@cache
def _keys(bucket: Path) -> list[str]:
    return sorted(p.relative_to(bucket).as_posix() for p in bucket.rglob("*") if p.is_file())


class Slow:
    """sendfile, paced per connection: what a far origin looks like. Pieces are sent when they are due."""

    def __init__(self, sendfile, rate: float, drops: random.Random | None) -> None:  # type: ignore[no-untyped-def]
        self._sendfile, self._rate, self._drops = sendfile, rate, drops
        self._left: dict[int, float] = {}
        self._due: dict[int, float] = {}

    def __call__(self, out: int, file: int, offset: int, count: int) -> int:
        if self._drops is not None:
            left = self._left.setdefault(out, self._drops.uniform(20e6, 60e6))
            if left <= 0:
                del self._left[out]
                raise OSError("dropped on purpose")
            count = min(count, int(left) + 1)
        if self._rate:
            count = min(count, 1 << 20)
            now = time.monotonic()
            due = max(now, self._due.get(out, 0.0))
            time.sleep(max(0.0, due - now))
            self._due[out] = due + count / self._rate
        sent = int(self._sendfile(out, file, offset, count))
        if self._drops is not None:
            self._left[out] -= sent
        return sent


class FarServer(FileServer):
    """Waits before a connection is served, as a handshake over a long way does."""

    def _serve(self, plain: socket.socket) -> None:
        time.sleep(FAR_CONNECT_S)
        super()._serve(plain)


def servers(root: Path, kind: str) -> dict[str, FileServer]:
    """The servers of a kind by name."""
    tls = None
    if kind == "tls":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(root / "tls.pem")
    if kind in ("near", "tls"):
        hub = Hub(HubSettings(root / "hub"), tls=tls).server
        return {"hub": hub, "s3": FileServer(lambda r: s3_answer(root / "s3", r), host=HOST, port=0, tls=tls)}

    def answer(request: Request) -> Reply:
        time.sleep(FAR_ANSWER_S if kind == "far" else 0)
        return s3_answer(root / "s3", request)

    slow = Slow(os.sendfile, FAR_RATE if kind == "far" else 0, random.Random(7) if kind == "drops" else None)
    fileserver.os = type("slow", (), {"sendfile": slow, "fstat": os.fstat})  # type: ignore[assignment]
    return {"s3": (FarServer if kind == "far" else FileServer)(answer, host=HOST, port=0)}


def main() -> int:
    """Serve what the first argument names until a signal comes."""
    made = servers(Path(sys.argv[1]), sys.argv[2])
    for server in made.values():
        # bbr paces loopback to half its speed; accepted connections inherit what the listener says.
        server._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        server.start()
    print(json.dumps({name: server.url for name, server in made.items()}), flush=True)

    def tell(*_: object) -> None:
        log = [entry for server in made.values() for entry in server.log]
        files = sum(
            e.sent for e in log if e.sent > 0 and "list-type" not in e.target and "/api/" not in e.target
        )
        print(json.dumps({"sent": files, "requests": len(log)}), flush=True)
        for server in made.values():
            server.log.clear()

    signal.signal(signal.SIGUSR1, tell)
    while True:
        signal.pause()


if __name__ == "__main__":
    raise SystemExit(main())
