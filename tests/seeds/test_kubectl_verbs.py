"""kubectl commands beside those of the guide, as people type them, with what Kubernetes would print."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.seeds.world import HomeUnderTest, eventually, home
from tests.service.kubectl import each_kubectl, needs_kubectl

PROCESSES = "is not supported by this server: its pods are groups of processes on this machine"
TWO_MAPS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {tier: front}}
data: {a: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, labels: {tier: back}}
data: {a: "2"}
"""
pytestmark = [
    pytest.mark.timeout(120),
    needs_kubectl,
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home"), "--node-name", "n", "--nodes", "2") as found:
        yield found


@pytest.fixture(params=each_kubectl(), ids=os.path.basename)
def k(running: HomeUnderTest, request: pytest.FixtureRequest) -> Iterator[HomeUnderTest]:
    """The home as one kubectl sees it, in a namespace of its own."""
    space = "v" + re.sub("[^0-9]", "", Path(request.param).name) + str(abs(hash(request.node.name)) % 10**8)
    seen = HomeUnderTest(running.data, running.process, request.param, running.facts)
    seen.kubectl("create", "namespace", space)
    seen.kubectl("config", "set-context", "--current", f"--namespace={space}")
    yield seen
    seen.kubectl("delete", "namespace", space, "--wait=false")


def deployed(k: HomeUnderTest) -> None:
    """A Deployment of a program that waits."""
    k.kubectl("create", "deployment", "web", "--image=any:1", "--port=80", "--", "sleep", "600")
    k.kubectl("rollout", "status", "deployment/web", "--timeout=30s")


def test_a_deployment_is_changed_rolled_back_paused_and_exposed(k: HomeUnderTest) -> None:
    deployed(k)
    assert k.kubectl("set", "image", "deployment/web", "any=any:2") == "deployment.apps/web image updated\n"
    assert k.kubectl("set", "env", "deployment/web", "A=b") == "deployment.apps/web env updated\n"
    words = ("set", "resources", "deployment", "web", "--requests=cpu=10m", "--limits=memory=64Mi")
    assert k.kubectl(*words) == "deployment.apps/web resource requirements updated\n"
    assert "A=b" in k.kubectl("set", "env", "deployment/web", "--list")
    history = k.kubectl("rollout", "history", "deployment/web")
    assert re.findall(r"^\d+", history, re.M) == ["1", "2", "3", "4"]
    assert "any:2" in k.kubectl("rollout", "history", "deployment/web", "--revision=2")
    told = k.kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    assert told == "deployment.apps/web rolled back\n"
    images = "jsonpath={.spec.template.spec.containers[0].image}"
    assert k.kubectl("get", "deployment", "web", "-o", images) == "any:1"
    assert k.kubectl("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    assert "already paused" in k.refused("rollout", "pause", "deployment/web")
    assert k.kubectl("rollout", "resume", "deployment/web") == "deployment.apps/web resumed\n"
    assert k.kubectl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    assert "successfully rolled out" in k.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert k.kubectl("expose", "deployment", "web", "--target-port=80") == "service/web exposed\n"
    assert re.search(r"service/web +ClusterIP +10\.\S+ +<none> +80/TCP", k.kubectl("get", "all"))
    told = k.kubectl("scale", "deployment/web", "--replicas=2", "--current-replicas=1")
    assert told == "deployment.apps/web scaled\n"
    k.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "deployment/web", "--timeout=30s")
    everything = k.kubectl("get", "all", "-o", "name")
    assert re.findall(r"^[a-z.]+", everything, re.M).count("pod") == 2
    assert {"service", "deployment.apps", "replicaset.apps"} <= set(re.findall(r"^[a-z.]+", everything, re.M))


def test_nodes_are_tainted_cordoned_and_drained(k: HomeUnderTest) -> None:
    deployed(k)
    node = k.kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    other = {"n": "n2", "n2": "n"}[node]
    assert k.kubectl("taint", "nodes", other, "only=me:NoExecute") == f"node/{other} tainted\n"
    assert k.kubectl("taint", "nodes", other, "only-") == f"node/{other} untainted\n"
    assert k.kubectl("cordon", node) == f"node/{node} cordoned\n"
    assert k.kubectl("cordon", node) == f"node/{node} already cordoned\n"
    assert re.search(rf"^{node} +Ready,SchedulingDisabled ", k.kubectl("get", "nodes"), re.M)
    told = k.kubectl("drain", node, "--ignore-daemonsets", "--timeout=60s")
    assert re.search(r"pod/web-\S+ evicted\n", told) and told.endswith(f"node/{node} drained\n")
    where = "jsonpath={.items[*].spec.nodeName}"
    eventually(lambda: k.kubectl("get", "pods", "-o", where) == other, what="the pod on the other node")
    assert k.kubectl("uncordon", node) == f"node/{node} uncordoned\n"


def test_what_needs_a_container_is_refused_in_a_sentence(k: HomeUnderTest, tmp_path: Path) -> None:
    deployed(k)
    pod = k.kubectl("get", "pods", "-o", "name").strip().removeprefix("pod/")
    assert f"exec {PROCESSES}" in k.refused("exec", pod, "--", "ls")
    assert f"attach {PROCESSES}" in k.refused("attach", pod)
    assert f"exec {PROCESSES}" in k.refused("cp", f"{pod}:/etc/hostname", str(tmp_path / "x"))
    assert f"portforward {PROCESSES}" in k.refused("port-forward", pod, ":80")


def test_top_shows_what_pods_and_nodes_use(k: HomeUnderTest) -> None:
    spin = "while :; do :; done"
    k.kubectl("run", "busy", "--image=any", "--labels=a=b", "--command", "--", "sh", "-c", spin)
    k.kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=30s")
    row = r"^busy +(\d+)m +\d+Mi *$"
    eventually(
        lambda: (found := re.search(row, k.kubectl("top", "pods"), re.M)) and int(found[1]) > 0,
        what="its CPU",
    )
    assert re.search(r"^busy +busy +\d+m", k.kubectl("top", "pod", "busy", "--containers"), re.M)
    assert "busy" in k.kubectl("top", "pods", "-l", "a=b", "--no-headers", "--sort-by=cpu")
    assert "No resources found" in k.kubectl("top", "pods", "-l", "a=c", check=False)
    assert re.search(r"^n2 +\d+m +\d+% +\d+Mi +\d+% *$", k.kubectl("top", "nodes"), re.M)
    assert '"nobody" not found' in k.refused("top", "pod", "nobody")


def test_the_server_tells_of_itself(k: HomeUnderTest) -> None:
    assert k.kubectl("get", "--raw", "/healthz") == "ok"
    assert json.loads(k.kubectl("get", "--raw", "/version"))["major"] == "1"
    versions = k.kubectl("api-versions").split()
    assert versions == sorted(versions)
    assert {"v1", "apps/v1", "batch/v1", "serving.kserve.io/v1beta1"} <= {*versions}
    assert "Kubernetes control plane" in k.kubectl("cluster-info")
    assert "token: REDACTED" in k.kubectl("config", "view")
    assert "kubernetes-admin" in k.kubectl("auth", "whoami")
    assert "[*]" in k.kubectl("auth", "can-i", "--list")
    ours = k.kubectl("api-resources", "--api-group=serving.kserve.io")
    assert re.search(
        r"^inferenceservices +isvc +serving.kserve.io/v1beta1 +true +InferenceService$", ours, re.M
    )
    assert "Server Version: v1." in k.kubectl("version")


def test_files_of_several_documents_kustomize_diff_and_labels(k: HomeUnderTest, tmp_path: Path) -> None:
    assert k.kubectl("create", "-f", "-", stdin=TWO_MAPS) == "configmap/one created\nconfigmap/two created\n"
    assert k.refused("create", "-f", "-", stdin=TWO_MAPS).count("AlreadyExists") == 2
    assert k.kubectl("label", "configmaps", "-l", "tier in (front)", "new=yes") == "configmap/one labeled\n"
    assert "--overwrite is false" in k.refused("label", "configmap", "one", "new=no")
    assert k.kubectl("annotate", "cm", "one", "why=a") == "configmap/one annotated\n"
    assert k.kubectl("annotate", "cm", "one", "why=b", "--overwrite") == "configmap/one annotated\n"
    assert k.kubectl("get", "cm", "-l", "new", "-o", "name") == "configmap/one\n"
    assert re.search(r"^two +1 +\S+ +back$", k.kubectl("get", "cm", "-L", "tier"), re.M)
    (tmp_path / "maps.yaml").write_text(TWO_MAPS.replace('"2"', '"3"'))
    k.kubectl("apply", "-f", "-", stdin=TWO_MAPS)
    code, out, _ = k._run(("diff", "-f", str(tmp_path / "maps.yaml")), "", {})
    assert code == 1 and '-  a: "2"' in out and '+  a: "3"' in out
    (tmp_path / "kustomization.yaml").write_text("namePrefix: my-\nresources: [maps.yaml]\n")
    assert "name: my-one" in k.kubectl("kustomize", str(tmp_path))
    assert k.kubectl("apply", "-k", str(tmp_path)) == "configmap/my-one created\nconfigmap/my-two created\n"
    assert re.search(r'configmap "my-two" deleted', k.kubectl("delete", "-k", str(tmp_path)))
    assert "a" in k.kubectl("wait", "--for=jsonpath={.data.a}=1", "cm/one", "--timeout=5s")
    assert "force deleted" in k.kubectl("delete", "cm", "one", "two", "--grace-period=0", "--force")


def test_pods_run_and_go_at_once_and_events_are_watched(k: HomeUnderTest) -> None:
    k.kubectl("run", "once", "--image=any", "--restart=Never", "--command", "--", "echo", "hi")
    k.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=30s")
    assert k.kubectl("logs", "once") == "hi\n"
    assert k.kubectl("delete", "pod", "once", "--now").startswith('pod "once" deleted')
    watching = subprocess.Popen(
        [k.kubectl_path, "events", "--watch", f"--kubeconfig={k.data}/kubeconfig"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        k.kubectl("run", "stays", "--image=any", "--command", "--", "sh", "-c", "trap '' TERM; sleep 600")
        k.kubectl("wait", "--for=condition=Ready", "pod/stays", "--timeout=30s")
        k.kubectl("delete", "pod", "stays", "--grace-period=0", "--force")
        assert watching.stdout is not None
        seen = ""
        while "Started" not in seen or "Pod/stays" not in seen:
            line = watching.stdout.readline()
            assert line, seen
            seen += line
    finally:
        watching.kill()
        watching.communicate()
    eventually(lambda: k.kubectl("get", "pods", "-o", "name") == "", what="no pod left")


def test_events_of_one_second_stand_in_the_order_in_which_they_happened(k: HomeUnderTest) -> None:
    for number in range(4):  # more events than a sort that keeps the order of equals by accident
        k.kubectl("run", f"p{number}", "--image=any", "--command", "--", "sleep", "600")
    k.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
    steps = ["Scheduled", "Pulled", "Created", "Started"]
    sorts = [("get", "events", f"--sort-by={by}") for by in (".lastTimestamp", ".metadata.creationTimestamp")]
    for words in (("events",), *sorts):
        rows = [line.split() for line in k.kubectl(*words, "--no-headers").splitlines()]
        assert len(rows) >= 4 * len(steps)
        for number in range(4):
            told = [row[2] for row in rows if row[3].lower() == f"pod/p{number}"]
            assert [one for one in told if one in steps] == steps, words
    told = k.kubectl("describe", "pod", "p0")
    assert re.search(r"Scheduled[^$]*Pulled[^$]*Created[^$]*Started", told)


def test_every_kind_is_described_and_explained(k: HomeUnderTest) -> None:
    deployed(k)
    listed = k.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    assert len(listed) > 25
    told = [k.kubectl("describe", resource, "-A", check=False) for resource in listed]
    wrong = [(r, t) for r, t in zip(listed, told, strict=True) if "rror" in t.split("\n")[0] or "panic" in t]
    assert not wrong
    assert "uvicorn" not in k.log(), "the server's own troubles are told in its own words"
    fields = {
        "events.events.k8s.io",
        "pods.metrics.k8s.io",
        "nodes.metrics.k8s.io",
    }  # of core kinds, to kubectl
    for resource in set(listed) - fields:
        assert "KIND:" in k.kubectl("explain", resource, "--recursive"), resource


def test_deleting_with_orphans_leaves_the_children(k: HomeUnderTest) -> None:
    deployed(k)
    assert "deleted" in k.kubectl("delete", "deployment", "web", "--cascade=orphan")
    assert k.kubectl("get", "rs", "-o", "name").startswith("replicaset.apps/web-")
    k.kubectl("delete", "rs", "--all", "--cascade=foreground", "--timeout=30s")
    eventually(lambda: k.kubectl("get", "pods", "-o", "name") == "", what="no pod left")


def test_the_definitions_of_the_serving_kinds_are_there_and_established(k: HomeUnderTest) -> None:
    named = k.kubectl("get", "crd", "-o", "name").split()
    mine = "customresourcedefinition.apiextensions.k8s.io/inferenceservices.serving.kserve.io"
    assert mine in named and len(named) == 8
    told = k.kubectl("wait", "--for=condition=Established", mine, "--timeout=10s")
    assert told == f"{mine} condition met\n"


def test_the_namespaces_that_every_cluster_has_stay(k: HomeUnderTest) -> None:
    for name in ("default", "kube-system", "kube-public"):
        told = k.refused("delete", "namespace", name)
        assert f'namespaces "{name}" is forbidden: this namespace may not be deleted' in told
