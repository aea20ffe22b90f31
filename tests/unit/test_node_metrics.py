"""What Prometheus reads of an agent, and when its pod is ready."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from forebay.cache import open_root
from forebay.cache.evict import Space
from forebay.cache.reservations import Reservation
from forebay.node.chores import Chores
from forebay.node.decide import Ask, Copy, Seen
from forebay.node.metrics import Metrics

BEFORE = Copy("k1", "r", 7, {"d": 7}, 0.0, sources={"hf": 7}, created=99.0)
FRESH = Copy("k2", "r", 9, {"e": 9}, 0.0, sources={"hf": 4, "peer": 5}, created=101.0)
PULL = Ask(Reservation("i", "k3", "m", state="granted"), True)
SEEN = Seen((), Space(100, 16, 50), copies={"k1": BEFORE, "k2": FRESH}, asks=(PULL,), pods_known=True)


@pytest.fixture
def metrics(tmp_path):
    chores = Chores(open_root(tmp_path))
    chores.results, chores.hashed, chores.damaged = Counter(clean=2, damaged=1), 700, 4
    return Metrics("workers", since=100.0, evictions=lambda: 3, chores=chores)


def values(metrics):
    families = text_string_to_metric_families(metrics.exposition().decode())
    found = {}
    for family in families:
        assert family.documentation
        for sample in family.samples:
            more = [v for k, v in sorted(sample.labels.items()) if k != "group"]
            found[" ".join([sample.name.removeprefix("forebay_node_"), *more])] = sample.value
            assert sample.labels["group"] == "workers"
    return found


def test_room_models_pulls_checks_and_evictions_are_told(metrics):
    states = {"a": "ModelDownloaded", "b": "ModelDownloaded", "c": "ModelDownloading"}
    metrics.saw(SEEN, states)
    found = values(metrics)
    assert (found["used_bytes"], found["available_bytes"], found["limit_bytes"]) == (16, 50, 100)
    assert (found["pulls_in_progress"], found["pulls_waiting"]) == (1, 0)
    assert (found["models ModelDownloaded"], found["models ModelDownloading"]) == (2, 1)
    assert found["models ModelDownloadError"] == 0
    assert (found["checks_total clean"], found["checks_total damaged"], found["evictions_total"]) == (2, 1, 3)


def test_only_what_was_fetched_since_the_start_counts_and_once(metrics):
    metrics.saw(SEEN, {})
    metrics.saw(SEEN, {})
    found = values(metrics)
    assert (found["fetched_bytes_total hf"], found["fetched_bytes_total peer"]) == (4, 5)


def test_the_pod_is_ready_after_the_first_look_and_garbage_harms_nobody(metrics):
    async def story():
        server = asyncio.ensure_future(metrics.serve("127.0.0.1", port := free_port()))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            while True:
                try:
                    assert (await client.get("/healthz")).status_code == 503
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x00\xff\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404")
            writer.close()
            metrics.saw(SEEN, {})
            assert (await client.get("/healthz")).text == "ok\n"
            answer = await client.get("/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "forebay_node_used_bytes" in answer.text
            assert (await client.get("/else")).status_code == 404
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)

    asyncio.run(story())


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_failed_pull_is_counted_once_with_what_came_all_the_same(metrics):
    said = Reservation("i", "k3", "m", state="failed", asked_at=101.0, code="damaged", sources={"hf": 6},
                       mismatches=2)  # fmt: skip
    old = Reservation("j", "k4", "n", state="failed", asked_at=99.0, code="absent")
    seen = Seen((), Space(100, 16, 50), copies={"k2": FRESH}, asks=(Ask(said, False), Ask(old, False)))
    metrics.saw(seen, {})
    metrics.saw(seen, {})
    found = values(metrics)
    assert (found["pulls_total ok"], found["pulls_total damaged"]) == (1, 1)
    assert "pulls_total absent" not in found
    assert (found["fetched_bytes_total hf"], found["mismatches_total"]) == (10, 2)
