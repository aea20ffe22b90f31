"""apply, get, delete, logs: the few verbs that people want without kubectl."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from forebay.api.kinds import InferenceService, Job, Pod
from forebay.api.meta import Json, Key, Resource
from forebay.cli import lookup, manifests
from forebay.cli.completing import complete_objects
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.output import show
from forebay.cli.programs import Client, Programs
from forebay.errors import Absent, Invalid
from forebay.store.protocol import Where

namespace_option = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace.")


@click.command()
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, help="File, folder or - ; repeatable."
)
@namespace_option
@click.option(
    "--wait", is_flag=True, help="Wait until models are cached and services are ready, with progress."
)
@click.option("--timeout", "timeout_s", default=600.0, show_default=True, help="Seconds to wait at most.")
@click.option("--dry-run", is_flag=True, help="Read and check the manifests; change nothing.")
@data_option
@click.pass_obj
@guarded
def apply(programs: Programs, files: tuple[str, ...], namespace: str, wait: bool, timeout_s: float,
          dry_run: bool, data: Path | None) -> None:  # fmt: skip
    """Create or update objects from manifests."""
    items = manifests.read(files)

    async def body() -> None:
        async with programs.connect(data=data) as client:
            for item in items:
                if dry_run:
                    click.echo(f"{_named(item)} read (dry run)")
                    continue
                stored, verb = await manifests.apply(client, item, namespace)
                click.echo(f"{_named(stored)} {verb}")
            if wait and not dry_run:
                from forebay.cli.waiting import wait_for_all

                await wait_for_all(client, items, timeout_s=timeout_s)

    asyncio.run(body())


def _named(item: Resource) -> str:
    group = f".{item.group}" if item.group else ""
    return f"{item.singular}{group}/{item.name}"


@click.command()
@click.argument("what", nargs=-1, required=True, shell_complete=complete_objects)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "wide", "name"]), default=None)
@data_option
@click.pass_obj
@guarded
def get(programs: Programs, what: tuple[str, ...], namespace: str, all_namespaces: bool, selector: str,
        output: str | None, data: Path | None) -> None:  # fmt: skip
    """Show objects: KIND [NAME…] or KIND/NAME."""
    kind, names = lookup.split(what)
    where = Where(namespace="" if all_namespaces or not kind.namespaced else namespace, labels=selector)

    async def body() -> None:
        async with programs.connect(data=data) as client:
            if output in (None, "wide"):
                _print_table(
                    await client.table(kind, where), names, wide=output == "wide", spaces=all_namespaces
                )
                return
            items = await _find(client, kind, names, where, namespace)
            if output == "name":
                click.echo("\n".join(_named(item) for item in items))
                return
            raws = [item.raw for item in items]
            one: Any = raws[0] if len(names) == 1 else {"apiVersion": "v1", "kind": "List", "items": raws}
            show(one, output, lambda: None)

    asyncio.run(body())


async def _find(
    client: Client, kind: type[Resource], names: tuple[str, ...], where: Where, namespace: str
) -> list[Resource]:
    if names:
        return [await client.get(kind, lookup.key_of(kind, name, namespace)) for name in names]
    return list((await client.list(kind, where)).items)


def _print_table(table: Json, names: tuple[str, ...], *, wide: bool, spaces: bool) -> None:
    columns = table["columnDefinitions"]
    keep = [i for i, column in enumerate(columns) if wide or not column.get("priority")]
    rows = [row for row in table.get("rows") or [] if not names or row["object"]["metadata"]["name"] in names]
    missing = set(names) - {row["object"]["metadata"]["name"] for row in rows}
    if missing:
        raise Absent(f"not found: {', '.join(sorted(missing))}")
    if not rows:
        click.echo("No resources found.", err=True)
        return
    lines = [(["NAMESPACE"] if spaces else []) + [columns[i]["name"].upper() for i in keep]]
    for row in rows:
        front = [row["object"]["metadata"].get("namespace", "")] if spaces else []
        lines.append(front + ["" if row["cells"][i] is None else str(row["cells"][i]) for i in keep])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@click.command()
@click.argument("what", nargs=-1, required=True, shell_complete=complete_objects)
@namespace_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it is gone.")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds to wait at most.")
@data_option
@click.pass_obj
@guarded
def delete(programs: Programs, what: tuple[str, ...], namespace: str, wait: bool, timeout_s: float,
           data: Path | None) -> None:  # fmt: skip
    """Delete objects: KIND NAME… or KIND/NAME."""
    kind, names = lookup.split(what)
    if not names:
        raise Invalid(f"name the {kind.plural} to delete")

    async def body() -> None:
        async with programs.connect(data=data) as client:
            for name in names:
                key = lookup.key_of(kind, name, namespace)
                item = await client.get(kind, key)
                await client.delete(kind, key)
                click.echo(
                    f"{_named(item)} deleted{'' if not kind.namespaced else f' from {namespace} namespace'}"
                )
                if wait:
                    await gone(client, item, timeout_s)

    asyncio.run(body())


async def gone(client: Client, item: Resource, timeout_s: float) -> None:
    """Return when the object is gone. Raises Invalid after the timeout."""
    try:
        async with asyncio.timeout(timeout_s):
            while (await client.get(type(item), item.key)).uid == item.uid:  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # the server's work, seen through its API
    except Absent:
        return
    except TimeoutError as error:
        raise Invalid(
            f"{_named(item)} is still there after {timeout_s:g} s; its finalizers wait for something"
        ) from error


@click.command()
@click.argument("what", shell_complete=complete_objects)
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("-c", "--container", default="", help="Container of the pod.")
@click.option("-p", "--previous", is_flag=True, help="The run before the last restart.")
@click.option("--tail", type=int, default=None, help="Only the last lines.")
@data_option
@click.pass_obj
@guarded
def logs(programs: Programs, what: str, namespace: str, follow: bool, container: str, previous: bool,
         tail: int | None, data: Path | None) -> None:  # fmt: skip
    """Print the log of a pod, or of the first pod of isvc/NAME, job/NAME or deploy/NAME."""

    async def body() -> None:
        async with programs.connect(data=data) as client:
            key = await _pod(client, what, namespace)
            async for line in client.logs(
                key, container=container, follow=follow, previous=previous, tail=tail
            ):
                click.echo(line)

    asyncio.run(body())


async def _pod(client: Client, what: str, namespace: str) -> Key:
    if "/" not in what:
        return Key(namespace, what)
    kind, (name,) = lookup.split((what,))
    labels = {InferenceService: f"serving.kserve.io/inferenceservice={name}", Job: f"job-name={name}"}.get(
        kind
    )
    if kind is Pod:
        return Key(namespace, name)
    if labels is None:
        owner = await client.get(kind, Key(namespace, name))
        wanted = (owner.spec.get("selector") or {}).get("matchLabels") or {}
        labels = ",".join(f"{k}={v}" for k, v in wanted.items())
    pods = (await client.list(Pod, Where(namespace=namespace, labels=labels))).items
    if not pods:
        raise Absent(
            f"{what} has no pod in namespace {namespace} yet; `forebay get pods` shows what there is"
        )
    return pods[0].key
