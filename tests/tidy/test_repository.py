"""What no file of this repository may hold, and links of the docs that must lead somewhere."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.md")])
LATER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
MACHINE = re.compile(
    rf"""(?<![\w.])/(?:home|Users)/[a-z]\w*/|(?:^|[\s"'`(=:])/root/[\w.]|{re.escape(str(ROOT))}\b""", re.M
)
INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|^registry\s*=", re.M)
BINARY_MAX = 1_000_000


@cache
def tracked() -> tuple[Path, ...]:
    """Files under version control, or (in an unpacked archive) all that could be."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if git.returncode == 0 and git.stdout:
        names = git.stdout.decode().split("\0")
    else:
        names = [
            str(p.relative_to(ROOT))
            for folder in ("src", "tests", "docs")
            for p in (ROOT / folder).rglob("*")
        ]
    return tuple(ROOT / n for n in names if n and (ROOT / n).is_file() and "__pycache__" not in n)


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path, path.read_text()))
        except UnicodeDecodeError:
            continue
    return found


def told(pattern: re.Pattern[str], *, but: tuple[str, ...] = ()) -> list[str]:
    hits = []
    for path, text in texts():
        name = str(path.relative_to(ROOT))
        if name in but or path == Path(__file__):
            continue
        hits += [f"{name}: {match[0].strip()}" for match in pattern.finditer(text)]
    return hits


def test_nothing_is_put_off_in_a_comment() -> None:
    assert told(LATER) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert told(MACHINE) == []


def test_no_file_says_where_packages_come_from() -> None:
    assert told(INDEX, but=("Makefile",)) == []
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in re.sub(r"^\s*#.*$", "", lock.read_text(), flags=re.M), (
            f"{lock.name} holds an address"
        )


def test_no_file_is_large() -> None:
    assert [str(p) for p in tracked() if p.stat().st_size > BINARY_MAX] == []


def anchors(page: Path) -> set[str]:
    """Headings as links name them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).strip().replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_is_linked_from_another(page: Path) -> None:
    if page == ROOT / "README.md":
        return
    links = set()
    for other in PAGES:
        if other != page:
            for target in re.findall(r"\]\(([^)\s#]+)", other.read_text()):
                links.add((other.parent / target).resolve())
    assert page.resolve() in links, f"nobody finds {page.relative_to(ROOT)}"
