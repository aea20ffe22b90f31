"""pull: one transfer into a folder, with no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from forebay.cli.errors import guarded
from forebay.cli.programs import Programs, PullWish
from forebay.kit.rate import rate


@click.command()
@click.argument("uri")
@click.argument("dest", type=click.Path(path_type=Path, file_okay=False))
@click.option("--revision", default="", help="Branch, tag or commit, where the URI names none.")
@click.option("--explain", is_flag=True, help="Say where the time went and what limited it.")
@click.option("--limit-rate", default="", metavar="RATE", help="Bytes a second at most, e.g. 50M.")
@click.option(
    "--peer", "peers", multiple=True, metavar="URL", help="A `forebay blobs` to ask before the source."
)
@click.option(
    "--include", multiple=True, metavar="PATTERN", help="Only files like this, e.g. '*.safetensors'."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No files like this, e.g. '*.bin'.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
@click.pass_obj
@guarded
def pull(programs: Programs, uri: str, dest: Path, limit_rate: str, **options: Any) -> int:
    """Fetch a model into a folder: verified, durable, resumable.

    URI is hf://org/name[:revision], s3://bucket/prefix, https://…, file:///…; a second run fetches nothing.
    Tokens come from the environment: HF_TOKEN, AWS_*, netrc. Exit codes are those of the error's class.
    """
    limit = rate(limit_rate, "--limit-rate") if limit_rate else 0.0
    return programs.pull(PullWish(uri, dest, rate_bytes_s=limit, **options))
