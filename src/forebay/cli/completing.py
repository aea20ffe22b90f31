"""Shell completion: the script for a shell, and names of objects from a home that answers quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click
from click.shell_completion import get_completion_class

from forebay.api.kinds import ALL, InferenceService, LocalModelCache, LocalModelNamespaceCache, LocalModelNode
from forebay.api.names import status_key
from forebay.cli import lookup
from forebay.cli.caches import namespaced
from forebay.cli.errors import guarded
from forebay.cli.programs import Client, Programs
from forebay.errors import Bug, ForebayError
from forebay.store.protocol import Where

ANSWER_S = 0.8  # a person who presses Tab does not wait longer
VARIABLE = "_FOREBAY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@guarded
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(forebay completion bash)"     in ~/.bashrc
    zsh:  eval "$(forebay completion zsh)"      in ~/.zshrc, after compinit
    fish: forebay completion fish | source      in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise Bug(f"click knows no completion for {shell}")
    script = found(ctx.find_root().command, {}, "forebay", VARIABLE).source()
    click.echo(script.replace('string split ","', 'string split -m 1 ","'))  # fish: help has commas, too


def _asked(ctx: click.Context, question: Callable[[Client], Awaitable[list[str]]], typed: str) -> list[str]:
    """Names from the API that begin as typed; none where no home answers at once. Never fails."""
    programs = ctx.find_root().obj
    if not isinstance(programs, Programs):
        return []

    async def body() -> list[str]:
        async with asyncio.timeout(ANSWER_S), programs.connect(data=ctx.params.get("data")) as client:
            return await question(client)

    try:
        return sorted(name for name in asyncio.run(body()) if name.startswith(typed))
    except (ForebayError, OSError, TimeoutError):
        return []


def complete_caches(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of cached models."""

    async def question(client: Client) -> list[str]:
        space = str(ctx.params.get("namespace") or "")
        if space:
            return [
                i.name for i in (await client.list(LocalModelNamespaceCache, Where(namespace=space))).items
            ]
        found = [i.name for i in (await client.list(LocalModelCache)).items]
        return found + [status_key(i.namespace, i.name) for i in await namespaced(client)]

    return _asked(ctx, question, incomplete)


def complete_services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of services."""

    async def question(client: Client) -> list[str]:
        space = str(ctx.params.get("namespace") or "default")
        return [i.name for i in (await client.list(InferenceService, Where(namespace=space))).items]

    return _asked(ctx, question, incomplete)


def complete_nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Nodes that hold models."""

    async def question(client: Client) -> list[str]:
        return [i.name for i in (await client.list(LocalModelNode)).items]

    return _asked(ctx, question, incomplete)


def complete_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """As complete_objects, and kinds while the first word is typed; these need no home that answers."""
    first = "/" not in incomplete and not ctx.params.get(param.name or "")
    kinds = {kind.plural for kind in ALL if kind.plural.startswith(incomplete)} if first else set()
    return complete_objects(ctx, param, incomplete) + sorted(kinds)


def complete_explained(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """isvc/NAME."""
    found = (f"isvc/{name}" for name in complete_services(ctx, param, ""))
    return [word for word in found if word.startswith(incomplete)]


def complete_objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """KIND/NAME, or names after a KIND; of services and caches before a slash is typed."""
    before, (word, slash, _) = tuple(ctx.params.get(param.name or "") or ()), incomplete.partition("/")
    if isinstance(ctx.params.get(param.name or ""), str):
        before = ()
    space = str(ctx.params.get("namespace") or "default")

    async def question(client: Client) -> list[str]:
        names = []
        for kind_word in [word] if slash else [before[0]] if before else ["isvc", "lmc"]:
            kind = lookup.kind_named(kind_word)
            where = Where(namespace=space if kind.namespaced else "")
            front = "" if before else f"{kind_word}/"
            names += [front + i.name for i in (await client.list(kind, where)).items]
        return names

    return _asked(ctx, question, incomplete)
