"""Threads that write to the API and ask the service while things die, and remember what they were told."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from typing import Any

from tests.bench.home_probe import Api
from tests.soak.farm import Farm

PLACE = "/api/v1/namespaces/default/configmaps"
NAMES = 40


class Writer(threading.Thread):
    """Random creates, updates and deletes of ConfigMaps: `confirmed` is what the server has promised.

    A write whose answer was lost may have happened or not: its name is `unsure` until the next answer.
    """

    def __init__(self, farm: Farm, seed: int) -> None:
        super().__init__(daemon=True)
        self._farm, self._dice = farm, random.Random(seed)
        self.confirmed: dict[str, str | None] = {}
        self.unsure: dict[str, list[str | None]] = {}
        self.writes, self.slowest_s = 0, 0.0
        self._ending = threading.Event()

    def run(self) -> None:
        api: Api | None = None
        while not self._ending.wait(0.02):
            try:
                api = api or Api(self._farm.here.data / "kubeconfig")
                self._write(api)
            except (OSError, http.client.HTTPException):
                api = None

    def end(self) -> None:
        """Returns when nothing is under way any more."""
        self._ending.set()
        self.join()

    def _write(self, api: Api) -> None:
        name, value = f"soak-{self._dice.randrange(NAMES)}", str(self._dice.random())
        there = self.confirmed.get(name)
        verb = "POST" if there is None and name not in self.unsure else self._dice.choice(("PUT", "DELETE"))
        wanted = None if verb == "DELETE" else value
        body = {"metadata": {"name": name}, "data": {"v": value}}
        self.unsure.setdefault(name, []).append(wanted)
        began = time.monotonic()
        path = PLACE if verb == "POST" else f"{PLACE}/{name}"
        code, text = api.raw(verb, path, None if verb == "DELETE" else body)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.writes += 1
        if code < 300:
            self.confirmed[name] = wanted
            del self.unsure[name]
        elif code == 404:
            self.confirmed[name] = None
            del self.unsure[name]
        else:
            assert code in (409, 503), (verb, path, code, text[:300])

    def check(self) -> None:
        """What was confirmed is there, and nothing else."""
        api = Api(self._farm.here.data / "kubeconfig")
        items: list[dict[str, Any]] = api("GET", PLACE)["items"]
        there = {
            o["metadata"]["name"]: o["data"]["v"] for o in items if o["metadata"]["name"].startswith("soak-")
        }
        for name in self.confirmed | self.unsure:
            may = {self.confirmed.get(name), *self.unsure.get(name, ())}
            assert there.get(name) in may, f"{name} is {there.get(name)}; may be {may}"


class Asker(threading.Thread):
    """One question after the other; `lost` is what was not answered."""

    def __init__(self, farm: Farm) -> None:
        super().__init__(daemon=True)
        self._farm, self._ending = farm, threading.Event()
        self.asked, self.lost = 0, list[str]()

    def run(self) -> None:
        while not self._ending.wait(0.05):
            with contextlib.suppress(KeyError):
                trouble = self._farm.ask()
                self.asked += 1
                if trouble:
                    self.lost.append(trouble)

    def end(self) -> None:
        """Returns when nothing is under way any more."""
        self._ending.set()
        self.join()
