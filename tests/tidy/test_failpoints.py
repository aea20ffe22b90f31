"""Every named point at which a process may be killed has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parents[1]
SOURCE = HERE.parent / "src" / "forebay"


def points() -> set[str]:
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    return set(re.findall(r'\bfailpoint\(\s*"([^"]+)"', text))


def test_every_failpoint_is_named_by_a_test():
    tests = "\n".join(p.read_text() for p in HERE.rglob("*.py") if p != Path(__file__))
    assert [name for name in sorted(points()) if f'"{name}' not in tests and f"{name}=" not in tests] == []


def test_there_are_failpoints():
    assert len(points()) > 10
