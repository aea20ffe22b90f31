"""The table of errors in the docs is the code."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from forebay import errors

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def test_the_docs_table_has_every_error_with_its_numbers() -> None:
    rows = dict(re.findall(r"^\| (\w+) \|(.*)\|$", PAGE.read_text(), re.M))
    for kind in errors.ALL:
        cells = [c.strip() for c in rows[kind.__name__].split("|")]
        assert cells[-3:] == [str(kind.http), str(kind.exit_code), logging.getLevelName(kind.level).lower()]
        assert cells[1] == kind.retry.value


def test_there_are_eight() -> None:
    assert len(errors.ALL) == 8
