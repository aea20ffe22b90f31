"""A process that writes is killed at a random moment: what it was told is stored is there afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.api.kinds import ConfigMap
from forebay.api.meta import Json
from forebay.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from forebay.api.kinds import ConfigMap
from forebay.store.sqlite import SqliteStore

class AsTheyAre:
    def prepare(self, kind, new, old, verb):
        return new

async def main():
    store = SqliteStore(Path(sys.argv[1]), AsTheyAre())
    await store.open()
    async def write(number):
        made = await store.create(ConfigMap.new(f"c{number}", "default", data={"n": str(number)}))
        print(number, made.revision, flush=True)
    number = 0
    while True:
        await asyncio.gather(*(write(number + more) for more in range(5)))
        number += 5

asyncio.run(main())
"""


class AsTheyAre:
    def prepare(self, kind: object, new: Json, old: object, verb: str) -> Json:
        return new


@pytest.mark.parametrize("seed", range(5))
def test_what_was_confirmed_is_there_after_a_kill(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    confirmed = [writer.stdout.readline().split()]
    time.sleep(random.Random(seed).uniform(0.0, 0.15))  # the moment of the kill, not a wait for anything
    writer.send_signal(signal.SIGKILL)
    confirmed += [line.split() for line in writer.stdout.read().splitlines() if len(line.split()) == 2]
    writer.wait()
    writer.stdout.close()

    async def body() -> dict[str, str]:
        store = SqliteStore(path, AsTheyAre())
        await store.open()
        found = {item.raw["data"]["n"]: item.revision for item in (await store.list(ConfigMap)).items}
        more = await store.create(ConfigMap.new("after", "default", data={"n": "x"}))
        assert int(more.revision) > max(map(int, found.values()))
        await store.close()
        return found

    found = asyncio.run(body())
    assert {number: found.get(number) for number, _ in confirmed} == dict(confirmed)
