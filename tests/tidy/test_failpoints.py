"""Every named point at which a process may be killed has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults import test_cache_kills, test_pull_kills

HERE = Path(__file__).parents[1]
SOURCE = HERE.parent / "src" / "forebay"


def points() -> set[str]:
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    return set(re.findall(r'\bfailpoint\(\s*"([^"]+)"', text))


def test_every_failpoint_is_named_by_a_test():
    tests = "\n".join(p.read_text() for p in HERE.rglob("*.py") if p != Path(__file__))
    assert [name for name in sorted(points()) if f'"{name}' not in tests and f"{name}=" not in tests] == []


def test_every_failpoint_is_killed_at():
    """A name in some test is not enough for those of pull and cache: they are killed at, and what is left is
    looked at."""
    killed = {*test_cache_kills.POINTS, *test_pull_kills.POINTS}
    ours = {name for name in points() if name.startswith(("pull.", "cache."))}
    assert sorted(ours - killed) == []


def test_there_are_failpoints():
    assert len(points()) > 10
