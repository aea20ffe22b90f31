"""Event of core/v1 and Event of events.k8s.io/v1 are the same object in two forms; pure.

Source: k8s.io/kubernetes, pkg/apis/events/v1 conversions. The store keeps the core form.
"""

from __future__ import annotations

from forebay.api.meta import Json

_NAMES = {  # core -> events.k8s.io
    "involvedObject": "regarding", "message": "note", "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount", "reportingComponent": "reportingController",
}  # fmt: skip
_BACK = {new: old for old, new in _NAMES.items()}
_FIELDS = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


def to_v1(raw: Json) -> Json:
    """The events.k8s.io/v1 form of a core event."""
    out = {_NAMES.get(name, name): value for name, value in raw.items()}
    return {**out, "apiVersion": "events.k8s.io/v1"}


def from_v1(raw: Json) -> Json:
    """The core form of an events.k8s.io/v1 event."""
    out = {_BACK.get(name, name): value for name, value in raw.items()}
    return {**out, "apiVersion": "v1"}


def field_path(path: str) -> str:
    """The core name of a field that a selector of the new form names."""
    first, dot, rest = path.partition(".")
    return _FIELDS.get(first, first) + dot + rest
