"""kill -9 of the home, of a supervisor, and of both: no process is left behind, and pods start anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.service.kubelet_home import end, eventually, home, is_ready, processes_of, sh

from forebay.home.kubelet.processes import Exited, Launch, PodProcesses
from forebay.home.kubelet.stats import processes

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.service.kubelet_home import home, sh, is_ready

DAEMON = "(setsid env -i sh -c 'trap \\"\\" TERM HUP; sleep 600; sleep 601' &); "

async def body():
    async with home(Path(sys.argv[1])) as here:
        loop = DAEMON + "trap '' TERM; while :; do sleep 1; done"
        await here.pod("web", {"containers": [sh(loop), sh("exec sleep 600", "two")]})
        await here.pod("job", {"containers": [sh("echo run; exec sleep 600")], "restartPolicy": "Never"})
        await here.until("web", is_ready)
        await here.until("job", is_ready)
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(body())
"""


@contextmanager
def living_home(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A home as a process of its own, with two pods that do not want to end."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def family(pid: int) -> set[int]:
    """All descendants of a process, those without any environment too."""
    table, found = processes(), {pid}
    while True:
        more = {p for p, process in table.items() if process.parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def alive(pids: set[int]) -> set[int]:
    """Which of `pids` still run (a zombie does not)."""
    found = set()
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found.add(pid)
    return found


async def all_gone(pids: set[int]) -> None:
    async def none() -> bool:
        return not alive(pids)

    await eventually(none, 5.0)


def test_no_process_outlives_a_killed_home_and_pods_start_anew(tmp_path: Path) -> None:
    async def body() -> None:
        with living_home(tmp_path) as process:
            pids = family(process.pid)
            assert len(pids) >= 7, (
                "two supervisors, three containers, and what a container put into the background"
            )
            end(process.pid)
            await all_gone(pids)
        async with home(tmp_path) as here:
            web = await here.until("web", lambda p: is_ready(p) and restarts(p.status) == [1, 1])
            assert (
                web.status["containerStatuses"][0]["lastState"]["terminated"]["reason"]
                == "ContainerStatusUnknown"
            )
            job = await here.until("job", lambda p: is_ready(p) and restarts(p.status) == [1])
            assert job.status["phase"] == "Running", "an interrupted Job goes on in the same pod"
            await here.until("job", lambda p: here.log(p, run=1) == "run\n")

    asyncio.run(body())


def restarts(status: dict[str, list[dict[str, int]]]) -> list[int]:
    return [item["restartCount"] for item in status["containerStatuses"]]


def test_leftovers_of_a_home_and_its_supervisors_end_with_the_next_start(tmp_path: Path) -> None:
    async def body() -> None:
        with living_home(tmp_path) as process:
            everything = family(process.pid)
            supervisors = {pid for pid, found in processes().items() if found.parent == process.pid}
            assert len(supervisors) == 2
            marked = set(processes_of(tmp_path))
            table = processes()
            firsts = {pid for pid in marked if pid in table and table[pid].parent in supervisors}
            assert len(firsts) == 3
            os.kill(process.pid, signal.SIGSTOP)  # so that it cannot react
            for pid in supervisors:
                end(pid)
            await all_gone(firsts)
            end(process.pid)
        async with home(tmp_path) as here:
            await all_gone(everything)
            await here.until("web", lambda p: is_ready(p) and restarts(p.status) == [1, 1])

    asyncio.run(body())


@pytest.mark.parametrize("also", ["daemon", "nothing"])
def test_a_killed_supervisor_takes_its_containers_with_it_and_they_start_again(
    tmp_path: Path, also: str
) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            daemon = "(setsid sh -c 'sleep 600; sleep 601' &); " if also == "daemon" else ""
            await here.pod("one", {"containers": [sh(daemon + "exec sleep 600")]})
            await here.until("one", is_ready)
            pid = here.kubelet.pids("default", "one")["main"]
            before = set(processes_of(tmp_path))
            end(processes()[pid].parent)
            await here.until("one", lambda p: is_ready(p) and restarts(p.status) == [1])
            await all_gone(before)

    asyncio.run(body())


def test_a_supervisor_that_hangs_does_not_keep_its_pod(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [sh("exec sleep 600")], "terminationGracePeriodSeconds": 1})
            pod = await here.until("one", is_ready)
            before = set(processes_of(tmp_path))
            hung = processes()[here.kubelet.pids("default", "one")["main"]].parent
            os.kill(hung, signal.SIGSTOP)
            await here.store.delete(type(pod), pod.key, grace_s=1)
            await here.gone("one")
            await all_gone(before)

    asyncio.run(body())


def test_a_stopped_home_lets_containers_end_in_their_own_way(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            script = "trap 'echo bye > /h/bye; exit 0' TERM; touch /h/up; while :; do sleep 0.02; done"
            spec = {"containers": [sh(script, volumeMounts=[{"name": "h", "mountPath": "/h"}])],
                    "volumes": [{"name": "h", "hostPath": {"path": "/h"}}]}  # fmt: skip
            await here.pod("one", spec)
            await eventually(lambda: _exists(here.settings.root / "h" / "up"))
            pod = await here.get("one")
            await here.kubelet.stop(5.0)
            assert (here.settings.root / "h" / "bye").exists()
            assert here.settings.pod_dir(pod.uid).exists(), "it starts anew with the next home"
            assert processes_of(tmp_path) == []

    asyncio.run(body())


async def _exists(path: Path) -> bool:
    return path.exists()


def test_a_restart_and_a_probe_that_start_at_once_share_one_supervisor(tmp_path: Path) -> None:
    async def body() -> None:
        ended: list[str] = []
        both = asyncio.Event()

        def on_exit(name: str, exited: Exited) -> None:
            ended.append(name)
            if sorted(ended) == ["a.0", "b.0"]:
                both.set()

        pod = PodProcesses(tmp_path, on_exit)

        def sleeper(name: str) -> Launch:
            return Launch(name, ("sleep", "600"), {"PATH": os.environ["PATH"]}, "/", str(tmp_path / name))

        async def supervisors(*names: str) -> set[int]:
            started = await asyncio.gather(*(pod.start(sleeper(name)) for name in names))
            table = processes()
            return {table[pid].parent for pid, _ in started}

        (first,) = await supervisors("a.0", "b.0")
        end(first)

        async with asyncio.timeout(5):
            await both.wait()  # and at once, before its end is known to all
        (second,) = await supervisors("a.1", "b.1", "c.0")
        assert second != first and set(pod.pids) == {"a.1", "b.1", "c.0"}
        await pod.close()
        await all_gone({second})
        assert sorted(ended) == ["a.0", "a.1", "b.0", "b.1", "c.0"]

    asyncio.run(body())
