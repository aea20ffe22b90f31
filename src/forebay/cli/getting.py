"""get: objects in the server's own columns, or whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from forebay.api.meta import Json, Resource
from forebay.cli import lookup
from forebay.cli.completing import complete_kinds
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.objects import named, namespace_option
from forebay.cli.output import plain, show
from forebay.cli.programs import Client, Programs
from forebay.errors import Absent, Invalid
from forebay.store.protocol import Where

Target = tuple[type[Resource], tuple[str, ...]]


class Printer:
    """A Table as lines. Widths are those of the first Table, so that later rows stand below it."""

    def __init__(self, *, wide: bool, spaces: bool, front: str = "", head: bool = True) -> None:
        self._wide, self._spaces, self._front, self._head = wide, spaces, front, head
        self._keep: list[int] = []
        self._widths: list[int] = []

    def show(self, table: Json) -> None:
        """Print the rows; the head before the first."""
        lines = []
        if not self._keep:
            columns = table.get("columnDefinitions") or []
            self._keep = [i for i, c in enumerate(columns) if self._wide or not c.get("priority")]
            if self._head:
                names = [str(columns[i]["name"]).upper() for i in self._keep]
                lines.append((["NAMESPACE"] if self._spaces else []) + names)
        lines += [self._cells(row) for row in table.get("rows") or []]
        if not self._widths:
            self._widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        for line in lines:
            padded = (cell.ljust(width) for cell, width in zip(line, self._widths, strict=True))
            click.echo(plain("   ".join(padded).rstrip()))

    def _cells(self, row: Json) -> list[str]:
        cells = ["" if row["cells"][i] is None else str(row["cells"][i]) for i in self._keep]
        cells[0] = self._front + cells[0]
        return ([row["object"]["metadata"].get("namespace", "")] if self._spaces else []) + cells


@click.command(
    epilog="Examples: `forebay get isvc`, `forebay get isvc,pods -A`, `forebay get all`, "
    "`forebay get isvc/llama -o yaml`, `forebay get pods -l app=x -w`."
)
@click.argument("what", nargs=-1, required=True, shell_complete=complete_kinds)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("-l", "--selector", default="", help="Label selector, e.g. app=x,tier!=y.")
@click.option("--field-selector", default="", help="Field selector, e.g. status.phase=Running.")
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "wide", "name"]), default=None)
@click.option("-w", "--watch", is_flag=True, help="Go on with what changes, until Ctrl-C.")
@click.option("--no-headers", is_flag=True, help="Rows only.")
@data_option
@click.pass_obj
@guarded
def get(programs: Programs, what: tuple[str, ...], namespace: str, all_namespaces: bool, selector: str,
        field_selector: str, output: str | None, watch: bool, no_headers: bool,
        data: Path | None) -> None:  # fmt: skip
    """Show objects: KIND[,KIND] [NAME…], KIND/NAME…, or `all`."""
    found = lookup.targets(what)
    if watch and len(found) > 1:
        raise Invalid(f"{' '.join(what)}: one kind at a time can be watched")
    if (selector or field_selector) and any(names for _, names in found):
        raise Invalid("give names or a selector, not both")
    space = "" if all_namespaces else namespace
    asked = Where(namespace=space, labels=selector, fields=field_selector)

    async def body() -> None:
        async with programs.connect(data=data) as client:
            if output in ("json", "yaml"):
                await _whole(client, found, asked, output, watch=watch)
            elif output == "name":
                await _names(client, found, asked, watch=watch)
            else:
                printers = [
                    Printer(wide=output == "wide", spaces=all_namespaces and kind.namespaced,
                            front=f"{_kind_word(kind)}/" if len(found) > 1 else "", head=not no_headers)
                    for kind, _ in found
                ]  # fmt: skip
                await _tables(client, found, asked, printers, watch=watch)

    asyncio.run(body())


def _kind_word(kind: type[Resource]) -> str:
    return kind.singular + (f".{kind.group}" if kind.group else "")


def _where(kind: type[Resource], asked: Where, names: Sequence[str]) -> Where:
    """The question for one kind; one name is asked for by field, so that a watch sees only it."""
    name = names[0] if len(names) == 1 else ""
    return Where(
        namespace=asked.namespace if kind.namespaced else "",
        name=name,
        labels=asked.labels,
        fields=asked.fields,
    )


async def _tables(
    client: Client, found: list[Target], asked: Where, printers: list[Printer], *, watch: bool
) -> None:
    printed = 0
    for (kind, names), printer in zip(found, printers, strict=True):
        where = _where(kind, asked, names)
        try:
            table = await client.table(kind, where)
        except Absent:
            if len(found) == 1 or names:
                raise
            continue  # this server has not every kind of a category
        rows = table.get("rows") or []
        if names:
            rows = [row for row in rows if row["object"]["metadata"]["name"] in names]
            _all_there(kind, names, {row["object"]["metadata"]["name"] for row in rows})
        if rows:
            if printed:
                click.echo()
            printer.show({**table, "rows": rows})
            printed += 1
        if watch:
            since = str(table["metadata"]["resourceVersion"])
            async for type_, change in client.table_changes(kind, where, since=since):
                if type_ in ("ADDED", "MODIFIED", "DELETED"):
                    printer.show(change)
    if not printed:
        place = f" in {asked.namespace} namespace" if asked.namespace and found[0][0].namespaced else ""
        click.echo(f"No resources found{place}.", err=True)


def _all_there(kind: type[Resource], names: Sequence[str], there: set[str]) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        word = kind.plural + (f".{kind.group}" if kind.group else "")
        raise Absent(", ".join(f'{word} "{name}" not found' for name in missing))


async def _items(client: Client, found: list[Target], asked: Where) -> tuple[list[Resource], str]:
    """Everything asked for, and the revision of the last list."""
    items: list[Resource] = []
    since = ""
    for kind, names in found:
        try:
            page = await client.list(kind, _where(kind, asked, names))
        except Absent:
            if len(found) == 1 or names:
                raise
            continue
        chosen = [item for item in page.items if not names or item.name in names]
        _all_there(kind, names, {item.name for item in chosen})
        items, since = [*items, *chosen], page.revision
    return items, since


async def _whole(client: Client, found: list[Target], asked: Where, output: str, *, watch: bool) -> None:
    items, since = await _items(client, found, asked)
    single = len(found) == 1 and len(found[0][1]) == 1
    raws: list[Any] = [item.raw for item in items]
    if not watch:
        show(raws[0] if single else {"apiVersion": "v1", "kind": "List", "items": raws}, output, lambda: None)
        return
    for raw in raws:
        _document(raw, output)
    ((kind, names),) = found
    async for event in client.watch(kind, _where(kind, asked, names), since=since):
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            _document(event.item.raw, output)


def _document(raw: Json, output: str) -> None:
    if output == "yaml":
        click.echo("---")
    show(raw, output, lambda: None)


async def _names(client: Client, found: list[Target], asked: Where, *, watch: bool) -> None:
    items, since = await _items(client, found, asked)
    for item in items:
        click.echo(named(item))
    if watch:
        ((kind, names),) = found
        async for event in client.watch(kind, _where(kind, asked, names), since=since):
            if event.type in ("ADDED", "MODIFIED", "DELETED"):
                click.echo(named(event.item))
