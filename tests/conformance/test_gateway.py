"""The gateway suite on our own proxy."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.gateway_suite import CASES, Case
from tests.fakes.gateway_world import world


@pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in CASES])
def test_gateway(case: Case) -> None:
    async def body() -> None:
        async with world() as made, asyncio.timeout(30):
            await case(made)

    asyncio.run(body())
