"""Pods as real processes: they run, log, report, restart and leave nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.service.kubelet_home import eventually, home, is_ready, processes_of, sh, terminated

from forebay.api.kinds import Lease, Node, Pod
from forebay.api.meta import Key
from forebay.store.protocol import Where


def test_a_pod_runs_logs_and_is_removed_with_its_processes(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            name = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
            await here.pod("one", {"containers": [sh("echo hello $POD; exec sleep 600", env=[name])]})
            pod = await here.until("one", is_ready)
            assert pod.status["phase"] == "Running"
            assert pod.status["podIP"] == "127.0.0.1"
            assert pod.status["containerStatuses"][0]["state"]["running"]["startedAt"]
            await here.until("one", lambda p: here.log(p) == "hello one\n")
            await here.store.delete(Pod, Key("default", "one"), grace_s=5)
            await here.gone("one")
            assert processes_of(tmp_path) == []

            async def cleaned_and_told() -> bool:
                reasons = {reason for reason, _ in await here.events(pod)}
                told = {"Pulled", "Created", "Started", "Killing"} <= reasons
                return told and not here.settings.pod_dir(pod.uid).exists()

            await eventually(cleaned_and_told)

    asyncio.run(body())


def test_the_node_registers_and_renews_its_lease(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path, labels={"disk": "nvme"}, capacity={"nvidia.com/gpu": "1"}) as here:
            await here.pod("one", {"containers": [sh("exit 0")], "restartPolicy": "Never"})
            await here.until("one", lambda p: p.status.get("phase") == "Succeeded")
            node = await here.store.get(Node, Key("", "worker"))
            assert node.labels["disk"] == "nvme"
            assert node.labels["kubernetes.io/hostname"] == "worker"
            assert node.status["allocatable"]["nvidia.com/gpu"] == "1"
            assert int(node.status["capacity"]["cpu"]) >= 1
            conditions = {c["type"]: c["status"] for c in node.status["conditions"]}
            assert conditions["Ready"] == "True"

            async def leased() -> bool:
                page = await here.store.list(Lease, Where(namespace="kube-node-lease"))
                return [lease.spec["holderIdentity"] for lease in page.items] == ["worker"]

            await eventually(leased)

    asyncio.run(body())


def test_a_pod_that_ends_succeeds_or_fails(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("good", {"containers": [sh("exit 0")], "restartPolicy": "Never"})
            bad = sh("echo it broke >&2; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
            await here.pod("bad", {"containers": [bad], "restartPolicy": "Never"})
            good = await here.until("good", lambda p: p.status.get("phase") == "Succeeded")
            assert terminated(good)["reason"] == "Completed"
            failed = await here.until("bad", lambda p: p.status.get("phase") == "Failed")
            assert terminated(failed)["exitCode"] == 3
            assert terminated(failed)["reason"] == "Error"
            assert terminated(failed)["message"] == "it broke"

    asyncio.run(body())


def test_memory_and_cpu_of_a_container_are_those_of_its_session(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            busy = sh("sleep 600 & while :; do :; done")
            await here.pod("one", {"containers": [busy, sh("exec sleep 600", "idle")]})
            await here.until("one", is_ready)

            async def counted() -> bool:
                used = here.kubelet.stats()[Key("default", "one")]
                return used["main"].cpu_s > 0 and used["main"].processes == 2 and used["idle"].processes == 1

            await eventually(counted)
            assert here.kubelet.stats()[Key("default", "one")]["main"].rss_bytes > 0

    asyncio.run(body())


def test_folders_and_logs_of_pods_that_are_no_more_go_with_the_next_start(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("kept", {"containers": [sh("echo hello; exec sleep 600")]})
            kept = await here.until("kept", is_ready)
            folders = here.settings.dir
        (folders / "pods" / "11-22" / "volumes").mkdir(parents=True)
        (folders / "logs" / "default_gone_11-22" / "main").mkdir(parents=True)
        async with home(tmp_path) as here:
            await here.until("kept", is_ready)

            async def only_kept() -> bool:
                pods = [entry.name for entry in (folders / "pods").iterdir()]
                logs = [entry.name for entry in (folders / "logs").iterdir()]
                return (pods, logs) == ([kept.uid], [f"default_kept_{kept.uid}"])

            await eventually(only_kept)
            assert here.log(kept) == "hello\n", "the log of the life before"

    asyncio.run(body())
