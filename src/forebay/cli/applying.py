"""apply: objects from manifests, and waiting until what they ask for is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from forebay.cli import manifests
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.objects import named, namespace_option
from forebay.cli.output import output_option, show
from forebay.cli.programs import Client, Programs
from forebay.cli.waiting import wait_for_all
from forebay.errors import Invalid

TOLD = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


@click.command(
    epilog="Examples: `forebay apply -f examples/ --wait`, `cat isvc.yaml | forebay apply -f -`, "
    "`forebay apply -f isvc.yaml --dry-run=server`."
)
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, help="File, folder or - ; repeatable."
)
@click.option("-R", "--recursive", is_flag=True, help="Folders in folders too.")
@namespace_option
@click.option(
    "--wait", is_flag=True, help="Wait until models are cached and services are ready, with progress."
)
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds to wait at most.")
@click.option(
    "--dry-run", type=click.Choice(["none", "client", "server"]), is_flag=False, flag_value="server",
    default="none", help="Store nothing; the server checks it (as without a value), or the client compares.",
)  # fmt: skip
@output_option
@data_option
@click.pass_obj
@guarded
def apply(programs: Programs, files: tuple[str, ...], recursive: bool, namespace: str, wait: bool,
          timeout_s: float, dry_run: str, output: str | None, data: Path | None) -> None:  # fmt: skip
    """Create or update objects from manifests; what is not in them any more goes out of the objects."""
    if wait and dry_run != "none":
        raise Invalid("--wait waits for what --dry-run does not store; leave one of them out")
    items = manifests.read(files, recursive=recursive)

    async def body(client: Client) -> None:
        done = []
        for item in items:
            stored, verb = await manifests.apply(client, item, namespace, dry_run=dry_run)
            done.append(stored)
            if output is None:
                click.echo(f"{named(stored)} {verb}{TOLD[dry_run]}")
        if wait:
            await wait_for_all(client, items, timeout_s=timeout_s)
            done = [await client.get(type(item), item.key) for item in done]
        raws = [item.raw for item in done]
        show(
            raws[0] if len(raws) == 1 else {"apiVersion": "v1", "kind": "List", "items": raws},
            output,
            lambda: None,
        )

    async def connected() -> None:
        async with programs.connect(data=data) as client:
            await body(client)

    asyncio.run(connected())
