"""Where the start's seconds went: one JSON line per phase on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def phase(name: str) -> Iterator[dict[str, object]]:
    """Time a block and print `{"log":"phase","phase":name,"seconds":...}` with the facts the block adds."""
    facts: dict[str, object] = {}
    began = time.perf_counter()
    yield facts
    line = {"log": "phase", "phase": name, "seconds": round(time.perf_counter() - began, 4), **facts}
    print(json.dumps(line), flush=True)
