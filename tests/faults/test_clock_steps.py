"""The wall clock is set back or forward while things wait: nobody waits for an hour that has been already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.service.kubelet_home import home, is_ready, sh

from forebay.api.kinds import Pod
from forebay.api.meta import Key
from forebay.home import tokens
from forebay.home.workloads import pods
from forebay.kit.clock import Setbacks, SystemClock
from forebay.store.protocol import edit

HOUR_S = 3600.0


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_a_crashed_container_is_started_again_after_a_step(tmp_path: Path, step_s: float) -> None:
    async def body() -> None:
        async with home(tmp_path, backoff_first_s=0.5, backoff_most_s=0.5) as here:
            await here.pod("one", {"containers": [sh("exit 1")]})
            await here.until("one", lambda p: "CrashLoopBackOff" in str(p.status))
            here.clock.ahead_s = step_s
            await here.until("one", lambda p: p.status["containerStatuses"][0]["restartCount"] >= 3)

    asyncio.run(body())


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_a_deaf_container_is_killed_after_its_grace_whatever_the_clock_says(
    tmp_path: Path, step_s: float
) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.pod("deaf", {"containers": [sh("trap '' TERM; while :; do sleep 0.1; done")],
                                    "terminationGracePeriodSeconds": 1})  # fmt: skip
            pod = await here.until("deaf", is_ready)
            await here.store.delete(type(pod), pod.key, grace_s=1)
            here.clock.ahead_s = step_s
            await here.gone("deaf")

    asyncio.run(body())


def test_a_pod_that_runs_goes_on_running(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
            await here.pod("one", {"containers": [sh("exec sleep 600", livenessProbe=probe)],
                                   "activeDeadlineSeconds": 7200})  # fmt: skip
            await here.until("one", is_ready)
            for step_s in (-HOUR_S, HOUR_S / 2):
                here.clock.ahead_s = step_s
                await edit(here.store, Pod, Key("default", "one"), _touch)
            pod = await here.until("one", is_ready)
            assert pod.status["containerStatuses"][0]["restartCount"] == 0

    asyncio.run(body())


def _touch(pod: Pod) -> None:
    """A change that makes the kubelet look."""
    pod.meta["labels"] = {"touched": str(int(pod.labels.get("touched", "0")) + 1)}


def test_waiting_times_end_though_they_began_in_the_future() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert pods.due_in_s(now - timedelta(seconds=3), 10, now) == 7
    assert pods.due_in_s(now - timedelta(seconds=30), 10, now) == 0
    assert pods.due_in_s(now + timedelta(hours=1), 10, now) == 0


def test_only_a_step_back_is_one() -> None:
    class Clock(SystemClock):
        wall, steady = 1e9, 5.0

        def now(self) -> datetime:
            return datetime.fromtimestamp(self.wall, UTC)

        def monotonic(self) -> float:
            return self.steady

    clock = Clock()
    seen = Setbacks(clock)
    clock.wall, clock.steady = clock.wall + 60, clock.steady + 60.5
    assert seen.seconds() == 0.0
    clock.wall -= 100
    assert seen.seconds() == pytest.approx(100)
    assert seen.seconds() == 0.0
    clock.wall += 1e4  # the machine slept
    assert seen.seconds() == 0.0


def test_a_token_of_an_hour_ago_by_a_clock_that_was_set_back_still_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, made = b"k" * 32, tokens.time.time()
    token = tokens.mint(key, "someone", ttl_s=600)
    monkeypatch.setattr(tokens.time, "time", lambda: made - HOUR_S)
    assert tokens.verify(key, token) is not None
    monkeypatch.setattr(tokens.time, "time", lambda: made + HOUR_S)
    assert tokens.verify(key, token) is None
