"""The guide with other names, another hub, three nodes, and what people do next."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from forebay.cli import smollm2
from tests.seeds.objects import cache, downloader, node_group, secret, service, thing
from tests.seeds.world import HomeUnderTest, Hub, eventually, home, hub, put_file, put_model
from tests.service.kubectl import needs_kubectl

JOBS = "kserve-localmodel-jobs"
NODES = ("rack", "rack2", "rack3")
TOKEN, OPEN, GATED, LATE = "t-right", "acme/Small-1", "acme/secret-2", "acme/late"
pytestmark = [
    pytest.mark.timeout(240),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a model that answers, and small ones that only lie there."""
    folder = tmp_path_factory.mktemp("hub")
    for repo in (OPEN, LATE):
        put_model(folder, repo, smollm2.ensure())
    for number, repo in enumerate((GATED, "acme/three", "acme/four", "acme/five", "acme/wide")):
        put_file(folder, repo, "model.safetensors", size=2_000_000 + number)
        put_file(folder, repo, "config.json", size=300 + number)
    with hub(folder, gated=(GATED, LATE, "acme/three"), token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def farm(origin: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    """Three nodes, which know the hub only from the ClusterStorageContainers' environment."""
    with home(tmp_path_factory.mktemp("home"), "--node-name", NODES[0], "--nodes", "3") as running:
        running.apply(
            secret("acme-token", JOBS, HF_TOKEN=TOKEN),
            downloader("acme-hub", origin.url, "acme-token"),
            downloader("acme-init", origin.url, "", workload="initContainer"),
            node_group("everywhere"),
            node_group("one", NODES[1]),
            node_group("nowhere", "no-such-node"),
        )
        running.apply(cache("small", f"hf://{OPEN}", "one"))
        cached(running, "small")
        yield running


def state(farm: HomeUnderTest, *words: str) -> Any:
    return farm.json(*words).get("status") or {}


def copies(farm: HomeUnderTest, name: str, *more: str) -> Any:
    return (
        state(farm, "localmodelnamespacecache" if more else "localmodelcache", name, *more).get("copies")
        or {}
    )


def cached(farm: HomeUnderTest, name: str, *more: str, total: int = 1) -> None:
    """Wait until every copy of a cache is there."""
    want = {"available": total, "total": total}
    eventually(lambda: copies(farm, name, *more) == want, what=f"{total} copies of {name}")


def ready(farm: HomeUnderTest, name: str, *, seconds: int = 60) -> None:
    words = ("wait", "--for=condition=Ready", f"isvc/{name}", f"--timeout={seconds}s")
    told = farm.kubectl(*words, check=False)
    assert "condition met" in told, told + story(farm, name)


def story(farm: HomeUnderTest, name: str) -> str:
    """Why a service is not ready, for the report of a failed test."""
    chosen = ("-l", f"serving.kserve.io/inferenceservice={name}")
    parts = (
        farm.kubectl("get", "isvc", name, "-o", "jsonpath={.status}"),
        farm.kubectl("get", "pods", "-A", "-o", "wide"),
        farm.kubectl("describe", "pods", *chosen),
        farm.kubectl("logs", *chosen, "--all-containers", "--tail=20", check=False),
    )
    return "\n\n".join(parts)


def root(farm: HomeUnderTest, node: str) -> Path:
    return farm.data / "nodes" / node / "root" / "models"


def manifests(farm: HomeUnderTest, node: str) -> dict[str, Any]:
    """Every manifest on a node by its storage key."""
    folder = root(farm, node) / ".forebay" / "manifests"
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions") or [] if c["type"] == kind), {})


def answer(farm: HomeUnderTest, name: str) -> str:
    """A short completion of a service's model."""
    url = f"{farm.facts['gateway']}/serving/default/{name}/openai/v1/completions"
    body = {"model": name, "prompt": "1 2 3", "max_tokens": 2, "temperature": 0}
    got = httpx.post(url, json=body, timeout=60, trust_env=False)
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["text"])


def test_three_nodes_hold_the_same_revision_and_the_first_one_resolves_it(farm: HomeUnderTest) -> None:
    farm.apply(cache("wide", "hf://acme/wide", "everywhere"))
    cached(farm, "wide", total=3)
    status = state(farm, "localmodelcache", "wide")
    assert status["nodeStatus"] == dict.fromkeys(NODES, "NodeDownloaded")
    key, revision = status["storageKey"], status["revision"]
    assert re.fullmatch("[0-9a-f]{40}", revision)
    assert {manifests(farm, node)[key]["revision"] for node in NODES} == {revision}
    jobs = {j["metadata"]["name"]: j for j in farm.json("jobs", "-n", JOBS, "-l", "model=wide")["items"]}
    assert set(jobs) == {f"wide-{node}" for node in NODES}
    env = {
        name: {e["name"]: e.get("value", "") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        for name, job in jobs.items()
    }
    assert [env[f"wide-{node}"]["FOREBAY_REVISION"] for node in NODES] == ["", revision, revision]


def test_a_cache_in_use_stays_a_service_leaves_it_and_deleting_it_removes_the_files(
    farm: HomeUnderTest,
) -> None:
    farm.apply(cache("four", "hf://acme/four", "one"))
    cached(farm, "four")
    key = state(farm, "localmodelcache", "four")["storageKey"]
    view = root(farm, NODES[1]) / "models" / key
    size = (view / "model.safetensors").stat().st_size
    blob = root(farm, NODES[1]) / ".forebay" / "blobs" / "sha256"
    before = {p.name for p in blob.rglob("*") if p.is_file() and p.stat().st_size == size}
    assert len(before) == 1
    farm.apply(service("four", "hf://acme/four"))
    eventually(
        lambda: (
            farm.json("isvc", "four")["metadata"]
            .get("labels", {})
            .get("internal.serving.kserve.io/localmodel")
        ),
        what="the service's cache",
    )
    told = farm.refused("delete", "localmodelcache", "four", "--wait=false")
    assert "LocalModelCache four is being used by InferenceService four" in told
    farm.kubectl("delete", "isvc", "four", "--timeout=30s")
    assert copies(farm, "four") == {"available": 1, "total": 1}
    farm.kubectl("delete", "localmodelcache", "four", "--timeout=60s")
    assert not view.exists()
    assert key not in manifests(farm, NODES[1])
    eventually(
        lambda: not before & {p.name for p in blob.rglob("*")}, what="the blobs of the deleted cache to go"
    )
    entries = farm.json("localmodelnode", NODES[1])["spec"]["localModels"]
    assert "four" not in [e["modelName"] for e in entries]
    assert not farm.json("pv", "four-download")


def test_a_service_before_its_cache_waits_and_then_becomes_ready_by_itself(farm: HomeUnderTest) -> None:
    farm.apply(service("late", f"hf://{LATE}"))  # its own download has no token: only the cache can help
    eventually(lambda: pods(farm, "late"), what="the pod that cannot start")
    farm.apply(cache("late", f"hf://{LATE}", "one"))
    ready(farm, "late")
    assert condition(state(farm, "isvc", "late"), "CacheHit")["status"] == "True"
    assert answer(farm, "late")
    farm.kubectl("delete", "isvc/late", "--timeout=30s")


def test_pull_when_uncached_starts_without_the_cache(farm: HomeUnderTest) -> None:
    farm.kubectl("delete", "localmodelcache", "small", "--timeout=60s")
    try:
        farm.apply(cache("away", f"hf://{OPEN}", "nowhere"))
        farm.apply(service("waits", f"hf://{OPEN}"), service("pulls", f"hf://{OPEN}", when_uncached="pull"))
        ready(farm, "pulls")
        assert answer(farm, "pulls")
        assert condition(state(farm, "isvc", "pulls"), "CacheHit")["status"] == "False"
        assert condition(state(farm, "isvc", "waits"), "Ready")["status"] == "False"
        farm.kubectl("delete", "isvc/waits", "isvc/pulls", "--timeout=30s")
        farm.kubectl("delete", "localmodelcache/away", "--timeout=60s")
    finally:
        farm.apply(cache("small", f"hf://{OPEN}", "one"))
        cached(farm, "small")


def test_stop_takes_the_pods_away_and_its_end_brings_them_back(farm: HomeUnderTest) -> None:
    farm.apply(service("stopper", f"hf://{OPEN}"))
    ready(farm, "stopper")
    farm.kubectl("annotate", "isvc", "stopper", "serving.kserve.io/stop=true")
    eventually(lambda: not pods(farm, "stopper"), what="the pods of a stopped service to go")
    eventually(
        lambda: condition(state(farm, "isvc", "stopper"), "Stopped").get("status") == "True", what="Stopped"
    )
    farm.kubectl("annotate", "isvc", "stopper", "serving.kserve.io/stop-")
    ready(farm, "stopper")
    assert answer(farm, "stopper")
    farm.kubectl("delete", "isvc/stopper", "--timeout=30s")


def test_a_service_in_the_place_of_one_that_just_left_becomes_ready(farm: HomeUnderTest) -> None:
    """The claim that both would share is being deleted with the first; neither may hold up the other."""
    farm.apply(service("first", f"hf://{OPEN}"))
    ready(farm, "first")
    farm.kubectl("delete", "isvc/first", "--wait=false")
    farm.apply(service("next", f"hf://{OPEN}"))
    ready(farm, "next", seconds=30)
    assert answer(farm, "next")
    farm.kubectl("delete", "isvc/next", "--timeout=30s")


def test_a_claim_is_mounted_and_not_copied(farm: HomeUnderTest, origin: Hub) -> None:
    place = farm.data / "nodes" / NODES[2] / "root" / "shelf" / "llm"
    place.mkdir(parents=True)
    (place / "model.gguf").symlink_to(smollm2.ensure())
    where = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODES[2]]}]}
    amount = {"storage": "1Gi"}
    shared = {"accessModes": ["ReadOnlyMany"], "storageClassName": "shelf"}
    volume = {**shared, "capacity": amount, "hostPath": {"path": "/shelf"},
              "nodeAffinity": {"required": {"nodeSelectorTerms": [where]}}}  # fmt: skip
    farm.apply(
        thing("v1", "PersistentVolume", "shelf", spec=volume),
        thing(
            "v1",
            "PersistentVolumeClaim",
            "shelf",
            "default",
            spec={**shared, "resources": {"requests": amount}},
        ),
        service("shelved", "pvc://shelf/llm"),
    )
    before = len(origin.requests())
    ready(farm, "shelved")
    assert answer(farm, "shelved")
    assert len(origin.requests()) == before
    pod = farm.json("pods", "-l", "serving.kserve.io/inferenceservice=shelved")["items"][0]
    assert pod["spec"]["nodeName"] == NODES[2]
    farm.kubectl("delete", "isvc/shelved", "--timeout=30s")


def test_a_second_replica_asks_the_hub_for_nothing(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(service("twins", f"hf://{OPEN}"))
    ready(farm, "twins")
    before = len(origin.requests())
    change = {"spec": {"predictor": {"minReplicas": 2}}}
    farm.kubectl("patch", "isvc", "twins", "--type=merge", "-p", json.dumps(change))
    eventually(
        lambda: state(farm, "deployment", "twins-predictor").get("readyReplicas") == 2, what="two replicas"
    )
    assert len(origin.requests()) == before
    farm.kubectl("delete", "isvc/twins", "--timeout=30s")


def test_a_rollout_drops_no_request(farm: HomeUnderTest) -> None:
    farm.apply(service("roller", f"hf://{OPEN}"))
    ready(farm, "roller")
    first = pods(farm, "roller")
    with asking(farm, "roller") as outcomes:
        eventually(lambda: len(outcomes) >= 3, what="answers before the rollout")
        farm.apply(service("roller", f"hf://{OPEN}", args=("--model_name=roller", "--model_name=roller")))
        eventually(lambda: not first & pods(farm, "roller"), what="the rollout")
        seen = len(outcomes)
        eventually(lambda: len(outcomes) >= seen + 3, what="answers after the rollout")
    assert set(outcomes) == {"200"}, outcomes
    farm.kubectl("delete", "isvc/roller", "--timeout=30s")


def pods(farm: HomeUnderTest, name: str) -> set[str]:
    found = farm.json("pods", "-l", f"serving.kserve.io/inferenceservice={name}")
    return {pod["metadata"]["name"] for pod in found.get("items", [])}


@contextmanager
def asking(farm: HomeUnderTest, name: str) -> Iterator[list[str]]:
    """A client that asks again and again; what came of each request."""
    outcomes: list[str] = []
    stop = threading.Event()
    url = f"{farm.facts['gateway']}/serving/default/{name}/openai/v1/completions"
    body = {"model": name, "prompt": "1 2 3", "max_tokens": 2, "temperature": 0}

    def loop() -> None:
        while not stop.is_set():
            try:
                got = httpx.post(url, json=body, timeout=60, trust_env=False)
                outcomes.append(str(got.status_code) if got.status_code == 200 else got.text)
            except httpx.HTTPError as error:
                outcomes.append(repr(error))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        thread.join()


def test_a_namespaced_cache_uses_its_own_secret(farm: HomeUnderTest) -> None:
    account = thing("v1", "ServiceAccount", "puller", "team", secrets=[{"name": "team-token"}])
    farm.apply(
        thing("v1", "Namespace", "team"),
        secret("team-token", "team", HF_TOKEN=TOKEN),
        account,
        cache("ours", "hf://acme/three", "one", namespace="team", serviceAccountName="puller"),
    )
    cached(farm, "ours", "-n", "team")
    assert state(farm, "localmodelnode", NODES[1])["modelStatus"]["team/ours"] == "ModelDownloaded"
    secrets = farm.json("secrets", "-n", JOBS)["items"]
    eventually(
        lambda: {s["metadata"]["name"] for s in farm.json("secrets", "-n", JOBS)["items"]} == {"acme-token"},
        what=f"the copied credentials to go; at first {[s['metadata']['name'] for s in secrets]}",
    )
    farm.kubectl("delete", "localmodelnamespacecache", "ours", "-n", "team", "--timeout=60s")


def test_a_wrong_token_is_told_and_the_right_one_goes_on_by_itself(farm: HomeUnderTest) -> None:
    farm.apply(secret("acme-token", JOBS, HF_TOKEN="t-wrong"))
    try:
        farm.apply(cache("gated", f"hf://{GATED}", "one"))
        eventually(
            lambda: (
                state(farm, "localmodelcache", "gated").get("nodeStatus") == {NODES[1]: "NodeDownloadError"}
            ),
            what="the refusal",
        )
        said = condition(state(farm, "localmodelcache", "gated"), "Ready")
        assert (
            said["status"] == "False" and "token" in said["message"] and "t-wrong" not in said["message"]
        ), said
        events = farm.kubectl("events", "--for", "localmodelcache/gated", "-A")
        assert "token" in events, events
    finally:
        farm.apply(secret("acme-token", JOBS, HF_TOKEN=TOKEN))
    cached(farm, "gated")
    assert condition(state(farm, "localmodelcache", "gated"), "Ready")["status"] == "True"
