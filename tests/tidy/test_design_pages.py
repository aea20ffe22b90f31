"""Each name in backticks on a design page exists in the code, and the pages stay short."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "src").rglob("DESIGN.md"))
LINES_MAX = 150
NAME = re.compile(r"[\w.@:/-]*\w[\w.@:/-]*(?:\(\))?")
SUFFIXES = (".py", ".json", ".sql", ".toml", ".yaml", ".sh")


@cache
def code() -> str:
    files = [
        p for folder in ("src", "tests", "tools") for p in (ROOT / folder).rglob("*") if p.suffix in SUFFIXES
    ]
    files += [ROOT / "Makefile", ROOT / "pyproject.toml"]
    return "\n".join(p.read_text() for p in sorted(files) if "verdicts" not in p.parts)


@cache
def files() -> frozenset[str]:
    return frozenset(
        str(p.relative_to(ROOT)) for folder in ("src", "tests", "tools") for p in (ROOT / folder).rglob("*")
    )


def names_on(page: Path) -> list[str]:
    """What stands in backticks outside code blocks and looks like a name."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    return [name for name in re.findall(r"`([^`\n]+)`", text) if NAME.fullmatch(name) and name[0] != "/"]


def exists(name: str) -> bool:
    bare = name.removesuffix("()").rstrip("/")
    if any(f == bare or f.endswith("/" + bare) for f in files()):
        return True
    return re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", code()) is not None or _dotted(bare)


def _dotted(name: str) -> bool:
    """`cache.commit` or `names.fitting`: each part is there."""
    parts = name.split(".")
    return len(parts) > 1 and all(re.search(rf"\b{re.escape(part)}\b", code()) for part in parts if part)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.parent.relative_to(ROOT / "src")))
def test_names_on_a_design_page_exist(page: Path) -> None:
    assert sorted({name for name in names_on(page) if not exists(name)}) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.parent.relative_to(ROOT / "src")))
def test_a_design_page_is_short(page: Path) -> None:
    assert page.read_text().count("\n") < LINES_MAX


def test_the_pages_that_must_be_there_are_there_and_name_tests() -> None:
    found = {str(p.parent.relative_to(ROOT / "src" / "forebay")) for p in PAGES}
    assert {"cache", "store", "pull", "control", "home", "gateway"} <= found
    for page in PAGES:
        if page.parent.name in ("cache", "store", "pull", "control", "home"):
            assert [n for n in names_on(page) if n.startswith(("test_", "s1_"))], f"{page} names no test"
