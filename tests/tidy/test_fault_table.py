"""The table of faults names tests that exist, and every fault that was asked for has its row."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parents[1]
TABLE = (HERE / "faults" / "README.md").read_text()
ASKED = (
    "ignores Range", "200 with Content-Range", "wrong length", "flipped byte", "changed between ranges",
    "redirect to another host", "redirect to a loop", "redirect to http", "stall", "one byte a second",
    "every 10th percent", "429 and 503", "401 after expiry", "wrong trailer", "gzip", "absolute names",
    "two paths that collide", "links, hard links and devices in archives", "zip bombs", "file that grows",
    "disk full", "read-only", "quota", "no O_DIRECT", "no hard links", "no flock", "power cut",
    "at every failpoint", "two pulls of one model at once", "beside garbage collection", "range planner",
    "journal", "foreign bytes",
)  # fmt: skip


def test_every_test_in_the_table_exists():
    tests = "\n".join(path.read_text() for path in HERE.rglob("*.py"))
    there = set(re.findall(r"def (test_\w+)\(", tests))
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert len(named) > 40
    assert sorted(named - there) == []


def test_every_fault_has_a_row_with_a_test():
    rows = [line for line in TABLE.splitlines() if line.startswith("|") and "`test_" in line]
    assert [fault for fault in ASKED if not any(fault in row.split("|")[1] for row in rows)] == []
