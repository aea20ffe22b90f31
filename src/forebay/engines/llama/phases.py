"""Where the start's seconds went: one JSON line per phase on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def phase(name: str) -> Iterator[dict[str, object]]:
    """Time a block; print `{"log":"phase","phase":name,"time":end,"seconds":...}` and the facts it adds."""
    facts: dict[str, object] = {}
    began = time.perf_counter()
    yield facts
    seconds = round(time.perf_counter() - began, 4)
    line = {"log": "phase", "phase": name, "time": round(time.time(), 3), "seconds": seconds, **facts}
    print(json.dumps(line), flush=True)
