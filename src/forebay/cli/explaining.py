"""explain: where the time of every replica went."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import click

from forebay.api.kinds import InferenceService, LocalModelNode, Pod
from forebay.api.meta import Json, Key, Resource
from forebay.api.names import TIMELINE
from forebay.cli.completing import complete_objects
from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.lookup import split
from forebay.cli.objects import namespace_option
from forebay.cli.output import show, size
from forebay.cli.programs import Client, Programs
from forebay.errors import ForebayError, Invalid
from forebay.kit.clock import parse_rfc3339
from forebay.store.protocol import Store, Where

SYSTEM, ACCESS_LINES = "kserve", 2000
# of a pull's phases those that follow each other, and the hashing, which runs beside the transfer
PULL_PHASES = {
    "resolve": "resolve",
    "room": "wait for room",
    "transfer": "transfer",
    "hash": "verify (beside the transfer)",
    "commit": "commit",
}


@dataclass
class Timing:
    """One replica. Phases in seconds, in the order in which they happened; sources in bytes."""

    pod: str
    node: str
    ready: bool
    created: str
    phases: dict[str, float] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    note: str = ""


async def timings(store: Store, key: Key) -> list[Timing]:
    """All replicas of a service, oldest first. Raises Absent."""
    service = await store.get(InferenceService, key)
    where = Where(namespace=key.namespace, labels=f"serving.kserve.io/inferenceservice={key.name}")
    pods = [pod for pod in (await store.list(Pod, where)).items if not pod.deleting]
    pods.sort(key=lambda pod: (pod.meta.get("creationTimestamp", ""), _started(pod), pod.name))
    copies = await _copies(store, service)
    found = [timing_of(pod, copies.get(str(pod.spec.get("nodeName", "")), {})) for pod in pods]
    first_of_node: set[str] = set()
    for timing in found:  # the transfer was waited for by the first replica on a node only
        if timing.node in first_of_node:
            timing.phases = {k: v for k, v in timing.phases.items() if k not in PULL_PHASES.values()}
            timing.sources = {"cache": sum(timing.sources.values())} if timing.sources else {}
        first_of_node.add(timing.node)
    return found


def _started(pod: Resource) -> str:
    return str(pod.status.get("startTime") or "")


async def _copies(store: Store, service: InferenceService) -> dict[str, Json]:
    """What each node says of the service's model, by node."""
    uri = ((service.spec.get("predictor") or {}).get("model") or {}).get("storageUri", "")
    found: dict[str, Json] = {}
    for node in (await store.list(LocalModelNode)).items:
        for entry in node.spec.get("localModels") or []:
            space = entry.get("namespace") or ""
            model = f"{space}/{entry['modelName']}" if space else entry["modelName"]
            if entry["sourceModelUri"].rstrip("/") == uri.rstrip("/"):
                found[node.name] = (node.status.get("models") or {}).get(model) or {}
    return found


def timing_of(pod: Resource, copy: Json) -> Timing:
    """One replica's phases from its conditions, its containers and its node's copy of the model (pure)."""
    created = parse_rfc3339(pod.meta["creationTimestamp"])
    scheduled = _condition_time(pod, "PodScheduled") or created
    ready = _condition_time(pod, "Ready")
    timing = Timing(
        pod.name, str(pod.spec.get("nodeName", "")), ready is not None, pod.meta["creationTimestamp"]
    )
    ports: Json = json.loads(pod.annotations.get("forebay.dev/ports") or "{}")
    timing.addresses = [f"{pod.status.get('podIP')}:{port}" for port in ports.values()]
    timing.phases["schedule"] = (scheduled - created).total_seconds()
    spent = copy.get("phases") or {}
    timing.phases |= {label: float(spent[name]) for name, label in PULL_PHASES.items() if name in spent}
    timing.sources = {name: int(count) for name, count in (copy.get("sources") or {}).items()}
    for status in pod.status.get("initContainerStatuses") or []:
        ended = (status.get("state") or {}).get("terminated") or {}
        if ended.get("startedAt") and ended.get("finishedAt"):
            spent = parse_rfc3339(ended["finishedAt"]) - parse_rfc3339(ended["startedAt"])
            timing.phases[f"init {status['name']}"] = spent.total_seconds()
    timing.phases |= _steps(pod, ready)
    if ready is None:
        timing.note = _why_not(pod)
    return timing


def _steps(pod: Resource, ready: datetime | None) -> dict[str, float]:
    """Mount and start, to the millisecond where the pod's node has told them, else in whole seconds."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):  # none yet, or not written by a node
        told: Json = json.loads(pod.annotations[TIMELINE])
        main = {container["name"] for container in pod.spec["containers"]}
        began = min(float(at) for name, at in told["started"].items() if name in main)
        return {"mount": float(told["mounted"]), "start to ready": max(0.0, float(told["ready"]) - began)}
    started = _main_started(pod)
    return {"start to ready": (ready - started).total_seconds()} if started and ready else {}


def _condition_time(pod: Resource, type_: str) -> datetime | None:
    for condition in pod.status.get("conditions") or []:
        if condition["type"] == type_ and condition["status"] == "True":
            return parse_rfc3339(condition["lastTransitionTime"])
    return None


def _main_started(pod: Resource) -> datetime | None:
    times = [
        parse_rfc3339(status["state"]["running"]["startedAt"])
        for status in pod.status.get("containerStatuses") or []
        if "running" in (status.get("state") or {})
    ]
    return min(times) if times else None


def _why_not(pod: Resource) -> str:
    for status in pod.status.get("containerStatuses") or []:
        waiting = (status.get("state") or {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
    for condition in pod.status.get("conditions") or []:
        if condition["status"] == "False" and condition.get("message"):
            return str(condition["message"])
    return str(pod.status.get("phase", ""))


def replicas_table(found: list[Timing]) -> None:
    """The small table of the demo: for each replica its bytes and its seconds."""
    for number, timing in enumerate(found, 1):
        state = "ready" if timing.ready else f"not ready: {timing.note}"
        click.echo(f"   replica {number}  {timing.pod} on {timing.node}: {state}")
        for source, count in timing.sources.items():
            click.echo(f"      {size(count):>10}  from {source}")
        for name, seconds in timing.phases.items():
            click.echo(f"      {seconds:8.2f} s  {name}")


@click.command()
@click.argument("what", shell_complete=complete_objects)
@namespace_option
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default=None, help="Machine-readable form."
)
@data_option
@click.pass_obj
@guarded
def explain(programs: Programs, what: str, namespace: str, output: str | None, data: Path | None) -> None:
    """Say for every replica of isvc/NAME where its time went, and what it waits for."""
    kind, names = split((what,))
    if kind is not InferenceService or len(names) != 1:
        raise Invalid(f"{what}: explain takes isvc/NAME")
    key = Key(namespace, names[0])

    async def body() -> tuple[InferenceService, list[Timing]]:
        async with programs.connect(data=data) as client:
            service = await client.get(InferenceService, key)
            found = await timings(client, key)
            for timing in found:
                await add_engine_phases(client, key.namespace, timing)
            await add_first_bytes(client, key, found)
            return service, found

    service, found = asyncio.run(body())

    def human() -> None:
        click.echo(f"isvc/{key.name}: {service.status.get('url') or 'no URL yet'}")
        for condition in service.status.get("conditions") or []:
            told = f"  {condition.get('message')}" if condition.get("message") else ""
            click.echo(f"   {condition['type']:16}{condition['status']:8}{condition.get('reason', '')}{told}")
        replicas_table(found)

    show([asdict(timing) for timing in found], output, human)


async def add_engine_phases(client: Client, namespace: str, timing: Timing) -> None:
    """What the engine printed of its own start, as `engine load` and the like."""
    async for said in json_lines(client, Key(namespace, timing.pod), None):
        if said.get("log") == "phase":
            timing.phases[f"engine {said['phase']}"] = float(said["seconds"])


async def add_first_bytes(client: Client, key: Key, found: list[Timing]) -> None:
    """The time to the first byte of each replica's first answered request, from the gateway's access log."""
    pods = await client.list(Pod, Where(namespace=SYSTEM, labels="app=forebay-gateway"))
    by_address = {address: timing for timing in found for address in timing.addresses}
    for gateway in pods.items:
        async for said in json_lines(client, gateway.key, ACCESS_LINES):
            timing = by_address.get(str(said.get("backend", "")))
            asked = said.get("method") == "POST" and said.get("status") == 200  # no list of models
            if said.get("log") == "access" and timing and asked:
                timing.phases.setdefault("first byte of an answer", float(said["first_byte_ms"]) / 1000)


async def json_lines(client: Client, key: Key, tail: int | None) -> AsyncIterator[Json]:
    """The JSON objects among a pod's log lines; nothing where the log cannot be read."""
    try:
        async for line in client.logs(key, tail=tail):
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
    except ForebayError:
        return
