"""The commands for people, typed against a running home."""

from __future__ import annotations

import json
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
