"""What a pull did as Prometheus metrics, in a text file for a collector that reads such files.

A pull is a short program that nobody can scrape, so it leaves `forebay_pull_<name>.prom` in the folder
FOREBAY_METRICS_DIR (the textfile collector of node_exporter and its like), replaced in one step. Format:
Prometheus' text exposition format 0.0.4.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from forebay.pull.model import Report

Sample = tuple[Mapping[str, str], float]


def exposition(uri: str, report: Report, *, error: str = "") -> str:
    """The text for one pull of `uri`; `error` is the code of what ended it, "" for success. Times in seconds,
    sizes in bytes."""
    base = {"uri": uri}
    lines: list[str] = []

    def add(name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        lines.extend((f"# HELP forebay_pull_{name} {text}", f"# TYPE forebay_pull_{name} {kind}"))
        lines.extend(f"forebay_pull_{name}{_labels({**base, **more})} {value!r}" for more, value in samples)

    sent = [({"source": name}, float(count)) for name, count in sorted(report.bytes_by_origin.items())]
    spent = [({"phase": name}, value) for name, value in sorted(report.seconds.items()) if name != "idle"]
    add("received_bytes_total", "counter", "Bytes of files received over the network, by source.", sent)
    add("phase_seconds_total", "counter", "Thread seconds by what was done or waited for.", spent)
    told = "The same as shares of the duration: they add up to it."
    add(
        "wall_seconds",
        "gauge",
        told,
        [({"phase": name}, value) for name, value in sorted(report.wall.items())],
    )
    for name, text, count in (
        ("resumed_bytes", "Bytes kept from an interrupted pull.", report.bytes_resumed),
        ("published_bytes", "Bytes of verified files that have their names.", report.bytes_total),
        ("read_back_bytes", "Bytes that came early and were read again for hashing.", report.bytes_read_back),
        ("requests", "Requests for files and ranges.", report.requests),
        ("retries", "Requests repeated after trouble.", report.retries),
        (
            "verification_failures",
            "Whole files that did not match their digest.",
            report.verification_failures,
        ),
        ("cpu_seconds", "CPU seconds of the pull's process.", report.cpu_s),
    ):
        add(f"{name}_total", "counter", text, [({}, count)])
    add("duration_seconds", "gauge", "Seconds from start to end.", [({}, report.wall_s)])
    add("connections_most", "gauge", "Connections at once, at most.", [({}, report.connections_most)])
    good = "1 if all files are verified and durable, else 0 with the error's code."
    add("success", "gauge", good, [({"code": error}, 0.0 if error else 1.0)])
    return "\n".join(lines) + "\n"


def write(folder: Path, uri: str, report: Report, *, error: str = "") -> None:
    """Leave the metrics of one pull in `folder`. A folder that cannot be written costs only them."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", uri)[-40:].strip("_")
    path = folder / f"forebay_pull_{name}_{sha256(uri.encode()).hexdigest()[:8]}.prom"
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        new.write_text(exposition(uri, report, error=error), encoding="utf-8")
        new.replace(path)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
