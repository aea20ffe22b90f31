"""Controllers come to rest whatever people write, whatever programs report, in whatever order.

More of it: `python -m tests.fuzz.controllers SECONDS SEED`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.controllers import one_life

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(12))
async def test_a_life_of_caches_and_services_comes_to_rest_after_every_step(
    tmp_path: Path, seed: int
) -> None:
    await one_life(tmp_path, seed)
