"""delete and logs, and what the verbs on objects share."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from forebay.api.kinds import InferenceService, Job, Pod, Service
from forebay.api.meta import Key, Resource
from forebay.cli import lookup
from forebay.cli.completing import complete_kinds, complete_objects
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.programs import Client, Programs
from forebay.errors import Absent, Invalid
from forebay.store.protocol import Where

namespace_option = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace.")


def named(item: Resource) -> str:
    """As kubectl names an object: `inferenceservice.serving.kserve.io/llama`."""
    group = f".{item.group}" if item.group else ""
    return f"{item.singular}{group}/{item.name}"


@click.command(
    epilog="Examples: `forebay delete isvc llama`, `forebay delete isvc/llama lmc/llama --no-wait`."
)
@click.argument("what", nargs=-1, required=True, shell_complete=complete_kinds)
@namespace_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it is gone.")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds to wait at most.")
@data_option
@click.pass_obj
@guarded
def delete(programs: Programs, what: tuple[str, ...], namespace: str, wait: bool, timeout_s: float,
           data: Path | None) -> None:  # fmt: skip
    """Delete objects: KIND NAME… or KIND/NAME…"""
    found = lookup.targets(what)
    for kind, names in found:
        if not names:
            raise Invalid(f"name the {kind.plural} to delete")

    async def body() -> None:
        async with programs.connect(data=data) as client:
            for kind, name in [(kind, name) for kind, names in found for name in names]:
                key = lookup.key_of(kind, name, namespace)
                item = await client.get(kind, key)
                await client.delete(kind, key)
                click.echo(
                    f"{named(item)} deleted{'' if not kind.namespaced else f' from {namespace} namespace'}"
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
            f"{named(item)} is still there after {timeout_s:g} s; its finalizers wait for something"
        ) from error


@click.command(
    epilog="Examples: `forebay logs isvc/llama -f`, `forebay logs deploy/forebay-gateway -n kserve`."
)
@click.argument("what", shell_complete=complete_objects)
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("-c", "--container", default="", help="Container of the pod.")
@click.option("-p", "--previous", is_flag=True, help="The run before the last restart.")
@click.option("--tail", type=click.IntRange(min=0), default=None, help="Only the last lines.")
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
    owner = await client.get(kind, lookup.key_of(kind, name, namespace))
    if labels is None:
        selector = owner.spec.get("selector") or {}
        wanted = selector if kind is Service else selector.get("matchLabels")
        if not wanted:  # an empty selector would be every pod's
            raise Invalid(f"{what}: logs takes a pod, or what selects pods: isvc/NAME, job/NAME, deploy/NAME")
        labels = ",".join(f"{k}={v}" for k, v in wanted.items())
    pods = (await client.list(Pod, Where(namespace=namespace, labels=labels))).items
    if not pods:
        raise Absent(
            f"{what} has no pod in namespace {namespace} yet; `forebay get pods` shows what there is"
        )
    return pods[0].key
