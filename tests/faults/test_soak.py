"""A few seconds of `tests/faults/soak.py`; minutes of it are run by hand."""

from __future__ import annotations

from tests.faults.soak import soak


def test_pulls_through_a_lying_network_killed_at_random_end_well() -> None:
    told = soak(6.0, seed=7)
    assert sum(told.values()) > told["none"] > 0, "nobody lied"
