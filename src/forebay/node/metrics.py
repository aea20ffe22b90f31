"""What Prometheus reads of one agent, and the readiness of its pod: two pages over plain HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from forebay.api.states import ModelState
from forebay.node.chores import Chores
from forebay.node.model import Seen

REQUEST_S, REQUEST_BYTES = 5.0, 16 << 10
_TYPES = {"/metrics": "text/plain; version=0.0.4; charset=utf-8", "/healthz": "text/plain"}
_WHY = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}
_log = logging.getLogger("forebay.node")


class Metrics:
    """Fed with what the agent saw last; counts from the agent's start. `evictions` and `chores` are asked."""

    def __init__(
        self,
        group: str,
        *,
        since: float,
        evictions: Callable[[], int],
        chores: Chores,
    ) -> None:
        self._group, self._since, self._evictions, self._chores = group, since, evictions, chores
        self._seen: Seen | None = None
        self._states: Counter[str] = Counter()
        self._counted: set[tuple[str, float]] = set()
        self._fetched: Counter[str] = Counter()
        self._pulls: Counter[str] = Counter()
        self._mismatches = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def is_ready(self) -> bool:
        """Whether the agent has looked once with all that it needs to know."""
        return self._seen is not None

    def saw(self, seen: Seen, states: Mapping[str, str]) -> None:
        """Take the last look, and the state of each model as reported."""
        self._seen, self._states = seen, Counter(states.values())
        for copy in seen.copies.values():
            if self._is_new(copy.key, copy.created):
                self._pulls["ok"] += 1
                self._fetched.update(copy.sources)
        for said in (ask.said for ask in seen.asks if ask.said.state == "failed"):
            if self._is_new(said.id, said.asked_at):
                self._pulls[said.code or "unknown"] += 1
                self._fetched.update(said.sources)
                self._mismatches += said.mismatches

    def _is_new(self, name: str, at: float) -> bool:
        """Whether something is of this agent's time and was not counted yet."""
        if at < self._since or (name, at) in self._counted:
            return False
        self._counted.add((name, at))
        return True

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's collector protocol."""
        seen = self._seen
        if seen is not None:
            yield self._gauge("used_bytes", "Bytes that models and unfinished pulls take", seen.space.used)
            yield self._gauge(
                "available_bytes", "Bytes that may be granted to pulls now", seen.space.available
            )
            if seen.space.limit is not None:
                yield self._gauge("limit_bytes", "The node group's storageLimit", seen.space.limit)
            pulls = sum(ask.alive and ask.said.state == "granted" for ask in seen.asks)
            yield self._gauge("pulls_in_progress", "Pulls that have room and run", pulls)
            waiting = sum(ask.alive and ask.said.state in ("asked", "refused") for ask in seen.asks)
            yield self._gauge("pulls_waiting", "Pulls that wait for room", waiting)
            yield self._models()
            if seen.copies:
                checked = min(max(copy.created, copy.verified) for copy in seen.copies.values())
                told = "When the model that was not hashed for longest was last, seconds since 1970"
                yield self._gauge("checked_oldest_timestamp_seconds", told, checked)
        yield self._counts("fetched_bytes", "Bytes fetched, by failed pulls too", "source", self._fetched)
        yield self._counts("pulls", "Pulls that ended, ok or by the error's code", "result", self._pulls)
        yield self._count("mismatches", "Fetched files that did not match their digest", self._mismatches)
        yield self._counts(
            "checks", "Models hashed again, by what came of it", "result", self._chores.results
        )
        yield self._count("hashed_bytes", "Bytes that checks have read back", self._chores.hashed)
        yield self._count("damaged", "Contents that failed a check and were set aside", self._chores.damaged)
        yield self._count("evictions", "Models removed to make room for others", self._evictions())

    def _count(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"forebay_node_{name}", text, labels=["group"])
        family.add_metric([self._group], value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"forebay_node_{name}", text, labels=["group"])
        family.add_metric([self._group], value)
        return family

    def _models(self) -> Metric:
        family = GaugeMetricFamily("forebay_node_models", "Models by state", labels=["group", "state"])
        for state in ModelState:
            if state:
                family.add_metric([self._group, state.value], self._states[state.value])
        return family

    def _counts(self, name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
        family = CounterMetricFamily(f"forebay_node_{name}", text, labels=["group", label])
        for value, count in sorted(counts.items()):
            family.add_metric([self._group, value], count)
        return family

    # the two pages

    async def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics and /healthz until cancelled; without its port an agent works all the same."""
        try:
            server = await asyncio.start_server(self._answer, host, port, limit=REQUEST_BYTES)
        except OSError as error:
            _log.warning("no metrics: %s port %d: %s; give another PORT", host, port, error.strerror or error)
            return
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._reply(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or never meant HTTP
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _reply(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split()
        path = words[1].partition("?")[0] if len(words) == 3 and words[0] in ("GET", "HEAD") else ""
        status, body = 200, b""
        if path == "/metrics":
            body = self.exposition()
        elif path == "/healthz":
            status, body = (200, b"ok\n") if self.is_ready else (503, b"the first look is not done yet\n")
        else:
            status, body = 404, b"there are /metrics and /healthz\n"
        lines = (
            f"HTTP/1.1 {status} {_WHY[status]}",
            f"Content-Type: {_TYPES.get(path, 'text/plain')}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if words[:1] == ["HEAD"] else body)
