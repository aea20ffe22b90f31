"""A cache's whole life in a child process that dies at a named point: `python cache_life.py ROOT STEP...`.

The point comes from FOREBAY_FAILPOINTS. Exit code 0: the point was never reached.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from pathlib import Path

from forebay.cache import adopt, damage, entitled, gc, manifests, open_root, pins, reservations, views
from forebay.cache.evict import Space
from forebay.kit.disk import make_folders
from forebay.node.act import Hands
from forebay.node.decide import Ask, Copy, Entry, Seen, decide
from forebay.pull.cached import pull_cached

BODIES = {"config.json": b"{}", "one.bin": b"one" * 50_000, "sub/two.bin": b"two" * 50_000}


def origin(folder: Path, name: str) -> str:
    """A file:// source with BODIES and one file of its own."""
    source = folder / "origin" / name
    for path, body in {**BODIES, "name": name.encode()}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(body)
    return f"file://{source}"


def grant(root) -> None:
    """A thread in place of the agent: grants whatever is asked."""

    def run() -> None:
        while True:
            for said in reservations.find_all(root):
                reservations.answer(root, said.id, "granted")
            time.sleep(0.005)

    threading.Thread(target=run, daemon=True).start()


def pull(folder: Path, name: str) -> None:
    env = {"FOREBAY_CACHE_ROOT": str(folder / "root"), "FOREBAY_STORAGE_KEY": name, "FOREBAY_MODEL": name}
    pull_cached(origin(folder, name), env)
    views.publish(open_root(folder / "root"), name)


def live(folder: Path) -> None:
    """Everything once: two models, a pin, an adoption, an eviction, damage and its healing, a removal."""
    root = open_root(folder / "root")
    grant(root)
    pull(folder, "a")
    pull(folder, "b")
    pins.rebuild(root, [pins.Pin("u", "default/p", ("a",))])
    make_folders(root.disk, root.layout.staged("c"))
    root.disk.write(root.layout.staged("c") / "f", b"foreign")
    adopt.adopt(root, key="c", uri="gs://x/c")
    views.publish(root, "c")
    evict_c(root)
    bad = hashlib.sha256(b"b").hexdigest()
    damage.set_aside(root, bad, "test")
    pull(folder, "b")
    entitled.withdraw(root, "b", "b")
    manifests.remove(root, "b")
    gc.collect(root, keep_parts=())


def evict_c(root) -> None:
    """The agent's hands make room for a pull that waits."""
    with reservations.asking(root, key="d", model="d", uri="x") as asker:
        said = reservations.Reservation(reservations.reservation_id("d", "d"), "d", "d", bytes_needed=10)
        asker._save(bytes_needed=10, state="asked")
        seen = Seen(
            entries=(Entry("c", "gs://x/c", "c"), Entry("d", "x", "d")), space=Space(10, 10, 10),
            copies={"c": Copy("c", "r", 7, {"x": 10}, 0.0)}, views=frozenset({"c"}),
            asks=(Ask(said, True),), pods_known=True, entitled=frozenset({("c", "c")}),
        )  # fmt: skip
        Hands(root, {}, lambda key: None).carry_out(decide(seen))
        asker.release()


if __name__ == "__main__":
    live(Path(sys.argv[1]))
