"""`python -m tests.soak --seconds 240 --seed 1`: what dies and when is drawn from the seed."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.seeds.world import eventually
from tests.soak.farm import Farm, farm, note
from tests.soak.writers import Asker, Writer

VICTIMS = ("home", "supervisor", "node", "gateway", "llama", "storage-initializer", "nobody")
HARMLESS = ("node", "storage-initializer", "nobody")  # whose death may cost no request
DOINGS = ("download", "roll", "scale", "nothing")
HANDLES_MORE = 24  # watches, connections and logs that may be open at one moment and not at another


def round_of(here: Farm, writer: Writer, dice: random.Random) -> None:
    """Something is done, something dies meanwhile; then all is as it should be."""
    doing, victim, wait_s = dice.choice(DOINGS), dice.choice(VICTIMS), dice.random() * 4
    asker = Asker(here)
    asker.start()
    began = time.monotonic()
    try:
        if doing == "download":
            here.download(rate_bytes_s=dice.choice((8e6, 24e6, 0.0)))
        elif doing != "nothing":
            {"roll": here.roll, "scale": here.scale}[doing]()
        time.sleep(wait_s)
        died = victim != "nobody" and here.kill(victim, dice)
        if victim == "home" and died:
            here.here.process.wait()
        here.revive()
        here.settled()
    finally:
        asker.end()
    took = time.monotonic() - began
    what = f"{doing} while {victim} dies" if died else doing
    facts = {
        "asked": asker.asked,
        "lost": len(asker.lost),
        "writes": writer.writes,
        "handles": here.handles(),
    }
    note(what, after_s=f"{wait_s:.2f}", settled_s=f"{took:.1f}", slowest_s=f"{writer.slowest_s:.2f}", **facts)
    if victim in HARMLESS or not died:
        assert not asker.lost, asker.lost


def soak(folder: Path, seconds: float, seed: int) -> None:
    """Rounds until the time is over; raises AssertionError at the first thing that is wrong."""
    dice = random.Random(seed)
    with farm(folder) as here:
        handles = here.handles()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            writer = Writer(here, dice.randrange(10**6))
            _carry_on(writer, here)
            writer.start()
            try:
                round_of(here, writer, dice)
            except AssertionError:
                print(here.picture(), flush=True)
                raise
            finally:
                writer.end()
            writer.check()
        assert here.handles() <= handles + HANDLES_MORE, (handles, here.handles())
        here.here.forebay("down")
        eventually(lambda: not here.here.processes(), deadline_s=3, what="the end of every process")


def _carry_on(writer: Writer, here: Farm) -> None:
    """What former writers left is where this one starts."""
    for item in here.here.json("configmap")["items"]:
        if item["metadata"]["name"].startswith("soak-"):
            writer.confirmed[item["metadata"]["name"]] = item["data"]["v"]


def main() -> int:
    """0 when nothing went wrong."""
    words = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    words.add_argument("--seconds", type=float, default=240.0)
    words.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = words.parse_args()
    note("soak", seed=given.seed)
    with tempfile.TemporaryDirectory(prefix="forebay-soak-", ignore_cleanup_errors=True) as folder:
        try:
            soak(Path(folder), given.seconds, given.seed)
        except AssertionError as error:
            note(f"WRONG (seed {given.seed}): {error}")
            return 1
    note("nothing went wrong", seed=given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
