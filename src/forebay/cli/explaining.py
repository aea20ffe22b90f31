"""explain: where the time of every replica went, and what is not ready waits for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from forebay.api.kinds import Event, InferenceService, LocalModelNode, Pod
from forebay.api.meta import Json, Key, Resource
from forebay.api.names import status_key
from forebay.cli.completing import complete_explained
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.lookup import split
from forebay.cli.objects import namespace_option
from forebay.cli.output import output_option, plain, show, size
from forebay.cli.programs import Client, Programs
from forebay.cli.replica_times import (
    DOWNLOADER,
    FIRST_S,
    Facts,
    Timing,
    failed,
    fine_time,
    statuses,
    timing_of,
)
from forebay.errors import ForebayError, Invalid
from forebay.store.protocol import Store, Where

SYSTEM, ACCESS_LINES, ENGINE_LINES = "kserve", 2000, 200


async def timings(client: Client, key: Key) -> tuple[InferenceService, list[Timing]]:
    """A service and all its replicas, oldest first. Raises Absent."""
    service = await client.get(InferenceService, key)
    pods = await _pods(client, key)
    events = list((await client.list(Event, Where(namespace=key.namespace))).items)
    copies, answers = await _copies(client, service), await _first_answers(client, pods)
    found = []
    for number, pod in enumerate(pods):
        applied = fine_time(service, _about(service, events))
        mine = _about(pod, events)
        first = number == 0 and fine_time(pod, mine) - applied < FIRST_S
        downloads = any(c["name"] == DOWNLOADER for c in pod.spec.get("initContainers") or [])
        facts = Facts(
            pod, datetime.now(UTC).timestamp(), applied if first else None, mine,
            copy={} if downloads else copies.get(str(pod.spec.get("nodeName") or ""), {}),
            engine=await _engine(client, pod),
            pulled=await _downloader(client, pod) if downloads else {}, asked=answers.get(pod.name, {}),
            last_words=await _last_words(client, pod),
        )  # fmt: skip
        found.append(timing_of(facts))
    return service, found


async def _pods(store: Store, key: Key) -> list[Pod]:
    where = Where(namespace=key.namespace, labels=f"serving.kserve.io/inferenceservice={key.name}")
    pods = [pod for pod in (await store.list(Pod, where)).items if not pod.deleting]
    return sorted(
        pods, key=lambda p: (p.meta.get("creationTimestamp", ""), str(p.status.get("startTime")), p.name)
    )


def _about(item: Resource, events: Sequence[Event]) -> list[Event]:
    return [event for event in events if (event.raw.get("involvedObject") or {}).get("uid") == item.uid]


async def _copies(store: Store, service: InferenceService) -> dict[str, Json]:
    """What each node says of the service's model, by node."""
    uri = ((service.spec.get("predictor") or {}).get("model") or {}).get("storageUri", "")
    found: dict[str, Json] = {}
    for node in (await store.list(LocalModelNode)).items:
        for entry in node.spec.get("localModels") or []:
            model = status_key(str(entry.get("namespace") or ""), str(entry["modelName"]))
            if entry["sourceModelUri"].rstrip("/") == uri.rstrip("/"):
                found[node.name] = (node.status.get("models") or {}).get(model) or {}
    return found


async def _first_answers(client: Client, pods: Sequence[Pod]) -> dict[str, Json]:
    """By pod: the gateway's line about its first answer to a POST (a list of models is no answer)."""
    by_address: dict[str, str] = {}
    for pod in pods:
        ports: Json = json.loads(pod.annotations.get("forebay.dev/ports") or "{}")
        by_address |= {f"{pod.status.get('podIP')}:{port}": pod.name for port in ports.values()}
    found: dict[str, Json] = {}
    gateways = await client.list(Pod, Where(namespace=SYSTEM, labels="app=forebay-gateway"))
    for gateway in gateways.items:
        async for line in _said(client, gateway.key, ACCESS_LINES):
            pod_name = by_address.get(str(line.get("backend") or ""))
            if (
                pod_name
                and line.get("log") == "access"
                and (line.get("method"), line.get("status")) == ("POST", 200)
            ):
                found.setdefault(pod_name, line)
    return found


async def _engine(client: Client, pod: Pod) -> list[Json]:
    """What the engine printed of its own start."""
    return [line async for line in _said(client, pod.key, ENGINE_LINES) if line.get("log") == "phase"]


async def _downloader(client: Client, pod: Pod) -> Json:
    """The report of a download that a pod made for itself."""
    lines = [line async for line in _said(client, pod.key, None, container=DOWNLOADER)]
    return next((line for line in reversed(lines) if line.get("event") == "pulled"), {})


async def _last_words(client: Client, pod: Pod) -> str:
    """The last line of a container that failed without leaving a message."""
    name, ended = failed(pod)
    if not name or ended.get("message"):
        return ""
    current = any(s["name"] == name and (s.get("state") or {}).get("terminated") for s in statuses(pod))
    try:
        return [line async for line in client.logs(pod.key, container=name, previous=not current, tail=1)][-1]
    except (ForebayError, IndexError):
        return ""


async def _said(client: Client, key: Key, tail: int | None, *, container: str = "") -> AsyncIterator[Json]:
    """The JSON objects among a pod's log lines; nothing where the log cannot be read."""
    try:
        async for line in client.logs(key, tail=tail, container=container):
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
    except ForebayError:
        return


def replicas_table(found: Sequence[Timing]) -> None:
    """The small table of the demo: for each replica its bytes and its seconds."""
    for number, timing in enumerate(found, 1):
        place = f" on {timing.node}" if timing.node else ""
        state = f"ready after {timing.total_s:.2f} s" if timing.ready else f"not ready: {timing.note}"
        click.echo(plain(f"   replica {number}  {timing.pod}{place}: {state}"))
        for source, count in timing.sources.items():
            click.echo(f"      {size(count):>10}  from {source}")
        for name, seconds in timing.phases.items():
            click.echo(f"      {seconds:8.2f} s  {name}{_meanwhile(name, timing.beside)}")


def _meanwhile(phase: str, beside: Mapping[str, float]) -> str:
    """What went on during a phase that moved bytes."""
    if phase not in ("transfer", f"init {DOWNLOADER}") or not beside:
        return ""
    return f" ({', '.join(f'{name} {seconds:.2f} s' for name, seconds in beside.items())} of it)"


@click.command(epilog="Example: forebay explain isvc/llama -o json")
@click.argument("what", shell_complete=complete_explained)
@namespace_option
@output_option
@data_option
@click.pass_obj
@guarded
def explain(programs: Programs, what: str, namespace: str, output: str | None, data: Path | None) -> None:
    """Say for every replica of isvc/NAME where its time went, and what it waits for.

    The phases of a replica follow each other and add up: from the service being applied (its first replica)
    or the pod being made, until it was ready, and then to the first token of its first answer.
    """
    kind, names = split((what,))
    if kind is not InferenceService or len(names) != 1:
        raise Invalid(f"{what}: explain takes isvc/NAME")
    key = Key(namespace, names[0])

    async def body() -> tuple[InferenceService, list[Timing]]:
        async with programs.connect(data=data) as client:
            return await timings(client, key)

    service, found = asyncio.run(body())

    def human() -> None:
        click.echo(f"isvc/{key.name}: {service.status.get('url') or 'no URL yet'}")
        for condition in service.status.get("conditions") or []:
            told = f"  {condition.get('message')}" if condition.get("message") else ""
            line = f"   {condition['type']:16}{condition['status']:8}{condition.get('reason', '')}{told}"
            click.echo(plain(line))
        replicas_table(found)
        if not found:
            click.echo("   no replica yet: the conditions above say what it waits for")

    show([asdict(timing) for timing in found], output, human)
