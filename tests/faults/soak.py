"""`python -m tests.faults.soak SECONDS [SEED]`: pulls through a lying network, killed at random, for a while.

Sources hf, http and s3, into a folder or a cache. After each run, however it ended, what is published is
right, and in the end an honest network brings the rest. Prints one line a round, fails at the first broken
promise.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.origins import Origin, http_origin, hub_origin, s3_origin
from tests.fakes.cache_promises import assert_promises, shown
from tests.faults.mischief import read_head
from tests.faults.small_models import published, sha256

from forebay.cache import manifests, open_root, reservations, views
from forebay.errors import Bug

CHILD = """
import os, sys
from pathlib import Path
from forebay.pull.cached import puller
from forebay.pull.command import PullOptions, pull_command
options = PullOptions(sys.argv[1], Path(sys.argv[2]))
raise SystemExit(pull_command(options, os.environ, puller=puller(os.environ)))
"""
PIECE = 64 * 1024
LIES = ("none", "none", "none", "reset", "reset", "flip", "ignore-range", "busy", "stall", "garbage")


@dataclass
class Liar:
    """A proxy before one origin: one request a connection, and one lie drawn for each large body."""

    origin: int
    may_flip: bool
    rng: random.Random
    honest: bool = False
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._front = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._front.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._front.shutdown(socket.SHUT_RDWR)
        self._front.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._front.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            asked = read_head(peer)
            lie = "none" if self.honest or not asked.startswith(b"GET ") else self.rng.choice(LIES)
            if lie == "busy":
                peer.sendall(
                    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            if lie == "ignore-range":
                asked = re.sub(rb"(?i)\r\nrange:[^\r]*", b"", asked)
            asked = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", asked)
            with socket.create_connection(("127.0.0.1", self.origin)) as far:
                far.sendall(asked[:-4] + b"\r\nConnection: close\r\n\r\n")
                self._pass_on(peer, far, lie)

    def _pass_on(self, peer: socket.socket, far: socket.socket, lie: str) -> None:
        head = read_head(far).replace(b":%d/" % self.origin, b":%d/" % self.port)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        large = length is not None and int(length[1]) > PIECE and head[9:10] == b"2"
        if not large or (lie == "flip" and not self.may_flip):
            lie = "none"
        self.told[lie] += 1
        if lie == "garbage":
            head = b"HTTP/1.1 2 00" + head[9:]
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
        peer.sendall(head[:-4] + b"\r\nConnection: close\r\n\r\n")
        at, where = 0, self.rng.randrange(int(length[1])) if length is not None and large else 0
        while piece := far.recv(PIECE):
            if lie == "reset" and at + len(piece) > where:
                peer.sendall(piece[: where - at])
                return
            if lie == "stall" and at + len(piece) > where:
                time.sleep(1.5)
                return
            if lie == "flip" and at <= where < at + len(piece):
                piece = piece[: where - at] + bytes([piece[where - at] ^ 4]) + piece[where - at + 1 :]
            peer.sendall(piece)
            at += len(piece)
            time.sleep(len(piece) / 8e6)


@dataclass
class Place:
    """An origin behind its liar."""

    name: str
    origin: Origin
    liar: Liar

    def environment(self) -> dict[str, str]:
        """What a child needs to pull from it."""
        told = {
            k: v.replace(f":{self.liar.origin}", f":{self.liar.port}") for k, v in self.origin.env.items()
        }
        return {**os.environ, "no_proxy": "*", "FOREBAY_PULL_STALL_S": "1", **told}

    @property
    def uri(self) -> str:
        return self.origin.uri.replace(f":{self.liar.origin}/", f":{self.liar.port}/")


@contextmanager
def places(root: Path, seed: int) -> Iterator[list[Place]]:
    """All three sources, running."""
    out = []
    with ExitStack() as stack:
        for name, make in (("hf", hub_origin), ("http", http_origin), ("s3", s3_origin)):
            (root / name / "tree").mkdir(parents=True)
            origin = stack.enter_context(make(root / name / "tree"))
            text = " ".join([origin.uri, *origin.env.values()])
            port = int(re.search(r"127\.0\.0\.1:(\d+)", text)[1])  # type: ignore[index]
            liar = Liar(port, name != "http", random.Random(f"{seed} {name}"))
            stack.callback(liar.close)
            out.append(Place(name, origin, liar))
        yield out


def one_round(place: Place, root: Path, rng: random.Random) -> str:
    """Some pulls of one model, most of them hindered, and an honest one at the end; what happened."""
    cached, said = rng.random() < 0.5, []
    place.liar.honest = False
    with granting(root / "cache") if cached else contextlib.nullcontext():
        for _ in range(rng.randint(1, 4)):
            kill_after_s = rng.choice([0, 0, rng.uniform(0.3, 1.5)])
            said.append(one_pull(place, root, cached, kill_after_s=kill_after_s))
            if rng.random() < 0.2:
                break
        place.liar.honest = True
        said.append(one_pull(place, root, cached, kill_after_s=0))
        assert said[-1] == "done", f"{place.name}: the honest network did not bring the rest: {said}"
    return f"{place.name:5} {'cache ' if cached else 'folder'} {', '.join(said)}"


def one_pull(place: Place, root: Path, cached: bool, *, kill_after_s: float) -> str:
    """Run it, kill it perhaps, and look at what is published."""
    env = place.environment()
    if cached:
        env |= {"FOREBAY_CACHE_ROOT": str(root / "cache"), "FOREBAY_STORAGE_KEY": "k", "FOREBAY_MODEL": "m"}
    command = [sys.executable, "-c", CHILD, place.uri, str(root / "out")]
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = child.communicate(timeout=kill_after_s or 60)
    except subprocess.TimeoutExpired:
        child.kill()
        _, errors = child.communicate()
        assert kill_after_s, f"{place.name}: a pull that never ends: {errors}"
    assert child.returncode in (-9, 0, *range(2, 9)), f"{place.name}: {errors}"
    assert child.returncode != Bug.exit_code and "Traceback" not in errors, errors
    _look(place, root, cached, whole=child.returncode == 0)
    return {0: "done", -9: "killed"}.get(child.returncode, f"error {child.returncode}")


def _look(place: Place, root: Path, cached: bool, *, whole: bool) -> None:
    tree = place.origin.tree
    if not cached:
        there = published(root / "out") if (root / "out").exists() else {}
        assert all(tree.get(name) == body for name, body in there.items()), f"{place.name}: wrong bytes"
        assert not whole or there == tree, f"{place.name}: told as done, but not all is there"
        return
    cache = open_root(root / "cache")
    with cache.locked():
        assert_promises(cache)
    if whole:
        assert manifests.find(cache, "k") is not None
        views.publish(cache, "k")
        assert shown(cache, "k") == {name: sha256(body) for name, body in tree.items()}


@contextmanager
def granting(path: Path) -> Iterator[None]:
    """In place of the agent: grants whatever is asked."""
    cache, over = open_root(path), threading.Event()

    def run() -> None:
        while not over.wait(0.02):
            for said in reservations.find_all(cache):
                reservations.answer(cache, said.id, "granted")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def soak(seconds: float, seed: int) -> Counter[str]:
    """Rounds until the time is over; what the liars told."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name, places(Path(name), seed) as all_places:
        while time.monotonic() < end:
            root = Path(name) / "round"
            sys.stdout.write(one_round(rng.choice(all_places), root, rng) + "\n")
            sys.stdout.flush()
            shutil.rmtree(root, ignore_errors=True)
        return sum((place.liar.told for place in all_places), Counter[str]())


if __name__ == "__main__":
    sys.stdout.write(f"{soak(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)}\n")
