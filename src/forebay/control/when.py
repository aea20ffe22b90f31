"""Times as API objects write them, and as seconds one can count with; pure."""

from __future__ import annotations

from datetime import UTC, datetime


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
