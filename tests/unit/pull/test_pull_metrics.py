"""A pull's metrics are what Prometheus reads, whatever an address is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.faults.lying_server import Lie, LyingServer
from tests.faults.pulling import some_bytes

from forebay.pull import metrics
from forebay.pull.command import PullOptions, pull_command
from forebay.pull.model import Report

BODY = some_bytes(300_000)


def read(text: str) -> dict[tuple[str, str], float]:
    """(name, the label beside the uri) to value; fails on what Prometheus would refuse."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge")
        for sample in family.samples:
            more = "".join(v for k, v in sample.labels.items() if k != "uri")
            found[sample.name.removeprefix("forebay_pull_"), more] = sample.value
    return found


def test_every_figure_is_told_with_its_unit_and_a_strange_name_breaks_nothing() -> None:
    spent = {"hash": 1.5, "idle": 9.0}
    report = Report(bytes_by_origin={'a"b\\c\nd': 7, "hub": 2**40}, seconds=spent, retries=3)
    seen = read(metrics.exposition('s3://b/"k"', report, error="damaged"))
    assert seen["received_bytes_total", 'a"b\\c\nd'] == 7
    assert seen["received_bytes_total", "hub"] == 2**40
    assert seen["phase_seconds_total", "hash"] == 1.5 and ("phase_seconds_total", "idle") not in seen
    assert seen["retries_total", ""] == 3
    assert seen["success", "damaged"] == 0


@pytest.mark.parametrize("flip, code", [(-1, ""), (5, "damaged")])
def test_a_pull_leaves_its_metrics_whether_it_ends_well_or_not(tmp_path: Path, flip: int, code: str) -> None:
    folder = tmp_path / "metrics"
    with LyingServer(BODY, Lie(flip_at=flip)) as server:
        env = {**os.environ, "FOREBAY_METRICS_DIR": str(folder), "no_proxy": "*"}
        pull_command(PullOptions(server.url, tmp_path / "out", as_json=True), env)
    (path,) = folder.iterdir()
    seen = read(path.read_text())
    assert path.name.startswith("forebay_pull_") and path.suffix == ".prom"
    assert seen["success", code] == (0 if code else 1)
    assert seen["verification_failures_total", ""] == (1 if code else 0)
    (received,) = (value for (name, _), value in seen.items() if name == "received_bytes_total")
    assert received >= len(BODY)
    assert seen["published_bytes_total", ""] == (0 if code else len(BODY))


def test_a_folder_that_cannot_be_made_costs_only_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    metrics.write(tmp_path / "file" / "below", "hf://a/b", Report())
