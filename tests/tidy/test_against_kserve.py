"""docs/reference/against-kserve.md names only tests that exist, and leaves out no weakness."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "against-kserve.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!---|what \||\| )\S", line)]


def names_of_tests() -> set[str]:
    texts = (p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.M)}


def test_every_weakness_has_its_line() -> None:
    told = re.findall(r"^\| W(\d+) \|", PAGE, re.M)
    assert [int(number) for number in told] == list(range(1, 37))


def test_every_line_names_tests_and_they_exist() -> None:
    assert len(ROWS) > 40
    there = names_of_tests()
    for row in ROWS:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"no test stands for: {row}"
        assert [name for name in named if name not in there] == [], row
