"""demo: a real model through the real path, on free ports and in a fresh folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import click

from forebay.api.kinds import InferenceService, LocalModelCache, Pod, Secret
from forebay.api.meta import Json, Key, Resource
from forebay.cli import manifests, smollm2
from forebay.cli.asking import wait_reachable
from forebay.cli.errors import guarded
from forebay.cli.explaining import replicas_table, timings
from forebay.cli.programs import Programs, UpOptions
from forebay.cli.serving import say, service_url
from forebay.cli.waiting import condition, wait_for_all
from forebay.errors import Unavailable
from forebay.store.protocol import Store, Where, edit

QUESTION = "What is the capital of France?"
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
HUB_START_S, REACHABLE_S, TIMEOUT_S = 20.0, 30.0, 120.0


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running and say what to try next.")
@click.pass_obj
@guarded
def demo(programs: Programs, keep: bool) -> None:
    """Cache SmolLM2-135M on this machine, serve it, ask it, scale it to two, and show where the time went."""
    began = time.monotonic()
    click.echo("1. the model: SmolLM2-135M-Instruct (98 MB, Apache-2.0)")
    model = smollm2.ensure()
    work = Path(tempfile.mkdtemp(prefix="forebay-demo-"))
    objects = example_objects()
    try:
        hub, url = start_hub(work / "hub", objects, model)
        click.echo(f"2. a hub on loopback holds it: HF_ENDPOINT={url}")
        os.environ["HF_ENDPOINT"] = url  # the home passes it on to its pods, as a site's mirror
        click.echo("3. forebay up")
        data = work / "data"
        if programs.up(UpOptions(data, 0, 0, 1, "forebay", (), (), True)):
            raise Unavailable(f"the home did not start; see {data}/up.log")
        with ended(programs, data, hub, work, keep=keep):
            asyncio.run(play(programs, data, objects))
            click.echo(f"\ndone in {time.monotonic() - began:.1f} s")
            if keep:
                say_what_next(programs, data, hub.pid)
    except BaseException:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
        raise


def example_objects() -> list[Resource]:
    """The manifests of examples/: in the wheel as package data, in a checkout at its root."""
    packaged = resources.files("forebay") / "examples"
    folder = Path(str(packaged)) if packaged.is_dir() else Path(__file__).parents[3] / "examples"
    return manifests.read([str(folder / "gated"), str(folder)])


def start_hub(folder: Path, objects: list[Resource], model: Path) -> tuple[subprocess.Popen[str], str]:
    """A hub that holds the model under the name that the example asks for, and wants the example's token."""
    uri = next(o for o in objects if isinstance(o, LocalModelCache)).spec["sourceModelUri"]
    repo = uri.removeprefix("hf://").split(":")[0]
    place = folder / repo
    place.mkdir(parents=True)
    os.link(model, place / model.name) if _same_disk(model, place) else shutil.copy(model, place / model.name)
    (place / "README.md").write_text("SmolLM2-135M-Instruct, quantized to Q4_1. License: Apache-2.0.\n")
    words = [sys.executable, "-m", "forebay.main", "hub", str(folder), "--port", "0"]
    token = next((o.raw["stringData"]["HF_TOKEN"] for o in objects if isinstance(o, Secret)), "")
    environment = {
        **os.environ,
        "HUB_TOKENS": token,
    }  # not among the arguments, where every user could read it
    process = subprocess.Popen(
        [*words, *(["--gated", repo] if token else [])], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if "http://" not in line:
        raise Unavailable(f"the hub on loopback did not start (exit {process.poll()})")
    return process, line[line.index("http://") :].strip()


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


@contextmanager
def ended(
    programs: Programs, data: Path, hub: subprocess.Popen[str], work: Path, *, keep: bool
) -> Iterator[None]:
    """Whatever happens in the block: stop what was started, unless it is to be kept and all went well."""
    try:
        yield
    except BaseException:
        stop(programs, data, hub)
        shutil.copy(data / "up.log", Path.cwd() / "forebay-demo.log")
        click.echo("the home's log is in ./forebay-demo.log", err=True)
        raise
    if not keep:
        stop(programs, data, hub)
        shutil.rmtree(work, ignore_errors=True)


def stop(programs: Programs, data: Path, hub: subprocess.Popen[str]) -> None:
    """End the home in order, then the hub."""
    subprocess.run([sys.executable, "-m", "forebay.main", "down", "--data", str(data)], check=False)
    hub.send_signal(signal.SIGTERM)
    hub.wait(timeout=10)


async def play(programs: Programs, data: Path, objects: list[Resource]) -> None:
    """Apply, wait, ask, scale, report."""
    async with programs.connect(data=data) as client:
        click.echo("4. kubectl apply -f examples/gated -f examples/   (the kinds of KServe's guide)")
        for item in objects:
            stored, verb = await manifests.apply(client, item, "default")
            click.echo(f"   {stored.singular}/{stored.name} {verb}")
        await wait_for_all(client, objects, timeout_s=TIMEOUT_S)
        service = next(o for o in objects if isinstance(o, InferenceService))
        url = await service_url(client, service.name, service.namespace)
        wait_reachable(url, deadline_s=REACHABLE_S)
        click.echo(f"5. ready: {url}\n\n   > {QUESTION}\n   ", nl=False)
        say(url, model_name(service), [SYSTEM, {"role": "user", "content": QUESTION}])
        click.echo("\n6. a second replica, from the same copy on disk")
        await scale(client, service.key, 2)
        await two_ready(client, service.key)
        click.echo()
        replicas_table((await timings(client, service.key))[1])


def model_name(service: Resource) -> str:
    """The name under which the example serves it: --model_name, else the service's own."""
    arguments: list[str] = service.spec["predictor"]["model"].get("args") or []
    named = [a.split("=", 1)[1] for a in arguments if a.startswith("--model_name=")]
    return named[0] if named else service.name


async def scale(store: Store, key: Key, replicas: int) -> None:
    """Ask for a number of replicas."""

    def change(item: InferenceService) -> None:
        item.spec["predictor"]["minReplicas"] = replicas
        item.spec["predictor"]["maxReplicas"] = max(
            replicas, int(item.spec["predictor"].get("maxReplicas") or 0)
        )

    await edit(store, InferenceService, key, change)


async def two_ready(store: Store, key: Key) -> None:
    """Return when two pods are ready. Raises Unavailable."""
    where = Where(namespace=key.namespace, labels=f"serving.kserve.io/inferenceservice={key.name}")
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        pods = (await store.list(Pod, where)).items
        if sum(condition(pod, "Ready").get("status") == "True" for pod in pods) >= 2:
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"the second replica of {key} was not ready after {TIMEOUT_S:g} s")
        await asyncio.sleep(0.1)


def say_what_next(programs: Programs, data: Path, hub: int) -> None:
    """What a person may try now; `hub` is the pid of the hub on loopback."""
    facts: Json = programs.running(data)
    beside = Path(sys.executable).with_name("forebay")  # also where the environment is not on the PATH
    forebay = shutil.which("forebay") or (beside if beside.exists() else f"{sys.executable} -m forebay.main")
    client = "" if find_spec("openai") else f"{sys.executable} -m pip install openai && \\\n  "
    messages = json.dumps([SYSTEM, {"role": "user", "content": QUESTION}])
    click.echo(f"""
It is still running. Try:

  export KUBECONFIG={facts["kubeconfig"]}
  kubectl get localmodelcaches,inferenceservices,pods
  kubectl get localmodelnode -o yaml
  {forebay} explain isvc/smollm2 --data {data}
  curl {facts["gateway"]}/openai/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "smollm2", "temperature": 0, "messages": {messages}}}'
  {client}OPENAI_BASE_URL={facts["gateway"]}/openai/v1 OPENAI_API_KEY=- \\
    {sys.executable} -c 'from openai import OpenAI; print(OpenAI().models.list())'

  {forebay} down --data {data} && kill {hub} && rm -r {data.parent}   # leaves nothing
""")
