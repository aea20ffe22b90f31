"""docs/reference/against-kubernetes.md names only tests that exist, and a test for every line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "against-kubernetes.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what |")]


def names_of_tests() -> set[str]:
    texts = (p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.M)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_line_names_tests_and_they_exist(row: str) -> None:
    named = re.findall(r"`(test_\w+)`", row)
    assert named, "no test stands for it"
    assert sorted(set(named) - names_of_tests()) == []
