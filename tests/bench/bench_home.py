"""The home's speed and footprint, as a person meets it: `python -m tests.bench.bench_home [--rounds N]`.

One table, medians of the rounds, each beside what is demanded of it. A hub on loopback holds SmolLM2-135M and
a filler beside it, so that a transfer has a size worth measuring; the home, the agent, the gateway and the
engine are the real programs and kubectl is the real one. What is measured alternates with what it is compared
to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.cli import smollm2
from tests.bench import home_probe as probe
from tests.bench.home_probe import Api, Watcher, cpu_s, free_port, tree, until
from tests.bench.tables import Table
from tests.seeds import world
from tests.service.kubectl import find_kubectl

EXAMPLES = world.ROOT / "examples"
REPO, CACHE, ISVC = "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct", "smollm2"
TOKEN = "example-token-of-the-demo"
SERVING = "/apis/serving.kserve.io/v1alpha1"
SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{ISVC}"
PODS, MAPS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
QUIET = "/api/v1/namespaces/kube-public/configmaps"
ASKED = {"model": ISVC, "stream": True, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
IDLE_S, SETTLE_S, BLOCK = 20.0, 5.0, 1 << 20


@dataclass
class Bench:
    """What all steps share."""

    table: Table
    rounds: int
    work: Path
    hub: str

    def up(self, name: str) -> world.HomeUnderTest:
        """Start a home on WORK/name, without waiting for it."""
        data, found = self.work / name, find_kubectl()
        assert found is not None, "no kubectl; KUBECTL names one"
        running = world.start(data, env={"HF_ENDPOINT": self.hub})
        return world.HomeUnderTest(data, running, found)


def ready_api(home: world.HomeUnderTest) -> Api:
    """A connection, once the API answers a request with a token."""
    config = home.data / "kubeconfig"
    until(lambda: config.exists() or home.process.poll() is not None, "the kubeconfig")

    def answers() -> Api | None:
        with suppress(OSError, TypeError, KeyError):
            api = Api(config)
            if api.raw("GET", "/api/v1/namespaces/default")[0] == 200:
                return api
        return None

    api: Api = until(answers, "an answer of the API")
    return api


def start_and_kill(bench: Bench) -> None:
    """From the command to the first answer, in a fresh folder; from kill -9 to the last process gone."""
    fresh, again, gone = [], [], []
    for number in range(bench.rounds):
        for runs in (fresh, again):
            (bench.work / f"up{number}" / "kubeconfig").unlink(missing_ok=True)
            began = time.monotonic()
            home = bench.up(f"up{number}")
            try:
                api = ready_api(home)
                runs.append(time.monotonic() - began)
                until(lambda api=api: gateway_ready(api), "the gateway")
                pids = tree(home.process.pid)
            finally:
                home.process.kill()
            began = time.monotonic()
            home.process.wait()
            until(lambda pids=pids: not any(map(probe.alive, pids)), "the end of all processes")
            gone.append(time.monotonic() - began)
    add = bench.table.add
    add("`forebay up` to first API answer", fresh, "s", demand=1.5, note="fresh folder, no keys yet")
    add("the same, in a folder that is there", again, "s", demand=1.5)
    add("kill -9 of the home to the last process gone", gone, "s", demand=1.0)


def gateway_ready(api: Api) -> bool:
    found = api.find("/apis/apps/v1/namespaces/kserve/deployments/forebay-gateway") or {}
    return bool((found.get("status") or {}).get("readyReplicas"))


def first_copies(bench: Bench, home: world.HomeUnderTest, api: Api) -> None:
    """The cold node: from the download's pod to the node saying that the view is there."""
    seconds, phases = [], []
    manifest = (EXAMPLES / "3-model-cache.yaml").read_text().replace("200Mi", "5Gi")
    for _ in range(bench.rounds):
        nodes, pods = Watcher(api, f"{SERVING}/localmodelnodes"), Watcher(api, "/api/v1/pods")
        home.kubectl("apply", "-f", "-", stdin=manifest)
        began, _ = pods.first(lambda kind, o: kind == "ADDED" and is_download(o), "the download's pod")
        ended, node = nodes.first(lambda _, o: downloaded(o), "the copy", since=began)
        seconds.append(ended - began)
        told = node["status"]["models"][CACHE].get("phases") or {}
        phases.append(" ".join(f"{name} {value:.2f}" for name, value in told.items()))
        nodes.close(), pods.close()
        if len(seconds) < bench.rounds:
            home.kubectl("delete", "-f", str(EXAMPLES / "3-model-cache.yaml"))
            until(lambda: not copies_of(api), "the copy to go")
    bench.table.add(
        "first replica's model: download's pod made to view published", seconds, "s", note=phases[-1]
    )


def is_download(pod: Any) -> bool:
    return str(pod["metadata"]["name"]).startswith(CACHE)


def downloaded(node: Any) -> bool:
    return (node.get("status", {}).get("modelStatus") or {}).get(CACHE) == "ModelDownloaded"


def copies_of(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in api("GET", f"{SERVING}/localmodelnodes")["items"]:
        found |= (node.get("status") or {}).get("modelStatus") or {}
    return found


def idle(bench: Bench, home: world.HomeUnderTest) -> None:
    """One node, the gateway and one agent, with nothing to do."""
    time.sleep(SETTLE_S)
    pids = tree(home.process.pid)
    rss, pss = probe.memory_mb(pids)
    each = [f"{probe.words_of(pid)} {probe.memory_mb([pid])[0]:.0f}" for pid in pids]
    cpu = []
    for _ in range(bench.rounds):
        before = cpu_s(pids)
        time.sleep(IDLE_S)
        cpu.append((cpu_s(pids) - before) / IDLE_S * 100)
    add = bench.table.add
    add("idle home, all processes, RSS", [rss], "MB", demand=250, note=", ".join(each))
    bench.table.add(
        "idle home, all processes, PSS", [pss], "MB", demand=250, note="a shared page counts once"
    )
    add("idle home, CPU", cpu, "% of a core", demand=1, note=f"over {IDLE_S:g} s")


def to_first_token(bench: Bench, home: world.HomeUnderTest, api: Api, gateway: str) -> None:
    """kubectl apply of a service whose model is cached, beside the engine alone on the same file."""
    alone, applied, only_kubectl, ready = [], [], [], []
    manifest = str(EXAMPLES / "4-inference-service.yaml")
    url = f"{gateway}/serving/default/{ISVC}/openai/v1/chat/completions"
    for _ in range(bench.rounds):
        alone.append(engine_alone(home.data))
        events = Watcher(api, SERVICE.rpartition("/")[0])
        began = time.monotonic()
        home.kubectl("apply", "-f", manifest)
        only_kubectl.append(time.monotonic() - began)
        applied.append(first_token(url) - began)
        ready.append(
            events.first(lambda _, o: is_ready(o), "the service to be ready", since=began)[0] - began
        )
        events.close()
        home.kubectl("delete", "-f", manifest)
        until(lambda: not api("GET", PODS)["items"], "the pods to go")
    gap = [a - e for a, e in zip(applied, alone, strict=True)]
    add = bench.table.add
    add("engine alone: start to first token", alone, "s")
    bench.table.add(
        "kubectl apply (cached model) to first token", applied, "s", note="asked at once, through the gateway"
    )
    add("... to the service's Ready, as a watcher sees it", ready, "s")
    add("... of it, kubectl itself", only_kubectl, "s")
    bench.table.add(
        "apply to first token, less the engine alone", gap, "s", demand=0.5, note="pairs of one round"
    )


def is_ready(service: Any) -> bool:
    conditions = (service.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def engine_alone(data: Path) -> float:
    """Seconds from the engine's command to its first token, asked without the gateway."""
    model = next(data.glob(f"nodes/*/root/models/models/*/{smollm2.FILE}")).parent
    port = free_port()
    words = [*world.FOREBAY, "llama", f"--model_name={ISVC}", f"--model_dir={model}", "--port", str(port)]
    began = time.monotonic()
    engine = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return first_token(f"http://127.0.0.1:{port}/v1/chat/completions") - began
    finally:
        engine.terminate()
        engine.wait()


def first_token(url: str) -> float:
    """When the first piece of a streamed answer came; asks until somebody is there who knows the model."""
    request = urllib.request.Request(
        url, json.dumps(ASKED).encode(), {"Content-Type": "application/json", "Authorization": "Bearer -"}
    )

    def ask() -> float:
        with (
            suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(request, timeout=60) as answer,
        ):
            for line in answer:
                if re.search(rb'"content":\s*"[^"]', line):
                    return time.monotonic()
        return 0.0

    found: float = until(ask, f"a token from {url}")
    return found


def second_replicas(bench: Bench, home: world.HomeUnderTest, api: Api) -> None:
    """The warm node: from the pod's creation to the model mounted, and to its container running on it."""
    mounted, running = [], []
    home.kubectl("apply", "-f", str(EXAMPLES / "4-inference-service.yaml"))
    until(lambda: is_ready(api.find(SERVICE) or {}), "the service")
    for _ in range(bench.rounds):
        known = {pod["metadata"]["uid"] for pod in api("GET", PODS)["items"]}
        pods = Watcher(api, PODS)
        scale(home, 2)
        first, pod = pods.first(lambda _, o, known=known: o["metadata"]["uid"] not in known, "a second pod")
        uid = pod["metadata"]["uid"]
        last, _ = pods.first(
            lambda _, o, uid=uid: o["metadata"]["uid"] == uid and has_volumes(o), "its model"
        )
        mounted.append(last - first)
        last, _ = pods.first(lambda _, o, uid=uid: o["metadata"]["uid"] == uid and runs(o), "it to run")
        running.append(last - first)
        scale(home, 1)
        until(lambda: len(api("GET", PODS)["items"]) == 1, "one pod")
        pods.close()
    whole = next(row for row in bench.table.rows if row.what.startswith("first replica"))
    add = bench.table.add
    add("second replica's model: pod made to model mounted", mounted, "s", demand=whole.median / 30,
        note="no transfer, no verification: schedule and mount")  # fmt: skip
    add("... to its container running on it", running, "s")


def has_volumes(pod: Any) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "PodReadyToStartContainers" and c["status"] == "True" for c in conditions)


def runs(pod: Any) -> bool:
    return any("running" in c["state"] for c in (pod.get("status") or {}).get("containerStatuses") or [])


def scale(home: world.HomeUnderTest, replicas: int) -> None:
    change = {"spec": {"predictor": {"minReplicas": replicas, "maxReplicas": replicas}}}
    home.kubectl("patch", "isvc", ISVC, "--type=merge", "-p", json.dumps(change))


def verbs(bench: Bench, home: world.HomeUnderTest, api: Api) -> None:
    """GET, LIST, create and watch: latency at a bare client and CPU of the home."""
    make = lambda name: {"metadata": {"name": name}, "data": {"k": "v" * 200}}  # noqa: E731
    count, home_pid = 200, [home.process.pid]
    watcher = Watcher(api, MAPS)
    calls = {
        "create (durable)": lambda n: api("POST", MAPS, make(f"bench-{n}")),
        "GET": lambda n: api("GET", f"{MAPS}/bench-{n}"),
        f"LIST of {count}": lambda n: api("GET", MAPS),
    }
    for name, call in calls.items():
        times = count if "LIST" not in name else 20
        before, each = cpu_s(home_pid), []
        for n in range(times):
            began = time.perf_counter()
            call(n)
            each.append((time.perf_counter() - began) * 1000)
        cpu = (cpu_s(home_pid) - before) / times * 1000
        bench.table.add(f"API {name}", each, "ms", note=f"{cpu:.2f} ms of the home's CPU each")
    lags = []
    for n in range(50):
        began = time.monotonic()
        api("POST", MAPS, make(f"bench-w{n}"))
        lags.append(
            (watcher.first(lambda _, o, n=n: o["metadata"]["name"] == f"bench-w{n}", "it")[0] - began) * 1000
        )
    watcher.close()
    bench.table.add("create to a watcher's event", lags, "ms")


def many(bench: Bench, home: world.HomeUnderTest, api: Api) -> None:
    """A thousand objects in one list, and two hundred watchers of one change."""
    for n in range(749):
        api("POST", MAPS, {"metadata": {"name": f"bench-m{n}"}, "data": {"k": "v" * 200}})
    bare, full = [], []
    for _ in range(max(bench.rounds, 5)):
        began = time.monotonic()
        found = api("GET", MAPS)["items"]  # ours and kube-root-ca.crt
        bare.append((time.monotonic() - began) * 1000)
        assert len(found) == 1000, len(found)
        began = time.monotonic()
        home.kubectl("get", "configmaps")
        full.append((time.monotonic() - began) * 1000)
    bench.table.add("LIST of 1000 ConfigMaps", bare, "ms", note="bare client, decoding included")
    bench.table.add("kubectl get configmaps (1000)", full, "ms", note="kubectl's own start included")
    last, cpu = [], []
    for n in range(bench.rounds):
        before: list[float] = []

        def make(n: int = n, before: list[float] = before) -> None:
            before.append(cpu_s([home.process.pid]))
            api("POST", QUIET, {"metadata": {"name": f"bench-crowd-{n}"}})

        _, late = asyncio.run(probe.crowd(api, QUIET, size=200, make=make))
        cpu.append((cpu_s([home.process.pid]) - before[0]) * 1000)
        api("DELETE", f"{QUIET}/bench-crowd-{n}")
        last.append(late * 1000)
    bench.table.add("200 watchers: create to the last one's event", last, "ms")
    bench.table.add("... CPU of the home for it", cpu, "ms")


def life(bench: Bench) -> None:
    """All that needs one running home, in the order in which a person would meet it."""
    home = bench.up("home")
    try:
        api = ready_api(home)
        gateway = until(lambda: (home.data / "up.json").exists(), "up.json") and json.loads(
            (home.data / "up.json").read_text())["gateway"]  # fmt: skip
        for name in ("gated/hf-secret", "1-storage-container", "2-node-group"):
            home.kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
        until(lambda: gateway_ready(api), "the gateway")
        first_copies(bench, home, api)
        idle(bench, home)
        to_first_token(bench, home, api, gateway)
        second_replicas(bench, home, api)
        home.kubectl("delete", "-f", str(EXAMPLES / "4-inference-service.yaml"))
        verbs(bench, home, api)
        many(bench, home, api)
    except BaseException:
        print(home.log()[-3000:], file=sys.stderr)
        raise
    finally:
        world.end(home.process)


def filled(folder: Path, filler_mb: int) -> Path:
    """The model in a hub's folder, with a filler beside it that a pull must move and verify as well."""
    place = world.put_model(folder, REPO, smollm2.ensure())
    block = os.urandom(BLOCK)
    with (place.parent / "filler.bin").open("wb") as out:
        for number in range(filler_mb):
            out.write(number.to_bytes(8, "big") + block[8:])
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filler-mb", type=int, default=2000)
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # programs are installed with their bytecode
    work = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    title = (
        f"The home, medians of {args.rounds} or more runs; a model of 98 MB and {args.filler_mb} MB of filler"
    )
    table = Table(title)
    try:
        with world.hub(filled(work / "hub", args.filler_mb), gated=(REPO,), token=TOKEN) as hub:
            bench = Bench(table, args.rounds, work, hub.url)
            start_and_kill(bench)
            life(bench)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        print(table.text())


if __name__ == "__main__":
    main()
