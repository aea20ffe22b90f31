"""kill -9 at every named point of a life: what is found then keeps the promises, and work goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.cache_promises import assert_promises, shown
from tests.fakes.plain_user import plain_user
from tests.faults import cache_life

from forebay.cache import blobs, gc, open_root, recover

POINTS = [
    "cache.commit.synced",
    "cache.commit.renamed",
    "cache.publish.blobs",
    "cache.publish.manifest",
    "cache.view.linked",
    "cache.view.renamed",
    "cache.view.away",
    "cache.remove.view",
    "cache.remove.manifest",
    "cache.collect.listed",
    "cache.collect.unlinked",
    "cache.damage.noted",
    "cache.damage.manifests",
    "cache.adopt.copied",
    "cache.pins.added",
    "cache.reservation.asked",
    "node.answered",
    "node.evicting",
    "pull.cached.verified",
    "pull.cached.kept",
    "pull.cached.published",
]


def live(folder: Path, point: str = "") -> int:
    """The exit code of a life that is to end at `point`; its files' permission bits hold for it."""
    env = {**os.environ, "FOREBAY_FAILPOINTS": f"{point}=kill", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, cache_life.__file__, folder]
    return subprocess.run(command, env=env, timeout=50, preexec_fn=plain_user).returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_promises_and_the_next_life_goes_to_its_end(point, tmp_path):
    assert live(tmp_path, point) == -signal.SIGKILL
    root = open_root(tmp_path / "root")
    recover(root)
    assert_promises(root)
    assert live(tmp_path) == 0
    assert_promises(root)
    assert shown(root, "a").keys() == {*cache_life.BODIES, "name"}
    assert shown(root, "b") is None
    gc.collect(root, keep_parts=())
    assert not root.disk.list(root.layout.trash)


def test_a_part_that_a_kill_left_read_only_can_be_written_by_the_next_pull(tmp_path):
    """Blobs are read-only before they have their name; root would never notice."""
    root = open_root(tmp_path / "root")
    part = root.layout.part_files("a") / "x.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    part.chmod(0o444)
    blobs.claim(root, "a", [])
    assert part.stat().st_mode & 0o200
