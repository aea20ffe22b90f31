"""What people ask of a cache beyond its spec, and where the answer stands: annotations, so any client asks.

| annotation `forebay.dev/...` | on | value | who acts | answer in status |
|---|---|---|---|---|
| `pinned` | cache | "true" | agents: never evicted | LocalModelNode: models[m].pinned |
| `refresh-requested` | cache | RFC 3339 time | control: resolves the name anew | cache: refresh |
| `verify-requested` | cache | RFC 3339 time | agents: hash every file | models[m].verified |
| `warm-requested` | cache | RFC 3339 time | agents: into the page cache | models[m].warmed |
| `verify-node`, `warm-node` | cache | node name | only that node | as above |
| `verify-paused` | LocalModelNode | "true" | agents: checks wait | groups[g].verifyPaused |
| `gc-requested` | LocalModelNode | RFC 3339 time | agents: collect | groups[g].collected |

Control copies what concerns agents into the cache's entry in LocalModelNode.spec (fields `pinned`,
`verifyRequested`, `warmRequested`, `cacheUid`). An answer repeats the request's time as `requested`: asked
once, done once, whoever restarts in between. A later time asks again; an earlier one asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forebay.kit.clock import parse_rfc3339

PINNED = "forebay.dev/pinned"
REFRESH = "forebay.dev/refresh-requested"
VERIFY = "forebay.dev/verify-requested"
VERIFY_NODE = "forebay.dev/verify-node"
VERIFY_PAUSED = "forebay.dev/verify-paused"
WARM = "forebay.dev/warm-requested"
WARM_NODE = "forebay.dev/warm-node"
GC = "forebay.dev/gc-requested"


def moment(text: object) -> float:
    """Seconds since 1970 of a request's time; 0.0 where there is none or it cannot be read."""
    if not isinstance(text, str) or not text:
        return 0.0
    try:
        return parse_rfc3339(text.strip()).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def is_newer(asked: object, answered: object) -> bool:
    """Whether a request is still to be done."""
    return moment(asked) > moment(answered)


def latest(times: Iterable[str]) -> str:
    """The latest of some request times, "" if there is none."""
    return max(times, key=moment, default="")


def for_node(annotations: Mapping[str, str], node: str) -> dict[str, object]:
    """What an entry of LocalModelNode.spec.localModels says of the cache's wishes on this node."""
    found: dict[str, object] = {}
    if annotations.get(PINNED) == "true":
        found["pinned"] = True
    for field, wish, only in (("verifyRequested", VERIFY, VERIFY_NODE), ("warmRequested", WARM, WARM_NODE)):
        if moment(annotations.get(wish)) and annotations.get(only, node) in ("", node):
            found[field] = annotations[wish].strip()
    return found
