"""Times as API objects write them, and as seconds one can count with; pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

LOOK_S = 300.0  # how late an event that got lost is noticed
AHEAD_S = 60.0  # how far the clocks of a cluster's machines may be apart
CORRECTED_FIRST_S, CORRECTED_MOST_S = 2.0, 10.0


def corrected_s(since: object, now: float) -> float:
    """Seconds until the Secrets are read again for want of which something fails since `since` (RFC 3339).

    Secrets wake nobody: watching them takes the right to list them all, reading them by name does not. What
    has failed for long is looked at less often.
    """
    began = epoch_s(since)
    age_s = now - began if began is not None else 0.0
    return min(CORRECTED_MOST_S, max(CORRECTED_FIRST_S, age_s / 60))


def elapsed_s(since: object, now: float) -> float:
    """Seconds since an RFC 3339 time; without end where there is none, and where it lies ahead because the
    clock was set back: nobody shall wait for the hour that has been."""
    began = epoch_s(since)
    return now - began if began is not None and began <= now + AHEAD_S else math.inf


def epoch_s(text: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 time, or None where there is none that can be read."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def rfc3339(epoch: float) -> str:
    """metav1.Time of a moment: UTC, whole seconds."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
