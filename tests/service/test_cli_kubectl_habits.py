"""`forebay get` and `apply` as a person who knows kubectl types them, and what may be wrong around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.seeds.world import ROOT, HomeUnderTest, home

pytestmark = pytest.mark.timeout(120)
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, labels: {a: b}}\ndata: {color: red}\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeUnderTest]:
    with home(tmp_path_factory.mktemp("home")) as here:
        yield here


def forebay(*words: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "forebay.main", *words]
    given = {**os.environ, **env}
    return subprocess.run(line, text=True, capture_output=True, timeout=60, cwd=ROOT, env=given, input=stdin)


def at(here: HomeUnderTest, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return forebay(*words, "--data", str(here.data), stdin=stdin)


def test_several_kinds_have_a_table_each_with_names_that_say_their_kind(running: HomeUnderTest) -> None:
    at(running, "apply", "-f", "-", stdin=MAP.replace("NAME", "one").replace("a: b", "a: one"))
    done = at(running, "get", "cm,ns", "-A", "--field-selector", "metadata.name=one")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["NAME", "configmap/one"]
    both = at(running, "get", "cm/one", "ns/kserve", "-o", "name")
    assert both.stdout == "configmap/one\nnamespace/kserve\n"
    assert at(running, "get", "all", "-n", "kserve", "--no-headers").stdout.count("forebay-gateway") >= 3
    assert at(running, "get", "cm", "-l", "a=one", "-o", "name").stdout == "configmap/one\n"
    listed = json.loads(at(running, "get", "cm,ns", "-o", "json").stdout)
    assert {item["kind"] for item in listed["items"]} == {"ConfigMap", "Namespace"}
    absent = at(running, "get", "cm", "one", "two")
    assert (absent.returncode, absent.stderr) == (4, 'Error: configmaps "two" not found\n')
    nothing = at(running, "get", "cm", "-n", "kube-public", "-l", "a=none")
    assert (nothing.returncode, nothing.stderr) == (0, "No resources found in kube-public namespace.\n")
    assert at(running, "get", "cm", "one", "-l", "a=one").returncode == 2


@pytest.mark.parametrize("output", [None, "name", "yaml"])
def test_a_watch_goes_on_with_what_changes_and_ends_without_a_trace(
    running: HomeUnderTest, output: str | None
) -> None:
    name = f"watched-{output or 'table'}"
    words = ["get", "cm", name, "-w", *(["-o", output] if output else []), "--data", str(running.data)]
    at(running, "apply", "-f", "-", stdin=MAP.replace("NAME", name))
    line = [sys.executable, "-u", "-m", "forebay.main", *words]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        _until(process.stdout, name)
        at(running, "apply", "-f", "-", stdin=MAP.replace("NAME", name).replace("red", "blue"))
        _until(process.stdout, name)
        process.send_signal(2)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""


def _until(lines: IO[str], name: str) -> None:
    line = "-"
    while name not in line:
        line = lines.readline()
        assert line, "the command ended"


def test_a_dry_run_asks_the_server_and_stores_nothing(running: HomeUnderTest, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MAP.replace("NAME", "dry"))
    asked = at(running, "apply", "-f", str(path), "--dry-run")
    assert asked.stdout == "configmap/dry created (server dry run)\n"
    assert (
        at(running, "apply", "-f", str(path), "--dry-run=client").stdout
        == "configmap/dry created (dry run)\n"
    )
    assert at(running, "get", "cm/dry").returncode == 4
    at(running, "apply", "-f", str(path))
    path.write_text(MAP.replace("NAME", "dry").replace("red", "blue"))
    shown = at(running, "apply", "-f", str(path), "--dry-run=server", "-o", "json")
    assert json.loads(shown.stdout)["data"] == {"color": "blue"}
    assert json.loads(at(running, "get", "cm/dry", "-o", "json").stdout)["data"] == {"color": "red"}
    path.write_text(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        "metadata: {name: x}\nspec: {predictr: {}}\n"
    )
    for dry in ([], ["--dry-run"]):
        refused = at(running, "apply", "-f", str(path), *dry)
        assert refused.returncode == 2 and 'unknown field "spec.predictr"' in refused.stderr
    path.write_text(
        "apiVersion: serving.kserve.io/v1alpha1\nkind: LocalModelCache\nmetadata: {name: x}\nspec: {}\n"
    )
    assert at(running, "apply", "-f", str(path), "--dry-run").returncode == 2
    assert at(running, "apply", "-f", str(path), "--dry-run=client").returncode == 0
    assert at(running, "apply", "-f", str(path), "--dry-run", "--wait").returncode == 2


KUBECONFIGS = {
    "not YAML": ("a: [", 2), "empty": ("", 2), "a list": ("[1]", 2),
    "no such context": ("current-context: nope\ncontexts: []\nclusters: []\nusers: []\n", 2),
    "nobody listens": (
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: x}}]\n", 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KUBECONFIGS)
def test_a_kubeconfig_that_does_not_serve_is_one_line(tmp_path: Path, case: str) -> None:
    text, code = KUBECONFIGS[case]
    path = tmp_path / "config"
    path.write_text(text)
    for words in (("get", "pods"), ("cache", "ls"), ("explain", "isvc/x")):
        done = forebay(*words, KUBECONFIG=str(path))
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert "Traceback" not in done.stderr and "please report" not in done.stderr


def test_credentials_that_are_not_taken_are_said_to_be_that(running: HomeUnderTest, tmp_path: Path) -> None:
    lines = (running.data / "kubeconfig").read_text().splitlines()
    path = tmp_path / "config"
    path.write_text(
        "\n".join(
            line.partition("token:")[0] + "token: wrong" if "token:" in line else line for line in lines
        )
    )
    done = forebay("get", "pods", KUBECONFIG=str(path))
    assert done.returncode == 3 and "does not take these credentials" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_behind_the_output_is_told(running: HomeUnderTest) -> None:
    for words in ("get ns", "get ns -o yaml", "kubeconfig", "cache ls -o json"):
        line = f"{sys.executable} -m forebay.main {words} --data {running.data} > /dev/full"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert (done.returncode, "no room to write" in done.stderr, done.stderr.count("\n")) == (
            7,
            True,
            1,
        ), words


def test_a_reader_that_has_seen_enough_is_no_error(running: HomeUnderTest) -> None:
    for words in ("get all -A -o yaml", "get ns", "cache ls -o json"):
        line = f"{sys.executable} -m forebay.main {words} --data {running.data} | head -1"
        shell = ["bash", "-o", "pipefail", "-c", line]
        done = subprocess.run(shell, capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), words
