"""What one try of a probe asks, and which answers are yes: HTTP, HTTPS, TCP, gRPC and commands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.service.kubelet_home import home, is_ready, sh

from forebay.api.kinds import Pod
from forebay.api.meta import Json
from forebay.home import pki
from forebay.home.kubelet.probes import ProbeFailed, attempt_of

CONTAINER: Json = {"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}


class Asked:
    """A server that answers everything with `status`, or never; `heads` is what it was asked."""

    def __init__(self, status: str) -> None:
        self.status, self.heads = status, list[str]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.status:
                writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def server(
    status: str = "200 OK", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Asked, int]]:
    asked = Asked(status)
    running = await asyncio.start_server(asked.serve, "127.0.0.1", 0, ssl=tls)
    async with running:
        yield asked, running.sockets[0].getsockname()[1]


async def no_command(argv: list[str], timeout_s: float) -> str:
    raise AssertionError(argv)


async def attempt(probe: Json, port: int) -> None:
    """One try, with the container's port 8080 at the real `port`."""
    await attempt_of(CONTAINER, probe, {"8080": port}, no_command)()


def get(**action: object) -> Json:
    return {"httpGet": {"port": "web", "path": "/ready?x=1", **action}}


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "399 Odd"])
def test_an_answer_from_200_to_399_is_yes_and_headers_go_along(status: str) -> None:
    async def body() -> None:
        async with server(status) as (asked, port):
            await attempt(get(httpHeaders=[{"name": "X-Who", "value": "a probe"}]), port)
            head = asked.heads[0]
            assert head.startswith("GET /ready?x=1 HTTP/1.1\r\n")
            assert "\r\nX-Who: a probe\r\n" in head and "\r\nUser-Agent: kube-probe/" in head

    asyncio.run(body())


def test_a_host_header_replaces_the_address() -> None:
    async def body() -> None:
        async with server() as (asked, port):
            await attempt(get(httpHeaders=[{"name": "host", "value": "model.example"}]), port)
            assert [line for line in asked.heads[0].splitlines() if line.lower().startswith("host:")] == [
                "host: model.example"
            ]

    asyncio.run(body())


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 No", "503 Busy"])
def test_any_other_answer_is_no_with_its_number(status: str) -> None:
    async def body() -> None:
        async with server(status) as (_, port):
            with pytest.raises(ProbeFailed, match=f"HTTP probe failed with statuscode: {status[:3]}"):
                await attempt(get(), port)

    asyncio.run(body())


def test_https_is_asked_without_looking_at_the_certificate(tmp_path: Path) -> None:
    async def body() -> None:
        files = pki.ensure(tmp_path)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(files.cert, files.key)
        async with server(tls=tls) as (asked, port):
            await attempt(get(scheme="HTTPS"), port)
            assert len(asked.heads) == 1

    asyncio.run(body())


def test_silence_a_closed_port_and_an_unknown_port_are_no() -> None:
    async def body() -> None:
        async with server("") as (_, port):
            with pytest.raises(ProbeFailed, match="context deadline exceeded"):
                await attempt({**get(), "timeoutSeconds": 0.05}, port)
        with pytest.raises(ProbeFailed, match="connection refused"):
            await attempt(get(), port)
        with pytest.raises((ProbeFailed, ValueError)):
            await attempt(get(port="no-such-name"), port)

    asyncio.run(body())


@pytest.mark.parametrize("kind", ["tcpSocket", "grpc"])
def test_a_port_that_accepts_is_enough_for_tcp_and_grpc(kind: str) -> None:
    async def body() -> None:
        async with server() as (_, port):
            await attempt({kind: {"port": 8080}}, port)
        with pytest.raises(ProbeFailed, match="connection refused"):
            await attempt({kind: {"port": 8080}}, port)

    asyncio.run(body())


def test_a_command_that_fails_or_takes_too_long_is_no_and_one_that_works_is_yes(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            failing = {"exec": {"command": ["sh", "-c", "echo no >&2; exit 3"]}, "periodSeconds": 1}
            hanging = {"exec": {"command": ["sleep", "60"]}, "periodSeconds": 1, "timeoutSeconds": 1}
            working = {"exec": {"command": ["test", "-n", "$HOME"]}, "periodSeconds": 1}
            run = "exec sleep 600"
            await here.pod("works", {"containers": [sh(run, readinessProbe=working)]})
            fails = await here.pod("fails", {"containers": [sh(run, readinessProbe=failing)]})
            hangs = await here.pod("hangs", {"containers": [sh(run, readinessProbe=hanging)]})
            await here.until("works", is_ready)
            for pod, words in (
                (fails, "Readiness probe failed: no"),
                (hangs, 'command "sleep 60" timed out'),
            ):
                while not any(words in text for _, text in await here.events(pod)):
                    await asyncio.sleep(0.02)
                assert not is_ready(await here.get(pod.name))

    asyncio.run(body())


def test_nothing_else_is_asked_before_the_startup_probe_has_passed(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            slow = "sleep 1; touch $TMPDIR/up; exec sleep 600"
            probes = {
                "startupProbe": {"exec": {"command": ["sh", "-c", "test -e $TMPDIR/up"]}, "periodSeconds": 1,
                                 "failureThreshold": 30},
                "livenessProbe": {"exec": {"command": ["sh", "-c", "test -e $TMPDIR/up"]}, "periodSeconds": 1,
                                  "failureThreshold": 1},
            }  # fmt: skip
            await here.pod("one", {"containers": [sh(slow, **probes)]})
            pod = await here.until("one", is_ready)
            assert pod.status["containerStatuses"][0]["restartCount"] == 0, "liveness waited"
            never = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2,
                     "terminationGracePeriodSeconds": 1}  # fmt: skip
            await here.pod("two", {"containers": [sh("exec sleep 600", startupProbe=never)]})
            two = await here.until("two", again)
            messages = [message for reason, message in await here.events(two) if reason == "Killing"]
            assert messages[0] == "Container main failed startup probe, will be restarted"

    asyncio.run(body())


def again(pod: Pod) -> bool:
    return any(c["restartCount"] for c in pod.status.get("containerStatuses") or [])
