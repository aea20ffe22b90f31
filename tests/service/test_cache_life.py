"""The life of cached models on a real home with real pulls: room, entitlement, checks, refresh, warmth."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.seeds.objects import cache, downloader, node_group, secret, service, thing
from tests.seeds.world import FOREBAY, ROOT, HomeUnderTest, Hub, eventually, home, hub, put_file
from tests.service.kubectl import needs_kubectl

JOBS, NODES, TOKEN = "kserve-localmodel-jobs", ("rack", "rack2"), "t-right"
SMALL, BIG = 2_000_000, 30 << 20
pytestmark = [
    pytest.mark.timeout(240),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Models that only lie there: one file of weights and one small file each."""
    folder = tmp_path_factory.mktemp("hub")
    for repo in ("acme/one", "acme/two", "acme/gated", "acme/moves", "acme/kept"):
        put_file(folder, repo, "model.safetensors", size=SMALL)
        put_file(folder, repo, "tokenizer.safetensors", size=SMALL // 2)
        put_file(folder, repo, "config.json", size=300)
    for letter in "abcde":
        put_file(folder, f"big/{letter}", "model.safetensors", size=BIG)
    with hub(folder, gated=("acme/gated",), token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def farm(origin: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    """Two nodes; the group `tight` has room for two of the big models on the second one."""
    with home(tmp_path_factory.mktemp("home"), "--node-name", NODES[0], "--nodes", "2") as running:
        running.apply(
            secret("acme-token", JOBS, HF_TOKEN=TOKEN),
            downloader("acme-hub", origin.url, "acme-token"),
            node_group("wide"),
            node_group("tight", NODES[1], path="/tight", limit="70Mi"),
        )
        yield running


def run(farm: HomeUnderTest, *words: str, code: int = 0) -> str:
    """A forebay command that ends with this code; what it said, errors after the rest."""
    done = subprocess.run(
        [*FOREBAY, *words, "--data", str(farm.data)], text=True, capture_output=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}\n{farm.log()[-3000:]}"
    return done.stdout + done.stderr


def listed(farm: HomeUnderTest) -> dict[str, Any]:
    words = [*FOREBAY, "cache", "ls", "-o", "json", "--data", str(farm.data)]
    done = subprocess.run(words, text=True, capture_output=True, timeout=60, cwd=ROOT)
    return {(f"{m['namespace']}/" if m["namespace"] else "") + m["name"]: m for m in json.loads(done.stdout)}


def status(farm: HomeUnderTest, name: str) -> Any:
    return farm.json("localmodelcache", name).get("status") or {}


def cached(farm: HomeUnderTest, name: str, total: int) -> None:
    want = {"available": total, "total": total}
    eventually(lambda: status(farm, name).get("copies") == want, what=f"{total} copies of {name}")


def message(farm: HomeUnderTest, name: str, node: str) -> str:
    return str((status(farm, name).get("nodes") or {}).get(node, {}).get("message") or "")


def bodies(origin: Hub, repo: str) -> list[str]:
    """Names of the files whose bytes were sent, one for each request."""
    found = []
    for said in origin.requests():
        path = str(said["target"]).partition("?")[0]
        sent = said["method"] == "GET" and said["status"] in (200, 206)
        if sent and repo in path and ("/_cdn/" in path or "/resolve/" in path):
            found.append(path.rpartition("/")[2])
    return found


def root(farm: HomeUnderTest, node: str, folder: str = "models") -> Path:
    return farm.data / "nodes" / node / "root" / folder


def flip(path: Path) -> None:
    """One wrong byte in the middle of a file that everybody else may only read."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def metrics(farm: HomeUnderTest, group: str, node: str) -> dict[str, float]:
    """What Prometheus would read of one agent."""
    pods = farm.json("pods", "-n", "kserve", "-l", f"app={group}-agent")["items"]
    pod = next(p for p in pods if p["spec"]["nodeName"] == node)
    (port,) = json.loads(pod["metadata"]["annotations"]["forebay.dev/ports"]).values()
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            more = [v for k, v in sorted(sample.labels.items()) if k != "group"]
            found[" ".join([sample.name.removeprefix("forebay_node_"), *more])] = sample.value
    return found


def test_a_flipped_byte_is_found_and_healed_by_fetching_one_file(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("one", "hf://acme/one", "wide"))
    cached(farm, "one", 2)
    assert "3 files, all whole" in run(farm, "cache", "verify", "one")
    key, before = status(farm, "one")["storageKey"], len(bodies(origin, "acme/one"))
    view = root(farm, NODES[0]) / "models" / key / "model.safetensors"
    good = view.read_bytes()
    flip(view)
    said = run(farm, "cache", "verify", "one", code=8)
    assert f"one on {NODES[0]}: 3 files, damaged and fetched anew: model.safetensors" in said
    assert f"one on {NODES[1]}: 3 files, all whole" in said
    assert bodies(origin, "acme/one")[before:] == ["model.safetensors"]
    assert view.read_bytes() == good
    assert "all whole" in run(farm, "cache", "verify", "one", "--node", NODES[0])
    assert metrics(farm, "wide", NODES[0])["checks_total damaged"] == 1
    assert list((root(farm, NODES[0]) / ".forebay" / "damaged").glob("*.blob"))


def test_a_request_is_answered_once_although_the_agent_starts_again(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("one", "hf://acme/one", "wide"))
    cached(farm, "one", 2)
    run(farm, "cache", "verify", "one")
    before = listed(farm)["one"]["nodes"]
    farm.kubectl("delete", "pods", "-n", "kserve", "-l", "app=wide-agent", "--timeout=60s")
    eventually(
        lambda: [p["status"]["containerStatuses"][0]["ready"]
                 for p in farm.json("pods", "-n", "kserve", "-l", "app=wide-agent")["items"]
                 if p["status"].get("containerStatuses")] == [True, True],
        what="new agents",
    )  # fmt: skip
    assert metrics(farm, "wide", NODES[0]).get("checks_total clean", 0) == 0
    after = listed(farm)["one"]["nodes"]
    assert {n: s["verified"] for n, s in after.items()} == {n: s["verified"] for n, s in before.items()}


def test_after_the_branch_has_moved_a_refresh_fetches_what_changed(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("moves", "hf://acme/moves", "wide"))
    cached(farm, "moves", 2)
    old = status(farm, "moves")["revision"]
    assert "still revision" in run(farm, "cache", "refresh", "moves")
    before = len(bodies(origin, "acme/moves"))
    place = origin.folder / "acme/moves/model.safetensors"
    place.write_bytes(place.read_bytes()[::-1])
    said = run(farm, "cache", "refresh", "moves")
    new = status(farm, "moves")["revision"]
    assert new != old and f"{old} -> {new}" in said
    assert bodies(origin, "acme/moves")[before:] == ["model.safetensors"] * 2, "one file for each node"
    key = status(farm, "moves")["storageKey"]
    for node in NODES:
        assert (root(farm, node) / "models" / key / "model.safetensors").read_bytes() == place.read_bytes()
    jobs = farm.json("jobs", "-n", JOBS, "-l", "model=moves")["items"]
    env = [
        {e["name"]: e.get("value") for e in j["spec"]["template"]["spec"]["containers"][0]["env"]}
        for j in jobs
    ]
    asked = {e.get("FOREBAY_REVISION") or "" for e in env if "FOREBAY_REFRESH" not in e}
    assert asked == {"", old, new}, "the others fetch exactly what one node found"
    assert sum("FOREBAY_REFRESH" in e for e in env) == 2


def test_a_copy_in_use_is_replaced_once_no_pod_uses_it(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("kept", "hf://acme/kept", "wide"))
    cached(farm, "kept", 2)
    old, key = status(farm, "kept")["revision"], status(farm, "kept")["storageKey"]
    farm.apply(user_of(key, "keeper", NODES[0], "/models"))
    farm.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=30s")
    place = origin.folder / "acme/kept/model.safetensors"
    place.write_bytes(place.read_bytes()[::-1])
    run(farm, "cache", "refresh", "kept", "--no-wait")
    told = eventually(lambda: (status(farm, "kept").get("refresh") or {}).get("message"), what="why it waits")
    assert "in use by default/keeper" in told
    assert status(farm, "kept")["copies"] == {"available": 2, "total": 2}
    assert status(farm, "kept")["revision"] == old
    farm.kubectl("delete", "pod/keeper", "--timeout=30s")
    eventually(
        lambda: {n.get("revision") for n in status(farm, "kept")["nodes"].values()} - {old}
        and len({n.get("revision") for n in status(farm, "kept")["nodes"].values()}) == 1,
        deadline_s=150, what="the new revision on both nodes",
    )  # fmt: skip
    assert (root(farm, NODES[0]) / "models" / key / "model.safetensors").read_bytes() == place.read_bytes()


def test_warm_says_what_share_is_in_memory(farm: HomeUnderTest) -> None:
    farm.apply(cache("one", "hf://acme/one", "wide"))
    cached(farm, "one", 2)
    said = run(farm, "cache", "warm", "one", "--node", NODES[1])
    assert f"one on {NODES[1]}: 100.0 % resident of 3.0 MB" in said
    assert f"on {NODES[0]}:" not in said


def test_the_least_used_model_makes_room_but_never_a_pinned_or_a_used_one(farm: HomeUnderTest) -> None:
    farm.apply(cache("a", "hf://big/a", "tight"))
    cached(farm, "a", 1)
    farm.apply(cache("b", "hf://big/b", "tight"))
    cached(farm, "b", 1)
    assert "a pinned" in run(farm, "cache", "pin", "a")
    eventually(lambda: listed(farm)["a"]["nodes"][NODES[1]].get("pinned"), what="the pin to reach the node")
    farm.apply(cache("c", "hf://big/c", "tight"))
    cached(farm, "c", 1)
    states = {name: m["nodes"][NODES[1]]["state"] for name, m in listed(farm).items() if name in "abc"}
    assert states["a"] == states["c"] == "ModelDownloaded" and states["b"] != "ModelDownloaded"
    told = eventually(lambda: message(farm, "b", NODES[1]), what="b says why it is gone")
    assert "made room for c" in told or "no room for b" in told
    assert metrics(farm, "tight", NODES[1])["evictions_total"] == 1

    key = status(farm, "c")["storageKey"]
    farm.apply(user_of(key, "user", NODES[1], "/tight"))
    farm.kubectl("wait", "--for=condition=Ready", "pod/user", "--timeout=30s")
    farm.apply(cache("d", "hf://big/d", "tight"))
    eventually(lambda: "no room for d (needs 30.0 MiB" in message(farm, "d", NODES[1]), what="the refusal")
    run(farm, "cache", "unpin", "a")
    cached(farm, "d", 1)
    assert not (root(farm, NODES[1], "tight") / "models" / status(farm, "a")["storageKey"]).exists()
    assert (root(farm, NODES[1], "tight") / "models" / key).exists()
    farm.kubectl("delete", "pod/user", "--timeout=30s")


def user_of(key: str, name: str, node: str, folder: str) -> dict[str, Any]:
    """A pod that mounts a model's view and does nothing else."""
    box = {
        "name": "c", "image": "none", "command": ["sleep", "600"],
        "volumeMounts": [{"name": "m", "mountPath": "/m", "readOnly": True}],
    }  # fmt: skip
    volume = {"name": "m", "hostPath": {"path": f"{folder}/models/{key}"}}
    spec = {
        "nodeName": node,
        "containers": [box],
        "volumes": [volume],
        "terminationGracePeriodSeconds": 1,
    }
    return thing("v1", "Pod", name, "default", spec=spec)


def test_content_is_shared_only_with_those_who_may_fetch_it(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("gated", "hf://acme/gated", "wide"))
    cached(farm, "gated", 2)
    farm.apply(thing("v1", "Namespace", "other"), cache("sly", "hf://acme/gated", "wide", namespace="other"))

    def told() -> str:
        said = farm.json("localmodelnamespacecache", "sly", "-n", "other").get("status") or {}
        return str(next((c["message"] for c in said.get("conditions") or () if c["type"] == "Ready"), ""))

    eventually(lambda: "gated" in told() and "token" in told(), what="the refusal")
    assert listed(farm)["other/sly"]["ready"] == 0
    assert listed(farm)["gated"]["ready"] == 2
    run(farm, "cache", "rm", "other/sly")
    assert listed(farm)["gated"]["ready"] == 2


def test_a_cache_made_anew_under_the_same_name_has_to_show_its_own_right(farm: HomeUnderTest) -> None:
    farm.apply(cache("gated", "hf://acme/gated", "wide"))
    cached(farm, "gated", 2)
    first = farm.json("localmodelcache", "gated")["metadata"]["uid"]
    farm.apply(secret("acme-token", JOBS, HF_TOKEN="t-wrong"))
    try:
        run(farm, "cache", "rm", "gated")
        farm.apply(cache("gated", "hf://acme/gated", "wide"))
        eventually(lambda: "token" in str(status(farm, "gated").get("conditions")), what="the refusal")
        assert farm.json("localmodelcache", "gated")["metadata"]["uid"] != first
        assert listed(farm)["gated"]["ready"] == 0
    finally:
        farm.apply(secret("acme-token", JOBS, HF_TOKEN=TOKEN))
    cached(farm, "gated", 2)


def test_gc_frees_what_nobody_names(farm: HomeUnderTest, origin: Hub) -> None:
    farm.apply(cache("one", "hf://acme/one", "wide"))
    cached(farm, "one", 2)
    place = root(farm, NODES[0])
    env = {**os.environ, "FOREBAY_CACHE_ROOT": str(place), "FOREBAY_STORAGE_KEY": "0123456789abcdef",
           "HF_ENDPOINT": origin.url}  # fmt: skip
    by_hand = [*FOREBAY, "storage-initializer", "hf://acme/two", "/mnt/models"]
    subprocess.run(by_hand, env=env, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert (place / ".forebay/manifests/0123456789abcdef.json").exists()
    said = run(farm, "cache", "gc", "--node", NODES[0])
    assert "MB freed, 1 models" in said
    assert not (place / ".forebay/manifests/0123456789abcdef.json").exists()
    assert "0 B freed in all" in run(farm, "cache", "gc")
    assert listed(farm)["one"]["ready"] == 2


def test_ls_and_rm_and_names_for_the_shell(farm: HomeUnderTest) -> None:
    farm.apply(cache("two", "hf://acme/two", "wide"))
    cached(farm, "two", 2)
    lines = run(farm, "cache", "ls").splitlines()
    assert lines[0].split("   ")[0].strip() == "NAME"
    row = next(line for line in lines if line.startswith("two "))
    assert "hf://acme/two" in row and "2/2" in row and "when fetched" in row
    by_node = [line for line in run(farm, "cache", "ls", "--nodes").splitlines() if line.startswith("two ")]
    assert len(by_node) == 2 and all("Downloaded" in line for line in by_node)
    words = {"COMP_WORDS": "forebay cache rm tw", "COMP_CWORD": "3", "_FOREBAY_COMPLETE": "bash_complete",
             "KUBECONFIG": str(farm.data / "kubeconfig")}  # fmt: skip
    typed = subprocess.run(
        FOREBAY, env={**os.environ, **words}, cwd=ROOT, text=True, capture_output=True, timeout=30
    )
    assert typed.stdout.split() == ["plain,two"]
    farm.apply(service("two-user", "hf://acme/two"))
    eventually(lambda: listed(farm)["two"]["inUseBy"] == ["default/two-user"], what="the use")
    refused = run(farm, "cache", "rm", "two", code=3)
    assert "LocalModelCache two is being used by InferenceService two-user" in refused
    farm.kubectl("delete", "isvc/two-user", "--timeout=60s")
    run(farm, "cache", "rm", "two")
    assert "two" not in listed(farm)
    assert "not found" in run(farm, "cache", "rm", "two", code=4)


def test_apply_waits_with_progress_and_says_why_it_does_not_become_ready(
    farm: HomeUnderTest, tmp_path: Path
) -> None:
    manifest = tmp_path / "cache.yaml"
    manifest.write_text(json.dumps(cache("two", "hf://acme/two", "wide")))
    said = run(farm, "apply", "-f", str(manifest), "--wait", "--timeout", "60")
    assert "localmodelcache.serving.kserve.io/two" in said
    assert "localmodelcache/two: ready: 6.0 MB" in said, "two copies of 3 MB"
    manifest.write_text(json.dumps(cache("no", "hf://acme/no", "wide")))
    said = run(farm, "apply", "-f", str(manifest), "--wait", "--timeout", "6", code=6)
    assert "not ready after 6 s" in said and "acme/no is not on" in said
    run(farm, "cache", "rm", "two", "no")


def test_a_pull_explains_where_its_time_went(origin: Hub, tmp_path: Path) -> None:
    line = [*FOREBAY, "pull", "hf://acme/one", str(tmp_path / "m"), "--explain"]
    env = {**os.environ, "HF_ENDPOINT": origin.url}
    done = subprocess.run(line, env=env, cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["files"] == 3
    for word in ("resolve", "network", "disk", "hash", "sync"):
        assert word in done.stderr, done.stderr


def test_a_person_sees_the_cluster_wide_models_and_those_of_their_own_namespaces(farm: HomeUnderTest) -> None:
    farm.apply(thing("v1", "Namespace", "ann-team"), cache("one", "hf://acme/one", "wide"))
    farm.apply(cache("hers", "hf://acme/two", "wide", namespace="ann-team"))
    path = run(farm, "kubeconfig", "--user", "ann", "-n", "ann-team").strip()

    def as_ann(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "KUBECONFIG": path}
        return subprocess.run(
            [*FOREBAY, *words], env=env, text=True, capture_output=True, timeout=60, cwd=ROOT
        )

    assert "hf://acme/one" in as_ann("cache", "ls").stdout
    assert "hers" in as_ann("cache", "ls", "-n", "ann-team").stdout
    assert as_ann("cache", "pin", "one").returncode == 3
    assert as_ann("cache", "gc").returncode == 3
    assert as_ann("cache", "ls", "-n", "other-team").returncode == 3
    run(farm, "cache", "rm", "ann-team/hers")
