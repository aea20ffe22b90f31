"""Real programs on loopback for service tests: start, wait for a line, stop by pid."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LLAMA = [
    sys.executable,
    "-c",
    "import sys; from forebay.engines.llama import main; sys.exit(main(sys.argv[1:]))",
]


@dataclass
class Program:
    """A child process and what it has printed so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _fresh: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def wait_json(self, *, deadline_s: float, **wanted: Any) -> dict[str, Any]:
        """The next printed JSON line in which all of `wanted` stands."""
        until = time.monotonic() + deadline_s
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._fresh.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                raise AssertionError(f"the program ended with {self.process.wait()}: {''.join(self.lines)}")
            if line.startswith("{"):
                value = json.loads(line)
                if wanted.items() <= value.items():
                    return dict(value)
        raise AssertionError(f"no line with {wanted} in {deadline_s} s: {''.join(self.lines)}")

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self._fresh.put(line)
        self._fresh.put(None)


@contextmanager
def running(argv: list[str], *, env: dict[str, str] | None = None) -> Iterator[Program]:
    """Start `argv`; end it (SIGTERM, then SIGKILL) when the block ends."""
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )
    program = Program(process)
    reader = threading.Thread(target=program.read, daemon=True)
    reader.start()
    try:
        yield program
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
        if process.stdout is not None:
            process.stdout.close()
