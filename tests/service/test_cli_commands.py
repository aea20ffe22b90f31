"""The commands for people, typed against a running home."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.seeds.world import ROOT, HomeUnderTest, eventually, home

pytestmark = pytest.mark.timeout(120)

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red}
---
apiVersion: batch/v1
kind: Job
metadata: {name: hello}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: none, command: [sh, -c, "echo one; echo two"]}]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home")) as here:
        yield here


def forebay(here: HomeUnderTest, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with its exit code."""
    line = [sys.executable, "-m", "forebay.main", *words, "--data", str(here.data)]
    return subprocess.run(line, text=True, capture_output=True, timeout=60, cwd=ROOT)


def test_apply_get_logs_and_delete(running: HomeUnderTest, tmp_path: Path) -> None:
    manifest = tmp_path / "all.yaml"
    manifest.write_text(MANIFEST)
    assert (
        running.forebay("apply", "-f", str(manifest))
        == "configmap/settings created\njob.batch/hello created\n"
    )
    manifest.write_text(MANIFEST.replace("red", "blue"))
    assert (
        running.forebay("apply", "-f", str(manifest))
        == "configmap/settings configured\njob.batch/hello unchanged\n"
    )
    assert json.loads(running.forebay("get", "cm/settings", "-o", "json"))["data"] == {"color": "blue"}
    eventually(lambda: "Complete" in running.forebay("get", "jobs"), what="the job")
    assert running.forebay("logs", "job/hello") == "one\ntwo\n"
    assert running.forebay("logs", "job/hello", "--tail", "1") == "two\n"
    assert running.forebay("delete", "job/hello") == "job.batch/hello deleted from default namespace\n"
    assert forebay(running, "get", "job/hello").returncode == 4


def test_get_prints_the_servers_own_columns(running: HomeUnderTest) -> None:
    head, row = running.forebay("get", "nodes").splitlines()
    assert head.split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert row.split()[:3] == ["forebay", "Ready", "<none>"]
    assert running.forebay("get", "ns", "-o", "name").splitlines()[0] == "namespace/default"


def test_errors_are_one_line_with_a_code_of_their_class(running: HomeUnderTest, tmp_path: Path) -> None:
    absent = forebay(running, "get", "isvc/nobody", "-o", "json")
    assert (absent.returncode, absent.stderr.count("\n")) == (4, 1)
    assert "not found" in absent.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "apiVersion: serving.kserve.io/v1alpha1\nkind: LocalModelCache\nmetadata: {name: m}\nspec: {}\n"
    )
    refused = forebay(running, "apply", "-f", str(bad))
    assert refused.returncode == 2
    assert "spec.sourceModelUri: Required value" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_explain_wants_a_service(running: HomeUnderTest) -> None:
    done = forebay(running, "explain", "pods/x")
    assert (done.returncode, done.stderr) == (2, "Error: pods/x: explain takes isvc/NAME\n")


def test_doctor_knows_the_running_home(running: HomeUnderTest) -> None:
    findings = json.loads(running.forebay("doctor", "-o", "json"))
    assert {f["check"]: f["state"] for f in findings}["links and locks"] == "ok"
    assert running.facts["server"] in findings[-1]["said"]


def test_kubeconfig_and_version(running: HomeUnderTest) -> None:
    assert running.forebay("kubeconfig").strip() == str(running.data / "kubeconfig")
    done = subprocess.run(
        [sys.executable, "-m", "forebay.main", "version", "-o", "json"],
        text=True,
        capture_output=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout)["forebay"]


def test_a_command_without_a_home_says_how_to_start_one(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "forebay.main", "down", "--data", str(tmp_path / "none")]
    done = subprocess.run(line, text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 4
    assert "start one with `forebay up`" in done.stderr


def test_a_person_sees_their_own_namespace_and_not_the_jobs(running: HomeUnderTest) -> None:
    running.kubectl("create", "namespace", "team-a")
    path = running.forebay("kubeconfig", "--user", "alice", "-n", "team-a").strip()
    alice = {"KUBECONFIG": path}
    running.kubectl("create", "configmap", "mine", "-n", "team-a", env=alice)
    for words in (
        ("get", "secrets", "-n", "kserve-localmodel-jobs"),
        ("get", "pods", "-n", "default"),
        ("delete", "node", "forebay"),
    ):
        said = running.kubectl(*words, env=alice, check=False)
        assert 'User "alice" cannot' in said, said


def test_a_name_is_never_read_as_a_path(running: HomeUnderTest) -> None:
    for words in (("delete", "pods", ".."), ("logs", ".."), ("chat", ".."), ("cache", "rm", "default/"),
                  ("cache", "warm", "a/b/c"), ("get", "pods", "-n", "../x")):  # fmt: skip
        refused = forebay(running, *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "namespace/default" in running.forebay("get", "ns", "-o", "name")


def test_logs_of_what_is_not_there_or_has_no_pods_say_so(running: HomeUnderTest) -> None:
    absent = forebay(running, "logs", "isvc/nobody")
    assert absent.returncode == 4
    assert '"nobody" not found' in absent.stderr
    node = forebay(running, "logs", "node/forebay")
    assert (node.returncode, node.stdout) == (2, "")
    assert "logs takes a pod, or what selects pods" in node.stderr
    service = forebay(running, "logs", "svc/kubernetes")
    assert service.stdout == ""


def test_a_person_is_never_given_the_administrators_kubeconfig(running: HomeUnderTest) -> None:
    for words in (("--user", ""), ("-n", "team")):
        refused = forebay(running, "kubeconfig", *words)
        assert (refused.returncode, refused.stdout) == (2, "")


def test_chat_takes_a_service_as_the_other_commands_do(running: HomeUnderTest) -> None:
    absent = forebay(running, "chat", "isvc/nobody")
    assert (absent.returncode, absent.stderr) == (
        4,
        'Error: inferenceservices.serving.kserve.io "nobody" not found\n',
    )
    other = forebay(running, "chat", "pod/x")
    assert (other.returncode, other.stderr) == (
        2,
        "Error: pod/x: chat takes the name of a service, or isvc/NAME\n",
    )


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("version",), {"FOREBAY_LOG": "loud"}, "FOREBAY_LOG=LOUD is no level"),
        (("up", "--api-port", "99999"), {}, "99999 is not in the range"),
        (("doctor", "--gateway-port", "-1"), {}, "-1 is not in the range"),
        (("hub", ".", "--port", "99999"), {}, "--port 99999: ports are 1 to 65535"),
        (("up", "--node-capacity", "cpu=some"), {}, "--node-capacity cpu=some: quantities must match"),
    ],
)
def test_what_is_typed_wrong_is_said_on_what(
    tmp_path: Path, words: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    line = [sys.executable, "-m", "forebay.main", *words]
    alone = {**os.environ, "FOREBAY_DATA": str(tmp_path), **env}
    done = subprocess.run(line, text=True, capture_output=True, timeout=60, cwd=ROOT, env=alone)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr and "please report" not in done.stderr


def test_a_hub_over_no_folder_and_one_on_a_taken_port_do_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for folder, code, says in ((tmp_path / "none", 4, "no folder"), (tmp_path, 6, f"127.0.0.1:{port} (")):
            line = [sys.executable, "-m", "forebay.main", "hub", str(folder), "--port", str(port)]
            done = subprocess.run(line, text=True, capture_output=True, timeout=30, cwd=ROOT)
            assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_help_says_the_whole_sentence_of_each_command() -> None:
    line = [sys.executable, "-m", "forebay.main", "--help"]
    said = subprocess.run(line, text=True, capture_output=True, timeout=30, cwd=ROOT).stdout
    assert "...\n" not in said.partition("Commands:")[2]
    assert "API server, controllers, node and gateway, on loopback." in " ".join(said.split())


def apply_cache(running: HomeUnderTest, folder: Path, name: str, uri: str) -> None:
    """A cache in a node group that nobody has."""
    manifest = folder / "cache.yaml"
    manifest.write_text(
        f"apiVersion: serving.kserve.io/v1alpha1\nkind: LocalModelCache\nmetadata: {{name: {name}}}\n"
        f"spec: {{sourceModelUri: '{uri}', nodeGroups: [nowhere]}}\n"
    )
    running.forebay("apply", "-f", str(manifest))


def test_run_takes_no_name_that_stands_for_another_model(running: HomeUnderTest, tmp_path: Path) -> None:
    """The server's own words, *StorageUri is immutable*, told nobody that two models end in one word."""
    apply_cache(running, tmp_path, "taken", "hf://acme/taken")
    other = forebay(running, "run", "hf://other/taken", "hi")
    assert other.returncode == 5
    assert "localmodelcache/taken is there already, for hf://acme/taken; choose another name" in other.stderr
    assert forebay(running, "get", "isvc/taken").returncode == 4
    late = forebay(running, "run", "hf://acme/taken", "hi", "--timeout", "1")
    assert late.returncode == 6
    assert "`forebay delete isvc/taken lmc/taken -n default` ends that" in late.stderr
    running.forebay("delete", "isvc/taken", "lmc/taken")


def test_run_uses_the_cache_that_holds_the_model_already(running: HomeUnderTest, tmp_path: Path) -> None:
    """After the examples, `forebay run` moved their cache to another group and fetched all of it again."""
    apply_cache(running, tmp_path, "theirs", "hf://acme/one")
    for name in ("mine", "theirs"):
        late = forebay(running, "run", "hf://acme/one", "hi", "--name", name, "--timeout", "1")
        assert late.returncode == 6, late.stderr
        assert json.loads(running.forebay("get", f"isvc/{name}", "-o", "json"))["kind"] == "InferenceService"
    assert running.forebay("get", "lmc", "-o", "name").count("theirs") == 1
    assert forebay(running, "get", "lmc/mine").returncode == 4
    kept = json.loads(running.forebay("get", "lmc/theirs", "-o", "json"))
    assert kept["spec"]["nodeGroups"] == ["nowhere"]
    running.forebay("delete", "isvc/mine", "isvc/theirs", "lmc/theirs")
