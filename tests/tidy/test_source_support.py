"""docs/reference/source-support.md names tests that exist, in every row, and every scheme has its part."""

from __future__ import annotations

import re
from pathlib import Path

from forebay.sources.table import SOURCES
from tests.tidy.test_against_kserve import names_of_tests

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "source-support.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!what \|)\S", line)]
SAME = {"http": "https", "azure": "az", "oci+fetch": "oci", "oci+native": "oci"}


def test_every_row_names_tests_and_they_exist() -> None:
    assert len(ROWS) > 40
    there = names_of_tests()
    for row in ROWS:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"no test stands for: {row}"
        assert [name for name in named if name not in there] == [], row


def test_every_scheme_has_its_part() -> None:
    assert {SAME.get(scheme, scheme) for scheme in SOURCES} <= set(re.findall(r"^## (\S+)$", PAGE, re.M))
