"""A home and a hub as programs of their own, and the real kubectl in front of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.service.kubectl import find_kubectl

ROOT = Path(__file__).parents[2]
FOREBAY = [sys.executable, "-m", "forebay.main"]
START_S, STOP_S, KUBECTL_S = 60.0, 60.0, 120.0


def eventually(check: Callable[[], Any], *, deadline_s: float = 60.0, what: str = "") -> Any:
    """The first true answer of `check`; fails loudly after the deadline."""
    deadline = time.monotonic() + deadline_s
    last: Any = None
    while time.monotonic() < deadline:
        last = check()
        if last:
            return last
        time.sleep(0.1)
    raise AssertionError(f"not within {deadline_s:g} s: {what or check}; last: {last!r}")


@dataclass
class Hub:
    """A hub on loopback over a folder."""

    url: str
    process: subprocess.Popen[str]
    folder: Path

    def requests(self) -> list[dict[str, Any]]:
        """What was asked so far: method, target, status, sent (bytes of the body)."""
        answer = httpx.get(f"{self.url}/_hub/requests", trust_env=False)
        return [r for r in answer.json() if not r["target"].startswith("/_hub/")]

    def gets(self) -> int:
        """How many bodies of files were asked for."""
        return sum(1 for r in self.requests() if r["method"] == "GET" and "/api/" not in r["target"])

    def sent(self, repo: str) -> int:
        """Bytes of the files of a repository that went over the wire."""
        return sum(r["sent"] for r in self.requests() if f"/_cdn/{repo}/" in r["target"])


@contextmanager
def hub(folder: Path, *, gated: tuple[str, ...] = (), token: str = "") -> Iterator[Hub]:
    """Serve FOLDER/ORG/NAME/… over the Hub's protocol."""
    words = [*FOREBAY, "hub", str(folder), "--port", "0"]
    for repo in gated:
        words += ["--gated", repo]
    environment = {**os.environ, "HUB_TOKENS": token}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield Hub(line[line.index("http://") :].strip(), process, folder)
    finally:
        process.terminate()
        process.wait(timeout=STOP_S)
        process.stdout.close()


@dataclass
class HomeUnderTest:
    """A running `forebay up`."""

    data: Path
    process: subprocess.Popen[bytes]
    kubectl_path: str
    facts: dict[str, Any] = field(default_factory=dict)

    def kubectl(
        self, *words: str, stdin: str = "", check: bool = True, env: dict[str, str] | None = None
    ) -> str:
        """Output of a kubectl command; it must succeed unless `check` is off (then errors are part of it)."""
        code, out, err = self._run(words, stdin, env or {})
        if check:
            assert code == 0, f"kubectl {' '.join(words)}\n{out}{err}\n{self.log()[-3000:]}"
            return out
        return out + err

    def refused(self, *words: str, stdin: str = "") -> str:
        """What a kubectl command that must fail said."""
        code, out, err = self._run(words, stdin, {})
        assert code != 0, f"kubectl {' '.join(words)} was not refused:\n{out}{err}"
        return err

    def apply(self, *objects: dict[str, Any]) -> str:
        """`kubectl apply -f -` of these objects."""
        return self.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(o) for o in objects))

    def _run(self, words: tuple[str, ...], stdin: str, env: dict[str, str]) -> tuple[int, str, str]:
        """One that does not end tells where it hangs, and so does the home."""
        process = subprocess.Popen(
            [self.kubectl_path, f"--cache-dir={self.data}/kubectl-cache", *words], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.data / "kubeconfig"), **env},
        )  # fmt: skip
        try:
            out, err = process.communicate(stdin, timeout=KUBECTL_S)
        except subprocess.TimeoutExpired:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGUSR1)
            process.send_signal(signal.SIGQUIT)  # Go prints its stacks and ends
            out, err = process.communicate()
            raise AssertionError(
                f"kubectl {' '.join(words)} hung\n{out}{err[-6000:]}\n{self.log()[-6000:]}"
            ) from None
        return process.returncode, out, err

    def json(self, *words: str) -> Any:
        """An object, or {} while it is not there."""
        out = self.kubectl("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(out) if out.strip() else {}

    def log(self) -> str:
        """What the home printed."""
        return (self.data / "up.out").read_text()

    def forebay(self, *words: str) -> str:
        """Output of a forebay command against this home."""
        done = subprocess.run(
            [*FOREBAY, *words, "--data", str(self.data)],
            text=True,
            capture_output=True,
            timeout=120,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def processes(self) -> list[int]:
        """Every process that was started below this home: they carry its data folder in their environment."""
        mark = str(self.data).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if mark in text:
                    found.append(int(entry.name))
        return found


@contextmanager
def home(data: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[HomeUnderTest]:
    """Start `forebay up` on free ports, wait for its API, and end it afterwards."""
    found = find_kubectl()
    assert found is not None
    running = start(data, *words, env=env)
    here = HomeUnderTest(data, running, found)
    try:
        here.facts = facts_of(data, running)
        yield here
    finally:
        end(here.process)  # a test may have begun another life


def start(data: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """The process of `forebay up`."""
    data.mkdir(parents=True, exist_ok=True)
    line = [*FOREBAY, "up", "--data", str(data), "--api-port", "0", "--gateway-port", "0", *words]
    with (data / "up.out").open("ab") as out:
        return subprocess.Popen(
            line,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )


def facts_of(data: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a home that has just been started tells of itself: addresses and its pid."""

    def read() -> dict[str, Any]:
        assert process.poll() is None, (data / "up.out").read_text()
        path = data / "up.json"
        facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return facts if facts.get("pid") == process.pid else {}

    facts: dict[str, Any] = eventually(read, deadline_s=START_S, what="forebay up")
    return facts


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop in order; kill what does not stop."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("forebay up did not stop") from None


def put_model(folder: Path, repo: str, model: Path) -> Path:
    """Lay a model file into a hub's folder; returns its place."""
    place = folder / repo / model.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(model, place)
    (place.parent / "config.json").write_text('{"model_type": "llama"}\n')
    return place


def put_file(folder: Path, repo: str, name: str, *, size: int) -> Path:
    """Lay bytes that no other file has into a hub's folder; returns their place."""
    place = folder / repo / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(random.Random(f"{repo}/{name}").randbytes(size))
    return place
