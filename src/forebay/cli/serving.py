"""run and chat: a model from its URI to an answer, in one command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from forebay.api.kinds import InferenceService, LocalModelCache
from forebay.api.meta import Json, Key
from forebay.cli import lookup, manifests, models
from forebay.cli.asking import Answer, ask, wait_reachable
from forebay.cli.completing import complete_services
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.objects import namespace_option
from forebay.cli.output import plain
from forebay.cli.programs import Client, Programs, UpOptions
from forebay.cli.waiting import DELETED, wait_for_all
from forebay.errors import Absent, Clash, ForebayError, Invalid, Unavailable

REACHABLE_S = 30.0
# reasons of Ready after which a person has something to do; the objects stay and go on by themselves
FAILED = frozenset(
    {"DownloadFailed", "CrashLoopBackOff", "NoSupportingRuntime", "ErrImagePull", "ImagePullBackOff"}
)
SYSTEM = "You are a helpful assistant."


@click.command()
@click.argument("uri")
@click.argument("prompt", required=False)
@click.option("--name", default="", help="Name of the service (default: from the URI).")
@click.option("--replicas", default=1, show_default=True, help="Pods that serve it.")
@click.option("--system", default=SYSTEM, show_default=True, help="System message; empty sends none.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait at most.")
@namespace_option
@data_option
@click.pass_obj
@guarded
def run(programs: Programs, uri: str, prompt: str | None, name: str, replicas: int, system: str,
        timeout_s: float, namespace: str, data: Path | None) -> None:  # fmt: skip
    """Cache a model, serve it and ask it: forebay run hf://org/name "prompt". Without a prompt: a chat.

    Starts a home in the background if none runs; `forebay down` stops it. HF_TOKEN (or the token file of
    `hf auth login`) and HF_ENDPOINT are passed on.
    """
    if "://" not in uri:
        raise Invalid(f"{uri} is no URI; write hf://org/name, s3://bucket/prefix, https://… or file:///…")
    folder = data or programs.default_data()
    _ensure_home(programs, folder)
    chosen = name or models.name_for(uri)
    goes_on = (
        f"it is tried on by itself: `forebay delete isvc/{chosen} lmc/{chosen} -n {namespace}` ends that"
    )

    async def body() -> str:
        async with programs.connect(data=folder) as client:
            await _check_free(client, uri, chosen, namespace)
            there = await _cache_of(client, uri)
            made = models.objects_for(uri, chosen, namespace, replicas=replicas, cached=there is not None)
            for item in made:
                await manifests.apply(client, item, namespace)
            cache, service = there or models.cache(uri, chosen), made[-1]
            try:
                await wait_for_all(client, [cache, service], timeout_s=timeout_s, give_up_on=FAILED)
            except ForebayError as error:
                if error.reason == DELETED:
                    raise
                raise type(error)(f"{error.message}; {goes_on}") from error
            return await service_url(client, chosen, namespace)

    try:
        url = asyncio.run(body())
    except KeyboardInterrupt:
        click.echo(goes_on, err=True)
        raise
    wait_reachable(url, deadline_s=REACHABLE_S)
    if prompt is None:
        converse(url, chosen, system)
    else:
        say(url, chosen, [*opening(system), {"role": "user", "content": prompt}])
    click.echo(f"\nserved as {chosen} at {url}/openai/v1; `forebay delete isvc {chosen}` ends it", err=True)


async def _cache_of(client: Client, uri: str) -> LocalModelCache | None:
    """The cache that holds this model already, whoever made it: a second one of its URI would be refused."""
    for cache in (await client.list(LocalModelCache)).items:
        if str(cache.spec.get("sourceModelUri") or "").rstrip("/") == uri.rstrip("/"):
            return cache
    return None


async def _check_free(client: Client, uri: str, name: str, namespace: str) -> None:
    """Raises Clash if a cache or a service of this name is about another model."""
    for kind, key in ((LocalModelCache, Key("", name)), (InferenceService, Key(namespace, name))):
        try:
            spec = (await client.get(kind, key)).spec
        except Absent:
            continue
        model = (spec.get("predictor") or {}).get("model") or {}
        there = str(spec.get("sourceModelUri") or model.get("storageUri") or "no model's URI")
        if there.rstrip("/") != uri.rstrip("/"):
            raise Clash(
                f"{kind.singular}/{name} is there already, for {there}; choose another name with --name"
            )


def _ensure_home(programs: Programs, folder: Path) -> None:
    try:
        programs.running(folder)
    except Absent:
        click.echo(f"no home runs on {folder} yet: starting one (`forebay down` stops it)", err=True)
        code = programs.up(UpOptions(folder, 0, 0, 1, "forebay", (), (), True))
        if code:
            raise Unavailable(f"`forebay up` ended with {code}; see {folder}/up.log") from None


@click.command()
@click.argument("name", shell_complete=complete_services)
@click.option("--system", default=SYSTEM, show_default=True, help="System message; empty sends none.")
@namespace_option
@data_option
@click.pass_obj
@guarded
def chat(programs: Programs, name: str, system: str, namespace: str, data: Path | None) -> None:
    """Talk to a served model; end with Ctrl-D."""
    if "/" in name:
        kind, names = lookup.split((name,))
        if kind is not InferenceService:
            raise Invalid(f"{name}: chat takes the name of a service, or isvc/NAME")
        name = names[0]

    async def body() -> str:
        async with programs.connect(data=data) as client:
            return await service_url(client, name, namespace)

    converse(asyncio.run(body()), name, system)


async def service_url(client: Client, name: str, namespace: str) -> str:
    """status.url of a service. Raises Absent, Unavailable (not ready yet)."""
    service = await client.get(InferenceService, Key(namespace, name))
    url = service.status.get("url")
    if not url:
        raise Unavailable(f"isvc/{name} has no URL yet; `forebay explain isvc/{name}` says what it waits for")
    return str(url)


def say(url: str, model: str, messages: list[Json]) -> tuple[str, Answer]:
    """Print the streamed answer; returns its text and what it took."""
    answer, pieces = Answer(), []
    for piece in ask(url, model, messages, answer=answer):
        click.echo(plain(piece) if sys.stdout.isatty() else piece, nl=False)
        pieces.append(piece)
    click.echo()
    return "".join(pieces), answer


def opening(system: str) -> list[Json]:
    """The first message of a conversation, if there is one to send."""
    return [{"role": "system", "content": system}] if system else []


def converse(url: str, model: str, system: str) -> None:
    """Questions from standard input, answers to standard output, until end of input."""
    messages = opening(system)
    while True:
        try:
            text = click.prompt(">>>", prompt_suffix=" ")
        except click.Abort:
            click.echo()
            return
        messages.append({"role": "user", "content": text})
        told, _ = say(url, model, messages)
        messages.append({"role": "assistant", "content": told})
