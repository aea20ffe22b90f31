"""A cache's content over plain HTTP, by digest: what one node gives another. Reads, and never writes.

`GET /blobs/sha256/<digest>` sends a blob (ranges, If-Match, HEAD, keep-alive; by sendfile from threads),
`GET /models` names the storage keys, `GET /models/<key>` the files of one with their digests; `/metrics` and
`/healthz` are for machines. Nothing but blobs with a whole digest as their name can be asked for, so no path
leads out of the root. It listens on loopback unless told otherwise: who may ask is not decided here.
"""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from forebay.cache import manifests
from forebay.cache.layout import Layout
from forebay.cache.root import Root
from forebay.engines.fileserver import Entry, FileBody, FileServer, Reply, Request
from forebay.errors import Damaged, Invalid
from forebay.kit.bucket import Bucket
from forebay.kit.clock import SystemClock
from forebay.kit.disk import RealDisk

_BLOB = re.compile(r"/blobs/sha256/([0-9a-f]{64})")
_MODEL = re.compile(r"/models/([a-z0-9-]+)")


class BlobServer:
    """Serves the cache below `folder` while the block lasts; `rate_bytes_s` 0: no limit."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_bytes_s: float = 0.0,
        connections_max: int = 64,
    ) -> None:
        self._root = Root(Layout(folder), RealDisk(), SystemClock())
        self.server = FileServer(self.answer, host=host, port=port)
        self.server.log_max, self.server.connections_max = 0, connections_max
        self.server.bucket, self.server.done = Bucket(rate_bytes_s), self._count
        self._lock = threading.Lock()
        self._answers: dict[int, int] = {}
        self._sent = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def __enter__(self) -> BlobServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def url(self) -> str:
        """Its address."""
        return self.server.url

    def set_rate(self, bytes_per_s: float) -> None:
        """All bodies together keep to this from now on; 0 lifts it."""
        self.server.bucket.set_rate(bytes_per_s)

    def answer(self, request: Request) -> Reply:
        """One request: pure but for reading the root."""
        path = urlsplit(request.target).path
        if request.method not in ("GET", "HEAD"):
            return Reply(405, {"Allow": "GET, HEAD"})
        if (blob := _BLOB.fullmatch(path)) is not None:
            return self._blob(blob[1])
        if path == "/models":
            return Reply.json(200, {"models": sorted(m.key for m in manifests.find_all(self._root))})
        if (model := _MODEL.fullmatch(path)) is not None:
            return self._model(model[1])
        if path == "/metrics":
            text = generate_latest(self._registry)
            return Reply(200, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}, text)
        if path == "/healthz":
            return Reply(200, {"Content-Type": "text/plain"}, b"ok\n")
        return Reply.json(404, {"error": "there are /blobs/sha256/<digest>, /models and /models/<key>"})

    def _blob(self, digest: str) -> Reply:
        path = self._root.layout.blob(digest)
        info = self._root.disk.info(path)
        if info is None or not info.plain:
            return Reply.json(404, {"error": f"no content {digest} here"})
        headers = {
            "ETag": f'"{digest}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        return Reply(200, headers, FileBody(path))

    def _model(self, key: str) -> Reply:
        try:
            found = manifests.find(self._root, key)
        except (Damaged, Invalid):
            found = None
        if found is None:
            return Reply.json(404, {"error": f"no model {key} here"})
        files = [
            {"path": f.path, "size": f.size, "sha256": f.sha256, "promised": f.promised} for f in found.files
        ]
        about = {"key": key, "uri": found.uri, "revision": found.revision, "endpoint": found.endpoint}
        return Reply.json(200, {**about, "files": files})

    def _count(self, entry: Entry) -> None:
        with self._lock:
            self._answers[entry.status] = self._answers.get(entry.status, 0) + 1
            self._sent += entry.sent

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's collector protocol."""
        with self._lock:
            answers, sent = dict(self._answers), self._sent
        counted = CounterMetricFamily("forebay_blobs_requests", "Requests by status code", labels=["code"])
        for status, count in sorted(answers.items()):
            counted.add_metric([str(status)], count)
        yield counted
        yield CounterMetricFamily("forebay_blobs_sent_bytes", "Bytes of bodies sent", value=sent)
        refused = self.server.refused
        yield CounterMetricFamily(
            "forebay_blobs_refused", "Connections refused for their number", value=refused
        )
        open_now = self.server.open_now
        yield GaugeMetricFamily("forebay_blobs_connections", "Connections that are open", value=open_now)


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal comes; prints `listening on URL` first."""
    parser = argparse.ArgumentParser(prog="forebay blobs", description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path, help="a node group's folder, with .forebay in it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any)")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="at most (default: 64)")
    parser.add_argument(
        "--limit-rate", type=float, default=0.0, metavar="BYTES", help="bytes a second in all"
    )
    options = parser.parse_args(argv)
    if not Layout(options.root).blobs.is_dir():
        raise Invalid(f"{options.root} is no cache: there is no {Layout(options.root).blobs}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with BlobServer(options.root, host=options.host, port=options.port, rate_bytes_s=options.limit_rate,
                    connections_max=options.connections) as blobs:  # fmt: skip
        print(f"listening on {blobs.url}", flush=True)
        stop.wait()
    return 0
