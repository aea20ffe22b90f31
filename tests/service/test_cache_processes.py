"""Two processes on one root: one pulls and publishes, the other removes and collects."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.fakes.cache_promises import assert_promises, serve

from forebay.cache import gc, manifests, open_root, recover, views
from forebay.errors import Absent

HERE = Path(__file__).parents[2]
SECONDS = 3.0
BODIES = {"config.json": b"{}", "shared.bin": b"shared" * 1000}


def pulls(folder: str) -> None:
    root = open_root(Path(folder))
    until = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < until:
        for key in ("a", "b"):
            bodies = {**BODIES, "own": f"{key}{rounds % 3}".encode()}
            with root.disk.lock(root.layout.part_lock(key), 10), suppress(Absent):  # removed before its view
                serve(root, key, bodies)
        rounds += 1
    print(rounds)


def removes(folder: str) -> None:
    root = open_root(Path(folder))
    until = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < until:
        for key in ("a", "b"):
            manifests.remove(root, key)
            gc.collect(root, keep_parts=("a", "b"))
        rounds += 1
    print(rounds)


def test_a_pull_beside_a_collection_never_ends_with_a_manifest_whose_content_is_gone(tmp_path):
    open_root(tmp_path)
    code = "from tests.service.test_cache_processes import {0}; {0}({1!r})"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(what, str(tmp_path))],
            cwd=HERE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for what in ("pulls", "removes")
    ]
    rounds = [int(child.communicate(timeout=50)[0] or 0) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert min(rounds) > 3, rounds
    root = open_root(tmp_path)
    assert recover(root) == [], "something was left undone"
    assert_promises(root)
    assert views.standing(root) <= {m.key for m in manifests.find_all(root)}
