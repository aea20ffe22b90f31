"""What one tenant tries so as to read another's model: objects, marks and addresses that claim a right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.seeds.objects import Object, cache, downloader, node_group, secret, thing
from tests.seeds.world import HomeUnderTest, Hub, eventually, home, hub, put_file
from tests.service.kubectl import needs_kubectl

from forebay.api.names import storage_key

TOKEN, URI, NODE = "t-right", "hf://acme/gated", "forebay"
KEY = storage_key(URI)
WHOLE = {"available": 1, "total": 1}
PLAN = "forebay.dev/storage-plan"
pytestmark = [pytest.mark.timeout(180), needs_kubectl]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    for repo in ("acme/gated", "acme/open"):
        put_file(folder, repo, "model.safetensors", size=100_000)
        put_file(folder, repo, "config.json", size=300)
    with hub(folder, gated=("acme/gated",), token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def farm(origin: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    """`rich` holds a gated model with its own token; `poor` is another person's namespace."""
    with home(tmp_path_factory.mktemp("home")) as running:
        account = thing("v1", "ServiceAccount", "puller", "rich", secrets=[{"name": "hub"}])
        running.apply(
            thing("v1", "Namespace", "rich"), thing("v1", "Namespace", "poor"),
            downloader("acme-hub", origin.url, ""), node_group("all"),
            secret("hub", "rich", HF_TOKEN=TOKEN), account,
            cache("theirs", URI, "all", namespace="rich", serviceAccountName="puller"),
        )  # fmt: skip
        theirs = ("localmodelnamespacecache", "theirs", "-n", "rich")
        eventually(lambda: (running.json(*theirs).get("status") or {}).get("copies") == WHOLE)
        yield running


@pytest.fixture(scope="module")
def mallory(farm: HomeUnderTest) -> dict[str, str]:
    """The environment of a kubectl of the person who owns `poor`."""
    path = farm.forebay("kubeconfig", "--user", "mallory", "-n", "poor").strip()
    return {"KUBECONFIG": path}


def apply(farm: HomeUnderTest, mallory: dict[str, str], *objects: Object) -> str:
    return farm.kubectl("apply", "-f", "-", stdin="\n".join(map(json.dumps, objects)), env=mallory)


def sleeper(name: str, uri: str = "") -> Object:
    """A service of a container that only waits, of a model if one is named."""
    box: Object = {"name": "kserve-container", "image": "any", "command": ["sleep", "600"]}
    box |= {"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}
    if uri:
        box["env"] = [{"name": "STORAGE_URI", "value": uri}]
    spec = {"predictor": {"containers": [box], "terminationGracePeriodSeconds": 1}}
    return thing("serving.kserve.io/v1beta1", "InferenceService", name, "poor", spec=spec)


def shown(farm: HomeUnderTest) -> list[str]:
    """Paths of the volumes that are reserved for claims in `poor`."""
    return [
        str((v["spec"].get("local") or v["spec"].get("hostPath") or {}).get("path"))
        for v in farm.json("pv")["items"]
        if (v["spec"].get("claimRef") or {}).get("namespace") == "poor"
    ]


def ready(pod: Object) -> bool:
    told = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in told)


def test_a_cache_that_was_refused_gives_no_volume(farm: HomeUnderTest, mallory: dict[str, str]) -> None:
    apply(farm, mallory, cache("mine", URI, "all", namespace="poor"), sleeper("sly", URI))
    mine = ("localmodelnamespacecache", "mine", "-n", "poor")
    eventually(lambda: "token" in str(farm.json(*mine).get("status")), what="the refusal")
    pods = ("pods", "-n", "poor", "-l", "serving.kserve.io/inferenceservice=sly")
    eventually(lambda: "unbound" in str(farm.json(*pods)) or shown(farm), what="the pod that waits")
    assert not shown(farm), "the volume of somebody else's copy"
    apply(farm, mallory, secret("hub", "poor", HF_TOKEN=TOKEN),
          thing("v1", "ServiceAccount", "default", "poor", secrets=[{"name": "hub"}]))  # fmt: skip
    eventually(lambda: [p for p in farm.json(*pods)["items"] if ready(p)], what="the pod, once it may read")
    assert shown(farm) == [f"/models/models/{KEY}"]
    farm.kubectl("delete", "isvc/sly", "localmodelnamespacecache/mine", "-n", "poor", env=mallory)


def test_a_plan_that_somebody_wrote_gives_no_volume(farm: HomeUnderTest, mallory: dict[str, str]) -> None:
    apply(farm, mallory, sleeper("plain"))
    there = ("deploy", "plain-predictor", "-n", "poor")
    eventually(lambda: (farm.json(*there).get("status") or {}).get("readyReplicas"), what="a ready pod")
    plan = {"mode": "cache", "uri": URI, "cache": "rich/theirs", "cache_uid": "x", "group": "all", "key": KEY,
            "claim": "theirs-all"}  # fmt: skip
    farm.kubectl("annotate", *there, "--overwrite", f"{PLAN}={json.dumps(plan)}", env=mallory)
    eventually(lambda: farm.json("pvc", "theirs-all", "-n", "poor"), what="the claim")
    eventually(lambda: farm.json("isvc", "plain", "-n", "poor")["metadata"].get("labels"), what="the rest")
    assert not shown(farm)


def test_a_status_that_somebody_wrote_is_refused(farm: HomeUnderTest, mallory: dict[str, str]) -> None:
    apply(farm, mallory, cache("open", "hf://acme/open", "all", namespace="poor"))
    forged = json.dumps({"status": {"storageKey": KEY, "nodeStatus": {NODE: "NodeDownloaded"}}})
    patch = ("patch", "localmodelnamespacecache", "open", "-n", "poor", "--type=merge", "-p", forged)
    said = farm.kubectl(*patch, "--subresource=status", check=False, env=mallory)
    assert 'cannot patch resource "localmodelnamespacecaches/status"' in said


def test_a_cache_of_the_caches_own_folder_is_refused(farm: HomeUnderTest, mallory: dict[str, str]) -> None:
    for name, uri in (("inside", f"file:///mnt/models/models/{KEY}"), ("above", "file:///mnt/models")):
        apply(farm, mallory, cache(name, uri, "all", namespace="poor"))
        mine = ("localmodelnamespacecache", name, "-n", "poor")
        over = ("NodeDownloadError", "NodeDownloaded")

        def ended() -> Any:
            told = farm.json(*mine).get("status") or {}  # noqa: B023 - asked at once
            return told if (told.get("nodeStatus") or {}).get(NODE) in over else None  # noqa: B023

        said = eventually(ended, what="an end")
        assert said["copies"] == {"failed": 1, "total": 1} and "in the cache itself" in str(said)
