"""Output for people and for programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, TextIO

import click
import yaml

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HELP_MAX = 400  # letters: more than any command has
PORT = click.IntRange(0, 65535)
output_option = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default=None, help="Machine-readable form."
)


class WholeHelp(click.Group):
    """A group that says of each command the whole first sentence; click's own cuts it to the line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name and sentence of each command."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(HELP_MAX))
                    for name, command in found
                    if command is not None
                ]
            )


def is_live(stream: TextIO) -> bool:
    """Whether a person looks on and lines may be written anew."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def in_colour(stream: TextIO) -> bool:
    """Whether colour is wanted there (https://no-color.org)."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def show(data: Any, output: str | None, human: Callable[[], None]) -> None:
    """Print `data` as JSON or YAML when asked for, otherwise what `human` prints."""
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(data, sort_keys=False), nl=False)
    else:
        human()


def plain(text: str) -> str:
    """`text` with control characters shown, not obeyed: what others wrote (logs, servers, models) may not
    colour, rename or rewrite the terminal. Line ends and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def size(count: float | None) -> str:
    """Bytes for people, in powers of ten as disks and networks count: 98.4 MB."""
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
