"""Every `forebay` command line in the docs can be typed: the command is there, and so are its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from forebay.cli import build
from forebay.main import programs

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "examples" / "README.md"])
    if page.parent.name != "reference"
]
BLOCK = re.compile(r"^```(?:bash|python)[^\n]*\n(.*?)^```", re.S | re.M)
FOREIGN = ("storage-initializer", "llama", "hub")  # their options belong to the program behind them


def lines(text: str) -> list[list[str]]:
    """Command lines in shell blocks and in backticks, as words; continued lines are joined."""
    found = []
    shell = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    quoted = re.findall(r"`((?:forebay) [^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    for line in [*shell.splitlines(), *quoted]:
        match = re.search(r"(?:^|\s|\$\(|\()(forebay [^)|;#>&]*)", line)
        if match:
            found.append(shlex.split(match[1].replace('"$', "'$").replace("$(", ""), posix=False))
    return found


def complaint(words: list[str]) -> str:
    """What is wrong with one command line, "" if nothing."""
    command: click.Command = build(programs())
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            known = rest[0].startswith(("-", "…", "<"))
            return "" if known else f"{' '.join(words)}: no command {rest[0]}"
        command, rest = found, rest[1:]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {
        "--help",
        "-h",
    }
    wrong = [w.partition("=")[0] for w in rest if re.match(r"--?[a-z]", w)]
    wrong = [w for w in wrong if w not in options and command.name not in FOREIGN]
    return f"{' '.join(words)}: no option {', '.join(wrong)}" if wrong else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_command_lines_can_be_typed(page: Path) -> None:
    assert [c for words in lines(page.read_text()) if (c := complaint(words))] == []


def test_a_wrong_line_is_found() -> None:
    assert complaint(["forebay", "serve", "x"]) and complaint(["forebay", "up", "--nodez", "3"])
    assert not complaint(["forebay", "cache", "verify", "tiny", "--node", "worker"])
    assert sum(len(lines(page.read_text())) for page in PAGES) > 40
