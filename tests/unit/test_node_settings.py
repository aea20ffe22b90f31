"""What the agent reads in the ConfigMap's `localModel`."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from forebay.node import agent


def resync_s(local_model: object) -> float:
    async def get(kind: object, key: object) -> SimpleNamespace:
        return SimpleNamespace(raw={"data": {"localModel": json.dumps(local_model)}})

    return asyncio.run(agent._settings(SimpleNamespace(get=get))).resync_s


@pytest.mark.parametrize(("said", "seconds"), [
    (30, 30.0), ("45", 45.0), (0, 60.0), (None, 60.0), (-1, 1.0), (0.001, 1.0), (float("nan"), 1.0),
    ("often", 60.0),
])  # fmt: skip
def test_the_agent_rests_a_second_at_least(said: object, seconds: float) -> None:
    """A number below nothing had it look without end."""
    assert resync_s({"reconcilationFrequencyInSecs": said}) == seconds


def test_settings_that_are_none_are_the_defaults() -> None:
    assert resync_s({}) == resync_s([]) == 60.0
