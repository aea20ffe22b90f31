"""The API server as a program of its own, and the real kubectl in front of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.embedded import beside

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_PLACES = (str(_CACHE / "forebay" / "kubectl"), "/usr/lib/google-cloud-sdk/bin")
_VERSIONS = ("kubectl.1.35", "kubectl.1.34", "kubectl.1.33", "kubectl.1.32")


def find_kubectls() -> list[str]:
    """Every real kubectl of this machine, the newest first.

    KUBECTL alone, if it is set; otherwise versioned names, on PATH, among what `make kubectl` fetched, or in
    a well-known SDK folder. A bare `kubectl` on PATH counts only if there is no other: on some machines it
    is a dispatcher that picks a client by the server's version.
    """
    if os.environ.get("KUBECTL"):
        return [os.environ["KUBECTL"]]
    path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    found = [shutil.which(name, path=path) for name in _VERSIONS]
    return [one for one in found if one] or [one for one in (shutil.which("kubectl"),) if one]


def find_kubectl() -> str | None:
    """The kubectl for tests that need only one."""
    return next(iter(find_kubectls()), None)


needs_kubectl = pytest.mark.skipif(
    find_kubectl() is None, reason="no kubectl on this machine; KUBECTL names one"
)


def each_kubectl() -> list[str]:
    """The newest and the oldest, for tests that talk to the server in ways that changed between the two."""
    found = find_kubectls()
    return [*dict.fromkeys([*found[:1], *found[-1:]])]


@dataclass(frozen=True)
class ApiServer:
    """A running server and how to speak to it. `user` "" is the admin."""

    url: str
    folder: Path
    kubectl: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def config(self, user: str = "") -> Path:
        return self.folder / (f"kubeconfig.{user}" if user else "kubeconfig")

    def popen(self, *args: str, user: str = "", env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """kubectl in the background."""
        process = subprocess.Popen(
            [self.kubectl, f"--cache-dir={self.folder}/cache", *args], text=True, cwd=self.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.config(user)), **(env or {})},
        )  # fmt: skip
        self.started.append(process)
        return process

    def stop_all(self) -> None:
        """End what a test left running."""
        while self.started:
            process = self.started.pop()
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)

    def run(self, *args: str, stdin: str = "", user: str = "", env: dict[str, str] | None = None) -> Result:
        """kubectl to its end."""
        process = self.popen(*args, user=user, env=env)
        out, err = process.communicate(stdin, timeout=30)
        self.started.remove(process)
        return Result(process.returncode, out, err)

    def patch_status(self, ns: str, what: str, **status: object) -> None:
        """Write a status as a controller would; `what` is KIND/NAME."""
        change = json.dumps({"status": status})
        self("patch", "-n", ns, what, "--subresource=status", "--type=merge", "-p", change)

    def json(self, ns: str, kind: str, name: str) -> Any:
        """One object as it is."""
        return json.loads(self("get", "-n", ns, kind, name, "-o", "json"))

    def __call__(self, *args: str, stdin: str = "", user: str = "") -> str:
        """The output of a kubectl command that must succeed."""
        result = self.run(*args, stdin=stdin, user=user)
        assert result.code == 0, f"kubectl {' '.join(args)}\n{result.out}{result.err}"
        return result.out


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One server for all tests of the session; each test works in a namespace of its own."""
    kubectl = find_kubectl()
    if kubectl is None:
        pytest.skip("no kubectl on this machine; KUBECTL names one")
    folder = tmp_path_factory.mktemp("apiserver")
    with beside(folder) as url:
        yield ApiServer(url, folder, kubectl)


@pytest.fixture
def ns(apiserver: ApiServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace."""
    name = "t" + format(abs(hash(request.node.nodeid)) % 10**10, "d")
    apiserver("create", "namespace", name)
    yield name
    apiserver.stop_all()
