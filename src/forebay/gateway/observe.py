"""Counts per service, and one line per request.

Counting is a few additions on plain objects; the exposition format is made only when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quoted
from typing import TextIO

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from forebay.api.meta import Key
from forebay.gateway.site import GatewaySite
from forebay.kit.http1 import Exchange

BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
)
FLUSH_S = 0.2
LINES_MAX = 10_000
_NOBODY = Key("", "")


class Histogram:
    """Counts per bucket, and the sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, count up to it), as the exposition format wants them."""
        seen, out = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], self.counts, strict=True):
            seen += count
            out.append((bound, float(seen)))
        return out


class _PerService:
    __slots__ = ("by_code", "duration", "first_body", "first_byte", "wait")

    def __init__(self) -> None:
        self.by_code: dict[int, int] = {}
        self.duration, self.wait = Histogram(), Histogram()
        self.first_byte, self.first_body = Histogram(), Histogram()


class Observer:
    """Takes finished exchanges; gives metrics, and an access log as JSON lines."""

    def __init__(self, *, log: TextIO | None = sys.stdout) -> None:
        self._services: dict[Key, _PerService] = {}
        self._log = log
        self._lines: list[str] = []
        self.has_lines = asyncio.Event()
        self._dropped = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self.site: GatewaySite | None = None

    def done(self, exchange: Exchange) -> None:
        """Count one finished exchange."""
        label = exchange.label
        key = label if isinstance(label, Key) else _NOBODY
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = _PerService()
        service.by_code[exchange.status] = service.by_code.get(exchange.status, 0) + 1
        service.duration.add(exchange.t_end - exchange.t_start)
        if exchange.t_first:
            service.first_byte.add(exchange.t_first - exchange.t_start)
            service.wait.add(exchange.t_wait - exchange.t_routed)
            if exchange.t_body:
                service.first_body.add(exchange.t_body - exchange.t_start)
        if self._log is not None:
            self._add_line(exchange, key)

    def _add_line(self, exchange: Exchange, key: Key) -> None:
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            return
        if not self._lines:
            self.has_lines.set()
        self._lines.append(log_line(exchange, key, time.time()))

    def flush(self) -> None:
        """Write the lines gathered so far, in one write."""
        if self._dropped:
            self._lines.append(json.dumps({"log": "access", "dropped": self._dropped}))
            self._dropped = 0
        if self._lines and self._log is not None:
            self._log.write("\n".join(self._lines) + "\n")
            self._log.flush()
        self._lines.clear()
        self.has_lines.clear()

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's collector protocol."""
        names = ["namespace", "service"]
        requests = CounterMetricFamily(
            "forebay_gateway_requests", "Finished requests by status code", labels=[*names, "code"]
        )
        for key, service in self._services.items():
            for code, count in service.by_code.items():
                requests.add_metric([*key, str(code)], count)
        yield requests
        yield self._histogram(
            "duration_seconds", "From the request's head to the end of its answer", "duration"
        )
        yield self._histogram(
            "first_byte_seconds", "From the request's head to the head of the backend's answer", "first_byte"
        )
        yield self._histogram(
            "first_body_seconds",
            "From the request's head to the first bytes of the answer's body",
            "first_body",
        )
        yield self._histogram("wait_seconds", "Waiting for a ready backend", "wait")
        yield from self._gauges(names)

    def _histogram(self, name: str, text: str, attribute: str) -> Metric:
        family = HistogramMetricFamily(f"forebay_gateway_{name}", text, labels=["namespace", "service"])
        for key, service in self._services.items():
            histogram: Histogram = getattr(service, attribute)
            family.add_metric(list(key), histogram.cumulative(), histogram.total)
        return family

    def _gauges(self, names: list[str]) -> Iterable[Metric]:
        in_flight = GaugeMetricFamily("forebay_gateway_in_flight", "Requests under way", labels=names)
        waiting = GaugeMetricFamily(
            "forebay_gateway_waiting", "Requests that wait for a backend", labels=names
        )
        backends = GaugeMetricFamily("forebay_gateway_backends", "Ready backends", labels=names)
        for key, group in (self.site.groups if self.site else {}).items():
            in_flight.add_metric(list(key), group.in_flight)
            waiting.add_metric(list(key), len(group.waiting))
            backends.add_metric(list(key), len(group.backends))
        version = GaugeMetricFamily(
            "forebay_gateway_route_table_version", "Grows with each change of the routes"
        )
        version.add_metric([], self.site.table.version if self.site else 0)
        return in_flight, waiting, backends, version


def log_line(exchange: Exchange, key: Key, now: float) -> str:
    """One JSON object: milliseconds per phase, no query string (it may carry a token)."""
    request, start = exchange.request, exchange.t_start
    marks = (exchange.t_routed, exchange.t_wait, exchange.t_connected, exchange.t_first, exchange.t_body)
    spans: list[float] = []
    before = start
    for mark in marks:
        spans.append((mark - before) * 1000 if mark else 0.0)
        before = mark or before
    why = f',"why":{quoted(exchange.why)}' if exchange.why else ""
    address = exchange.backend_address
    backend = address if isinstance(address, str) else f"{address[0]}:{address[1]}" if address else ""
    return (
        f'{{"log":"access","time":{now:.3f},"id":{quoted(request.id.decode("latin-1"))},'
        f'"client":"{request.peer}","method":"{request.method.decode("latin-1")}","path":{quoted(request.path)},'
        f'"service":"{key if key.name else ""}","backend":"{backend}","status":{exchange.status},'
        f'"attempts":{exchange.attempts},"bytes_in":{exchange.request_bytes},"bytes_out":{exchange.response_bytes},'
        f'"route_ms":{spans[0]:.3f},"wait_ms":{spans[1]:.3f},"connect_ms":{spans[2]:.3f},"first_byte_ms":{spans[3]:.3f},'
        f'"first_body_ms":{spans[4]:.3f},"streamed":{"true" if exchange.streamed else "false"},'
        f'"total_ms":{(exchange.t_end - start) * 1000:.3f}{why}}}'
    )
