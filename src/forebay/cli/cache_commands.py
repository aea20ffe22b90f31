"""cache ls|rm|pin|unpin|refresh|verify|gc|warm: what nodes hold, through the API only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from forebay.api import wishes
from forebay.cli import cache_asks, caches
from forebay.cli.completing import complete_caches, complete_nodes
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.objects import gone
from forebay.cli.output import WholeHelp, output_option, show, size
from forebay.cli.programs import Client, Programs
from forebay.errors import Damaged, Invalid

T = TypeVar("T")
namespace_option = click.option("-n", "--namespace", default="", help="Namespace of a namespaced cache.")
node_option = click.option("--node", default="", shell_complete=complete_nodes, help="Only on this node.")
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done.")
name_argument = click.argument("name", shell_complete=complete_caches)


def timeout_option(seconds: float) -> Callable[[Any], Any]:
    """How long a command waits."""
    return click.option(
        "--timeout", "timeout_s", default=seconds, show_default=True, help="Seconds to wait at most."
    )


def with_client(programs: Programs, data: Path | None, work: Callable[[Client], Awaitable[T]]) -> T:
    """Run `work` with a client of the API."""

    async def body() -> T:
        async with programs.connect(data=data) as client:
            return await work(client)

    return asyncio.run(body())


@click.group(cls=WholeHelp)
def cache() -> None:
    """What the nodes hold: list, remove, pin, refresh, verify, collect, warm.

    A model is named NAME, or NAMESPACE/NAME (or -n NAMESPACE) where its cache is namespaced.
    """


@cache.command()
@click.option("--nodes", "by_node", is_flag=True, help="A line for each copy.")
@namespace_option
@output_option
@data_option
@click.pass_obj
@guarded
def ls(programs: Programs, by_node: bool, namespace: str, output: str | None, data: Path | None) -> None:
    """Every cached model, and where its copies are."""
    models = with_client(programs, data, lambda client: caches.find_all(client, namespace))

    def human() -> None:
        if not models:
            click.echo(
                "No model is cached. `forebay apply -f CACHE.yaml` or `forebay run hf://…` begins.", err=True
            )
            return
        click.echo(caches.columns(caches.node_rows(models) if by_node else caches.rows(models)))

    show([model.machine() for model in models], output, human)


@cache.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_caches)
@namespace_option
@wait_option
@timeout_option(120.0)
@data_option
@click.pass_obj
@guarded
def rm(programs: Programs, names: tuple[str, ...], namespace: str, wait: bool, timeout_s: float,
       data: Path | None) -> None:  # fmt: skip
    """Delete caches; their copies go from every node. One that a service uses is refused."""

    async def work(client: Client) -> None:
        for name in names:
            kind, key = caches.key_of(name, namespace)
            item = await client.get(kind, key)
            await client.delete(kind, key, uid=item.uid)
            if wait:
                await gone(client, item, timeout_s)
            click.echo(f"{name} deleted" if wait else f"{name} is being deleted")

    with_client(programs, data, work)


def _pin(name: str, value: str, told: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_caches)
    @namespace_option
    @data_option
    @click.pass_obj
    @guarded
    def command(programs: Programs, names: tuple[str, ...], namespace: str, data: Path | None) -> None:
        async def work(client: Client) -> None:
            for one in names:
                await cache_asks.annotate(client, *caches.key_of(one, namespace), {wishes.PINNED: value})
                click.echo(f"{one} {told}")

        with_client(programs, data, work)

    return command


cache.add_command(_pin("pin", "true", "pinned", "Never evict these models to make room for others."))
cache.add_command(
    _pin("unpin", "", "unpinned", "Let these models be evicted when room is wanted and nobody uses them.")
)


@cache.command()
@name_argument
@namespace_option
@wait_option
@timeout_option(3600.0)
@output_option
@data_option
@click.pass_obj
@guarded
def refresh(programs: Programs, name: str, namespace: str, wait: bool, timeout_s: float, output: str | None,
            data: Path | None) -> None:  # fmt: skip
    """Ask what the model's name means now, and fetch what has changed, on every node."""

    async def work(client: Client) -> tuple[str, str]:
        model = await caches.find(client, name, namespace)
        asked = cache_asks.now_text(model.item.annotations.get(wishes.REFRESH))
        await cache_asks.annotate(client, type(model.item), model.item.key, {wishes.REFRESH: asked})
        if not wait:
            return str(model.item.status.get("revision") or ""), ""
        after = await cache_asks.wait(client, model, "", cache_asks.refreshes(asked), timeout_s=timeout_s)
        return str(model.item.status.get("revision") or ""), str(after.item.status.get("revision") or "")

    before, after = with_client(programs, data, work)
    if not wait:
        click.echo(f"{name}: asked; `forebay cache ls` shows the revision")
        return
    told = f"{name}: still revision {after}" if before == after else f"{name}: {before} -> {after}"
    show({"name": name, "before": before, "revision": after}, output, lambda: click.echo(told))


@cache.command()
@click.argument("name", required=False, default="", shell_complete=complete_caches)
@namespace_option
@node_option
@click.option("--pause/--resume", "paused", default=None, help="Hold all checks, or let them go on.")
@wait_option
@timeout_option(3600.0)
@output_option
@data_option
@click.pass_context
@guarded
def verify(context: click.Context, name: str, paused: bool | None, **options: Any) -> None:
    """Hash every file of a model again; damaged ones are fetched anew (and the exit code is 8).

    Agents do the same with every model once a week, at the lowest priority. --pause and --resume are for all
    checks of --node, or of every node.
    """
    if (paused is None) == (not name):
        raise Invalid("name a model to check, or give --pause or --resume")
    if paused is None:
        _verify(context.obj, name, **options)
        return
    node = options["node"]
    names = with_client(
        context.obj, options["data"], lambda client: cache_asks.pause_checks(client, node, paused=paused)
    )
    click.echo(
        f"checks {'are paused' if paused else 'go on'} on {', '.join(names) or 'no node: there is none'}"
    )


def _verify(programs: Programs, name: str, *, namespace: str, node: str, wait: bool, timeout_s: float,
            output: str | None, data: Path | None) -> None:  # fmt: skip
    found: dict[str, set[str]] = {}

    async def work(client: Client) -> caches.Cached:
        model = await caches.find(client, name, namespace)
        asked = cache_asks.now_text(model.item.annotations.get(wishes.VERIFY))
        cache_asks.chosen(model, node)
        notes = {wishes.VERIFY: asked, wishes.VERIFY_NODE: node}
        await cache_asks.annotate(client, type(model.item), model.item.key, notes)
        if not wait:
            return model
        return await cache_asks.wait(
            client, model, node, cache_asks.checks(asked, found), timeout_s=timeout_s
        )

    model = with_client(programs, data, work)
    if not wait:
        click.echo(f"{name}: asked; `forebay cache ls` shows when it was last verified")
        return
    copies = cache_asks.chosen(model, node)
    lines = [
        {"node": c.node, "files": c.said["verified"].get("files"), "damaged": sorted(found.get(c.node, ()))}
        for c in copies
    ]

    def human() -> None:
        for line in lines:
            bad = (
                f"damaged and fetched anew: {', '.join(line['damaged'])}" if line["damaged"] else "all whole"
            )
            click.echo(f"{name} on {line['node']}: {_files(line['files'])}, {bad}")

    show(lines, output, human)
    if any(found.values()):
        raise Damaged(
            f"{name}: files had failed their check and are whole again; look at the disks that held them"
        )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


@cache.command()
@node_option
@timeout_option(300.0)
@output_option
@data_option
@click.pass_obj
@guarded
def gc(programs: Programs, node: str, timeout_s: float, output: str | None, data: Path | None) -> None:
    """Remove what no cache names and no pod uses; says how many bytes that freed."""
    answers = with_client(
        programs, data, lambda client: cache_asks.collect(client, node, timeout_s=timeout_s)
    )

    def human() -> None:
        for said in answers:
            models = f", {said['models']} models" if said.get("models") else ""
            click.echo(f"{said['node']} ({said['group']}): {size(said['bytes'])} freed{models}")
        click.echo(f"{size(sum(said['bytes'] for said in answers))} freed in all")

    show(answers, output, human)


@cache.command()
@name_argument
@namespace_option
@node_option
@wait_option
@timeout_option(600.0)
@output_option
@data_option
@click.pass_obj
@guarded
def warm(programs: Programs, name: str, namespace: str, node: str, wait: bool, timeout_s: float,
         output: str | None, data: Path | None) -> None:  # fmt: skip
    """Read a model into the nodes' page cache, so that the next load comes from memory."""

    async def work(client: Client) -> caches.Cached:
        model = await caches.find(client, name, namespace)
        asked = cache_asks.now_text(model.item.annotations.get(wishes.WARM))
        cache_asks.chosen(model, node)
        notes = {wishes.WARM: asked, wishes.WARM_NODE: node}
        await cache_asks.annotate(client, type(model.item), model.item.key, notes)
        if not wait:
            return model
        return await cache_asks.wait(client, model, node, cache_asks.warmings(asked), timeout_s=timeout_s)

    model = with_client(programs, data, work)
    if not wait:
        click.echo(f"{name}: asked")
        return
    lines = [
        {
            "node": c.node,
            "residentShare": c.said["warmed"].get("residentShare"),
            "bytes": c.said.get("bytesTotal"),
        }
        for c in cache_asks.chosen(model, node)
    ]

    def human() -> None:
        for line in lines:
            share = line["residentShare"]
            told = "resident share unknown here" if share is None else f"{100 * share:.1f} % resident"
            click.echo(f"{name} on {line['node']}: {told} of {size(line['bytes'])}")

    show(lines, output, human)
