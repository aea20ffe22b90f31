"""A home under test, the hub it pulls from, and what may be done to them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx

from forebay.cli import smollm2
from tests.faults.mischief import SlyHub, sly_hub
from tests.seeds.objects import cache, downloader, node_group, service
from tests.seeds.world import HomeUnderTest, eventually, facts_of, home, put_file, put_model, start

CHAT, SIZE = "acme/chat", 48 << 20
SETTLE_S, SLOW_S = 120.0, 20.0
PROGRAMS = ("node", "gateway", "llama", "storage-initializer")


class Farm:
    """One home with one service; every method leaves it either working or raises AssertionError."""

    def __init__(self, here: HomeUnderTest, hub: SlyHub) -> None:
        self.here, self.hub = here, hub
        self.models: list[str] = []
        self.replicas, self.turn = 1, 0

    def programs(self) -> dict[int, str]:
        """Every process of the home, by what it runs."""
        found = {}
        for pid in self.here.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                found[pid] = _kind(words) if pid != self.here.process.pid else "home"
        return {pid: kind for pid, kind in found.items() if kind}

    def kill(self, kind: str, dice: random.Random) -> bool:
        """SIGKILL to one process of a kind, if there is one."""
        chosen = [pid for pid, what in self.programs().items() if what == kind]
        if not chosen:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(chosen), signal.SIGKILL)
        return True

    def revive(self) -> None:
        """The same folder, another life, if the home is dead. Nothing may be left of the former."""
        if self.here.process.poll() is None:
            return
        eventually(lambda: not self.here.processes(), deadline_s=3, what="the end of every process")
        self.here.process = start(self.here.data)
        self.here.facts = facts_of(self.here.data, self.here.process)

    def download(self, rate_bytes_s: float) -> None:
        """Begin to cache one more model."""
        name = f"m{len(self.models)}"
        put_file(self.hub.settings.folder, f"acme/{name}", "model.safetensors", size=SIZE)
        self.hub.mischief.rate_bytes_s = rate_bytes_s
        self.here.apply(cache(name, f"hf://acme/{name}", "workers"))
        self.models.append(name)

    def roll(self) -> None:
        """A new template for the service."""
        self.turn += 1
        self._serve()

    def scale(self) -> None:
        """One replica becomes two, two become one."""
        self.replicas = 3 - self.replicas
        self._serve()

    def _serve(self) -> None:
        args = ("--model_name=chat",) * (1 + self.turn % 2)
        wanted = service("chat", f"hf://{CHAT}", args=args)
        wanted["spec"]["predictor"] |= {"minReplicas": self.replicas, "maxReplicas": self.replicas}
        self.here.apply(wanted)

    def ask(self) -> str:
        """ "" when the service answers a question, else what was wrong."""
        url = f"{self.here.facts['gateway']}/serving/default/chat/openai/v1/completions"
        body = {"model": "chat", "prompt": "1 2 3", "max_tokens": 2, "temperature": 0}
        try:
            answer = httpx.post(url, json=body, timeout=60, trust_env=False)
        except httpx.HTTPError as error:
            return repr(error)
        return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:300]}"

    def settled(self) -> None:
        """All copies are there and right, the service is Ready with its replicas and answers."""
        self.hub.mischief.rate_bytes_s = 0.0
        self._spare_the_wait()
        try:
            eventually(self._has_all, deadline_s=SLOW_S)
        except AssertionError:
            note("copies take long", picture=self.picture())
            eventually(self._has_all, deadline_s=SETTLE_S, what="every copy")
        for name in self.models[-2:]:
            self._same(name)
        self.here.kubectl("rollout", "status", "deployment/chat-predictor", f"--timeout={SETTLE_S:g}s")
        self.here.kubectl("wait", "--for=condition=Ready", "isvc/chat", f"--timeout={SETTLE_S:g}s")
        eventually(lambda: self.ask() == "", deadline_s=60, what="an answer")
        eventually(self._as_expected, deadline_s=60, what="just the processes that should be")

    def _spare_the_wait(self) -> None:
        """A pod that waits out its third crash is deleted, as a person in a hurry would do."""
        for pod in self.here.json("pods", "-A")["items"]:
            for one in pod["status"].get("containerStatuses") or []:
                if one["restartCount"] > 1 and "CrashLoopBackOff" in str(one["state"]):
                    self.here.kubectl(
                        "delete", "pod", "-n", pod["metadata"]["namespace"], pod["metadata"]["name"]
                    )

    def picture(self) -> str:
        """What a person would look at when something is wrong."""
        for pid, kind in self.programs().items():
            if kind in ("storage-initializer", "node"):
                os.kill(pid, signal.SIGUSR1)  # it prints where its threads are
        time.sleep(0.5)  # printing takes a moment
        jobs, nodes = ("-n", "kserve-localmodel-jobs"), ("-n", "kserve", "daemonset/workers-agent")
        looks = (
            ("get", "pods,jobs,localmodelcaches,isvc", "-A"),
            ("get", "localmodelnode", "-o", "jsonpath={.items[*].status.models}"),
            ("logs", *jobs, f"job/{self.models[-1]}-forebay", "--tail=80") if self.models else ("version",),
            ("logs", *nodes, "--tail=60"),
        )
        told = [self.here.kubectl(*words, check=False)[-6000:] for words in looks]
        asks = sorted((self.here.data / "nodes/forebay/root/models/.forebay/reservations").glob("*"))
        told += [path.read_text() for path in asks]
        return "\n".join([*told, str(self.programs()), self.here.log()[-2000:]])

    def _has_all(self) -> bool:
        items = self.here.json("localmodelcache")["items"]
        return all((o.get("status") or {}).get("copies") == {"available": 1, "total": 1} for o in items)

    def _same(self, name: str) -> None:
        key = self.here.json("localmodelcache", name)["status"]["storageKey"]
        copy = self.here.data / "nodes/forebay/root/models/models" / key / "model.safetensors"
        original = self.hub.settings.folder / "acme" / name / "model.safetensors"
        assert copy.read_bytes() == original.read_bytes(), name

    def _as_expected(self) -> bool:
        """No process too many: a supervisor for each running pod, one program of each kind."""
        self._spare_the_wait()
        kinds = Counter(self.programs().values())
        wanted = Counter(home=1, node=1, gateway=1, llama=self.replicas, supervisor=2 + self.replicas)
        return kinds == wanted

    def handles(self) -> int:
        """Open files of the home."""
        return len(list(Path(f"/proc/{self.here.process.pid}/fd").iterdir()))


def _kind(words: list[str]) -> str:
    if any(word.endswith("supervisor.py") for word in words):
        return "supervisor"
    named = [word for word in words if word in PROGRAMS]
    if named:
        return named[0]
    return "" if any("kubectl" in word for word in words[:1]) else "other " + " ".join(words)[:80]


@contextlib.contextmanager
def farm(folder: Path) -> Iterator[Farm]:
    """A home that serves one model."""
    put_model(folder / "hub", CHAT, smollm2.ensure())
    with sly_hub(folder / "hub") as hub, home(folder / "home") as here:
        here.apply(
            downloader("acme", hub.url, ""), node_group("workers"), cache("chat", f"hf://{CHAT}", "workers")
        )
        made = Farm(here, hub)
        made._serve()
        made.settled()
        yield made


def note(text: str, **facts: Any) -> None:
    """One line of what goes on."""
    more = " ".join(f"{key}={value}" for key, value in facts.items())
    print(f"{time.strftime('%H:%M:%S')} {text} {more}".rstrip(), flush=True)
