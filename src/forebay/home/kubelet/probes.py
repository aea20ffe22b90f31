"""Startup, readiness and liveness probes of one container run."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from forebay.api.meta import Json
from forebay.errors import Unavailable
from forebay.home.kubelet.ports import real_port
from forebay.kit.clock import Clock

ADDRESS = "127.0.0.1"
BODY_MAX = 10 * 1024
# Until a probe has succeeded once it is also tried between its periods: at first every 20 ms, then at
# intervals of a twentieth of the time waited so far. A try at a closed port costs 0.3 ms.
QUICK_FIRST_S, QUICK_SHARE = 0.02, 1 / 20


class ProbeFailed(Unavailable):
    """The probe's answer was no; the message says what was seen."""


@dataclass(frozen=True)
class Count:
    """Consecutive answers of one probe, and the verdict once a threshold was reached (None: not yet)."""

    successes: int = 0
    failures: int = 0
    verdict: bool | None = None


def counted(count: Count, ok: bool, probe: Json) -> Count:
    """One more answer, by successThreshold (1) and failureThreshold (3)."""
    if ok:
        successes = count.successes + 1
        reached = successes >= int(probe.get("successThreshold") or 1)
        return Count(successes, 0, True if reached else count.verdict)
    failures = count.failures + 1
    reached = failures >= int(probe.get("failureThreshold") or 3)
    return Count(0, failures, False if reached else count.verdict)


Attempt = Callable[[], Awaitable[None]]  # raises ProbeFailed


Told = Callable[[str, bool | None, str], None]
"""Hears every change of verdict and every failure: the probe's kind, the verdict, what failed or ""."""


async def watch_probe(kind: str, probe: Json, attempt: Attempt, told: Told, clock: Clock) -> None:
    """Ask until cancelled; a startup probe ends with its verdict.

    Differs from Kubernetes on purpose: before the first success of a probe that is no command, it is also
    tried between the periods, and only an attempt on the period counts as a failure. So a server is ready
    when it is, and a threshold still means threshold times period.
    """
    period = float(probe.get("periodSeconds") or 10)
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    quick = kind != "liveness" and not probe.get("exec")
    count, began = Count(), clock.monotonic()
    next_count = began
    while True:
        failure = await _asked(attempt)
        now = clock.monotonic()
        if not failure or now >= next_count:
            before, count = count, counted(count, not failure, probe)
            next_count = max(next_count + period, now)
            if count.verdict != before.verdict or failure:
                told(kind, count.verdict, failure)
        if kind == "startup" and count.verdict is not None:
            return
        if not failure:
            next_count = now + period
        wait = next_count - clock.monotonic()
        if quick and count.verdict is not True and not count.successes:
            wait = min(wait, max(QUICK_FIRST_S, (now - began) * QUICK_SHARE))
        await clock.sleep(max(0.01, wait))


async def _asked(attempt: Attempt) -> str:
    try:
        await attempt()
    except ProbeFailed as error:
        return error.message
    except (ValueError, OverflowError) as error:  # a port or path that no connection can be made to
        return str(error)
    return ""


def attempt_of(
    container: Json, probe: Json, ports: Mapping[str, int], run: Callable[..., Awaitable[str]]
) -> Attempt:
    """What one try of this probe does. `run(argv, timeout_s)` runs a command in the container."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    if probe.get("exec"):
        return lambda: _command(probe["exec"].get("command") or [], timeout_s, run)
    if probe.get("httpGet"):
        action = probe["httpGet"]
        return lambda: http_get(action, real_port(container, action["port"], ports), timeout_s)
    # gRPC: that the port accepts is all we look at
    action = probe.get("tcpSocket") or probe.get("grpc") or {}
    return lambda: _tcp(real_port(container, action.get("port", 0), ports), timeout_s)


async def _command(argv: list[str], timeout_s: float, run: Callable[..., Awaitable[str]]) -> None:
    await run(argv, timeout_s)


async def _tcp(port: int | None, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(ADDRESS, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        raise ProbeFailed(f"dial tcp {ADDRESS}:{port}: {_why(error)}") from error


async def http_get(action: Json, port: int | None, timeout_s: float) -> None:
    """One GET; 200 to 399 is yes. Raises ProbeFailed. Certificates are not checked, as in Kubernetes."""
    path = action.get("path") or "/"
    scheme = str(action.get("scheme") or "HTTP").lower()
    url = f"{scheme}://{ADDRESS}:{port}{path}"
    try:
        async with asyncio.timeout(timeout_s):
            status = await _get(action, path, port, _unchecked() if scheme == "https" else None)
    except TimeoutError as error:
        raise ProbeFailed(f'Get "{url}": context deadline exceeded') from error
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ProbeFailed(f'Get "{url}": {_why(error)}') from error
    if not 200 <= status < 400:
        raise ProbeFailed(f"HTTP probe failed with statuscode: {status}")


async def _get(action: Json, path: str, port: int | None, tls: ssl.SSLContext | None) -> int:
    headers = {
        "Host": f"{ADDRESS}:{port}",
        "User-Agent": "kube-probe/1.34",
        "Accept": "*/*",
        "Connection": "close",
    }
    given = {item["name"]: item.get("value", "") for item in action.get("httpHeaders") or []}
    own = {name.lower() for name in given}  # they replace ours, however they are written
    headers = {name: value for name, value in headers.items() if name.lower() not in own} | given
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    reader, writer = await asyncio.open_connection(ADDRESS, port, ssl=tls)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        first = (await reader.readuntil(b"\r\n")).split(b" ", 2)
        if len(first) < 2 or not first[0].startswith(b"HTTP/") or not first[1].isdigit():
            raise ValueError("malformed HTTP response")
        await reader.read(BODY_MAX)
        return int(first[1])
    finally:
        writer.close()


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return "i/o timeout" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
