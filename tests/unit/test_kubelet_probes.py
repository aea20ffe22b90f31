"""How soon a probe notices, what it costs in tries, and what counts as a failure; in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.virtual_clock import VirtualClock

from forebay.api.meta import Json
from forebay.home.kubelet.probes import ProbeFailed, watch_probe

HTTP: Json = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10}


def watched(probe: Json, *, kind: str, up_at: float, for_s: float) -> tuple[list[float], list[bool | None]]:
    """When a server that answers from `up_at` on was asked within `for_s`, and the verdicts told."""
    clock, asked, told = VirtualClock(), [], []

    async def attempt() -> None:
        asked.append(clock.monotonic())
        if clock.monotonic() < up_at:
            raise ProbeFailed("not yet")

    async def body() -> None:
        hear = lambda _, verdict, __: told.append(verdict)  # noqa: E731
        task = asyncio.create_task(watch_probe(kind, probe, attempt, hear, clock))
        await clock.advance(for_s)
        task.cancel()

    asyncio.run(body())
    return asked, told


@pytest.mark.parametrize("up_at", [0.3, 1.0, 3.0, 40.0])
def test_a_server_is_noticed_soon_after_it_is_up_at_a_bounded_price(up_at: float) -> None:
    asked, told = watched(HTTP, kind="readiness", up_at=up_at, for_s=up_at + 5)
    late = next(moment for moment in asked if moment >= up_at) - up_at
    assert late <= max(0.02, up_at / 20) + 1e-6
    assert True in told
    assert len(asked) <= 140  # 20 until 0.4 s, then 14 for each doubling of the time


def test_what_is_ready_is_asked_once_a_period() -> None:
    asked, _ = watched(HTTP, kind="readiness", up_at=0.0, for_s=100.0)
    assert len(asked) == 11


def test_only_tries_on_the_period_count_as_failures() -> None:
    _, told = watched({**HTTP, "failureThreshold": 3}, kind="startup", up_at=1e9, for_s=19.0)
    assert told and False not in told
    _, told = watched({**HTTP, "failureThreshold": 3}, kind="startup", up_at=1e9, for_s=20.5)
    assert told[-1] is False


@pytest.mark.parametrize("probe", [{"exec": {"command": ["x"]}, "periodSeconds": 10}])
def test_a_command_runs_on_its_period_only(probe: Json) -> None:
    asked, _ = watched(probe, kind="readiness", up_at=1e9, for_s=100.0)
    assert len(asked) == 11
