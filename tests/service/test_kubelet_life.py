"""Order, restarts, probes, deletion and deadlines of real pods."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.service.kubelet_home import PYTHON, eventually, home, is_ready, processes_of, sh, terminated

from forebay.api.kinds import Pod, Secret
from forebay.api.meta import Json, Key
from forebay.store.protocol import edit

SERVER = "import http.server,os; http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), "


def server(handler: str = "http.server.SimpleHTTPRequestHandler", **more: Json) -> Json:
    """A container that answers HTTP on its port."""
    script = f"{SERVER}{handler}).serve_forever()"
    return {"name": "main", "image": "x", "command": [PYTHON, "-c", script],
            "ports": [{"containerPort": 8080, "name": "http"}], **more}  # fmt: skip


def test_init_containers_run_in_order_before_the_containers(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            mounts = [{"name": "w", "mountPath": "/shared"}]
            spec = {
                "restartPolicy": "Never", "volumes": [{"name": "w", "emptyDir": {}}],
                "initContainers": [sh("echo a >> /shared/o", "a", volumeMounts=mounts),
                                   sh("echo side >> /shared/o; exec sleep 600", "side", volumeMounts=mounts,
                                      restartPolicy="Always",
                                      startupProbe={"exec": {"command": ["grep", "side", "/shared/o"]}}),
                                   sh("echo b >> /shared/o", "b", volumeMounts=mounts)],
                "containers": [sh("cat /shared/o", volumeMounts=mounts)],
            }  # fmt: skip
            await here.pod("one", spec)
            pod = await here.until("one", lambda p: p.status.get("phase") == "Succeeded")
            assert here.log(pod) == "a\nside\nb\n"
            states = {s["name"]: s["state"] for s in pod.status["initContainerStatuses"]}
            assert set(states["side"]) == {"terminated"}, "a sidecar ends with its pod"

    asyncio.run(body())


def test_a_crashing_container_backs_off_and_counts(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [sh("echo try; exit 7")]})
            pod = await here.until("one", lambda p: restarts(p) >= 3)
            waiting = await here.until(
                "one", lambda p: "waiting" in p.status["containerStatuses"][0]["state"]
            )
            state = waiting.status["containerStatuses"][0]
            assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            assert state["lastState"]["terminated"]["exitCode"] == 7
            assert waiting.status["phase"] == "Running"
            await eventually(lambda: _any(here.events(pod), "BackOff"))

    asyncio.run(body())


async def _any(events: object, reason: str) -> bool:
    return any(found == reason for found, _ in await events)  # type: ignore[attr-defined]


def restarts(pod: Pod) -> int:
    """restartCount of the first container."""
    statuses = pod.status.get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))


def test_a_server_gets_a_port_and_is_ready_when_it_answers(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
            await here.pod("one", {"containers": [server(readinessProbe=probe)]})
            pod = await here.until("one", is_ready)
            port = json.loads(pod.annotations["forebay.dev/ports"])["8080"]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            pod = await here.until("one", lambda p: "forebay.dev/timeline" in p.annotations)
            told = json.loads(pod.annotations["forebay.dev/timeline"])
            assert 0 <= told["mounted"] <= min(told["started"].values()) <= told["ready"]
            assert is_ready(pod)

    asyncio.run(body())


def test_a_container_that_fails_its_liveness_probe_is_restarted(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            probe = {"exec": {"command": ["test", "-e", "/w/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
            script = "[ -e /w/once ] && touch /w/ok; touch /w/once; exec sleep 600"
            main = sh(script, livenessProbe=probe, volumeMounts=[{"name": "w", "mountPath": "/w"}])
            volumes = [{"name": "w", "emptyDir": {}}]
            spec = {"volumes": volumes, "terminationGracePeriodSeconds": 1, "containers": [main]}
            pod = await here.pod("one", spec)
            pod = await here.until("one", lambda p: restarts(p) >= 1 and is_ready(p))
            messages = [m for _, m in await here.events(pod)]
            assert any("failed liveness probe, will be restarted" in m for m in messages)
            assert any(m.startswith("Liveness probe failed") for m in messages)

    asyncio.run(body())


def test_termination_waits_for_the_grace_and_then_kills_stubborn_processes(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            stubborn = "trap '' TERM; (setsid sh -c 'sleep 600; sleep 601' &) ; while :; do sleep 1; done"
            await here.pod("one", {"containers": [sh(stubborn)], "terminationGracePeriodSeconds": 1})
            await here.until("one", is_ready)
            await eventually(lambda: _more_than(tmp_path, 3))
            await here.store.delete(Pod, Key("default", "one"), grace_s=1)
            await here.gone("one")
            assert processes_of(tmp_path) == []

    asyncio.run(body())


async def _more_than(folder: Path, count: int) -> bool:
    return len(processes_of(folder)) > count


def test_a_prestop_hook_runs_before_sigterm(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /h/order"]}}}
            script = "trap 'echo term >> /h/order; exit 0' TERM; touch /h/up; while :; do sleep 0.05; done"
            main = sh(script, lifecycle=hook, volumeMounts=[{"name": "h", "mountPath": "/h"}])
            await here.pod(
                "one", {"containers": [main], "volumes": [{"name": "h", "hostPath": {"path": "/h"}}]}
            )
            await eventually(lambda: _exists(here.settings.root / "h" / "up"))
            await here.store.delete(Pod, Key("default", "one"), grace_s=10)
            await here.gone("one")
            assert (here.settings.root / "h" / "order").read_text() == "hook\nterm\n"

    asyncio.run(body())


async def _exists(path: Path) -> bool:
    return path.exists()


def test_a_deadline_fails_the_pod(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [sh("exec sleep 600")], "activeDeadlineSeconds": 1,
                                   "restartPolicy": "Never"})  # fmt: skip
            pod = await here.until("one", lambda p: p.status.get("phase") == "Failed")
            assert pod.status["reason"] == "DeadlineExceeded"
            await eventually(lambda: _none(tmp_path))

    asyncio.run(body())


def test_an_image_without_a_program_says_what_to_do(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [{"name": "main", "image": "docker.io/library/nginx:1"}]})
            pod = await here.until("one", lambda p: reason(p) in ("ErrImagePull", "ImagePullBackOff"))
            assert "Give the container a `command:`" in state(pod)["waiting"]["message"]
            assert pod.status["phase"] == "Pending"

    asyncio.run(body())


def test_an_image_name_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [{"name": "main", "image": "nginx:::1"}]})
            pod = await here.until("one", lambda p: reason(p) == "InvalidImageName")
            assert "invalid reference format" in state(pod)["waiting"]["message"]
            assert pod.status["phase"] == "Pending"

    asyncio.run(body())


def state(pod: Pod) -> Json:
    """State of the first container; {} before the first status."""
    return (pod.status.get("containerStatuses") or [{"state": {}}])[0]["state"]  # type: ignore[no-any-return]


def reason(pod: Pod) -> str:
    """Why the first container waits."""
    return str((state(pod).get("waiting") or {}).get("reason", ""))


def test_a_missing_secret_is_waited_for(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]
            await here.pod("one", {"containers": [sh("echo $T", env=env)], "restartPolicy": "Never"})
            pod = await here.until("one", lambda p: reason(p) == "CreateContainerConfigError")
            assert state(pod)["waiting"]["message"] == 'secret "hub" not found'
            await here.store.create(Secret.new("hub", "default", data={"token": "czNjcmV0"}))
            pod = await here.until("one", lambda p: p.status.get("phase") == "Succeeded")
            assert here.log(pod) == "s3cret\n"

    asyncio.run(body())


def test_a_command_that_does_not_exist_is_a_start_error(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            main = {"name": "main", "image": "x", "command": ["no-such-program"]}
            await here.pod("one", {"containers": [main], "restartPolicy": "Never"})
            pod = await here.until("one", lambda p: p.status.get("phase") == "Failed")
            assert terminated(pod)["reason"] == "StartError"
            assert 'exec: "no-such-program": No such file or directory' in terminated(pod)["message"]

    asyncio.run(body())


def test_what_a_container_put_into_the_background_ends_with_it_while_the_pod_lives(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            background = "(setsid sh -c 'echo $$$$ > /w/pid; exec sleep 600' &)"  # $$ stands for one $
            daemon = background + "; while [ ! -s /w/pid ]; do sleep 0.02; done"
            mount = [{"name": "w", "mountPath": "/w"}]
            containers = [sh(daemon, volumeMounts=mount), sh("exec sleep 600", "other")]
            volumes = [{"name": "w", "hostPath": {"path": "/w"}}]
            await here.pod("one", {"containers": containers, "restartPolicy": "Never", "volumes": volumes})
            await here.until("one", lambda p: bool(terminated(p)))
            pid = int((here.settings.root / "w" / "pid").read_text())
            assert pid not in processes_of(tmp_path)
            assert len(processes_of(tmp_path)) == 2, "the supervisor and the other container"

    asyncio.run(body())


def test_a_forced_deletion_ends_the_processes_too(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("one", {"containers": [sh("exec sleep 600")]})
            await here.until("one", is_ready)
            await here.store.delete(Pod, Key("default", "one"), grace_s=0)
            await eventually(lambda: _none(tmp_path))

    asyncio.run(body())


async def _none(folder: Path) -> bool:
    return processes_of(folder) == []


def test_a_pod_with_a_finalizer_ends_and_stays_until_it_is_removed(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod(
                "one", {"containers": [sh("exec sleep 600")]}, finalizers=["batch.kubernetes.io/job-tracking"]
            )
            await here.until("one", is_ready)
            await here.store.delete(Pod, Key("default", "one"), grace_s=5)
            pod = await here.until("one", lambda p: bool(terminated(p)))
            assert pod.status["phase"] == "Failed"
            await edit(here.store, Pod, pod.key, lambda item: item.meta.update(finalizers=[]))
            await here.gone("one")

    asyncio.run(body())


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """The file of a control group with 64 MB, into which a process may write its number; for root only."""
    base = Path("/sys/fs/cgroup")
    v1 = (base / "memory" / "memory.limit_in_bytes").exists()
    group = (base / "memory" if v1 else base) / f"forebay-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control groups of one's own here")
    try:
        try:
            (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(64 << 20))
        except OSError:
            pytest.skip("memory cannot be limited here")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def test_a_kill_by_the_kernel_for_memory_is_told_from_any_other(tmp_path: Path, small_memory: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            eat = f"{PYTHON} -c 'bytearray(512 << 20)'"
            spec = {"restartPolicy": "Never", "containers": [sh(f"echo $$$$ > {small_memory}; exec {eat}")]}
            await here.pod("hungry", spec)
            await here.pod("killed", {**spec, "containers": [sh("kill -9 $$$$")]})
            for name, reason in (("killed", "Error"), ("hungry", "OOMKilled")):
                pod = await here.until(name, lambda p: p.status.get("phase") == "Failed")
                ended = pod.status["containerStatuses"][0]["state"]["terminated"]
                assert (ended["exitCode"], ended["reason"]) == (137, reason)

    asyncio.run(body())
