"""Waiting times that grow."""

from __future__ import annotations


def backoff_s(attempt: int, *, first_s: float, most_s: float) -> float:
    """Seconds to wait before attempt number `attempt` (0 is the first retry): doubles up to `most_s`."""
    return float(min(most_s, first_s * 2.0 ** min(attempt, 30)))
