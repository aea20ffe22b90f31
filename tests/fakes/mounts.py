"""File systems of a test's own; without the right to mount, or without the kind, the test is skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, kind: str, options: str, what: str = "none") -> Iterator[Path]:
    """`mount -t kind -o options what place`, for as long as the block runs."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", kind, "-o", options, what, str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{kind} cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def fill(folder: Path) -> Path:
    """Leave not one free block on a file system; returns the file that takes them."""
    path = folder / "fills-the-disk"
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return path
