"""One root folder with the disk and the clock it lives by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay.cache.layout import Layout
from forebay.errors import Exhausted, Unavailable
from forebay.kit.clock import Clock, SystemClock
from forebay.kit.disk import Disk, RealDisk, make_folders
from forebay.kit.disk_errors import said, what_else, what_lacks

LOCK_WAIT_S = 60.0


@dataclass(frozen=True)
class Root:
    """What every function of the cache works on; holds no state of its own."""

    layout: Layout
    disk: Disk
    clock: Clock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Publishing, linking, unlinking and collecting happen in here, whatever process they are in (C4,
        C6).
        """
        with self.disk.lock(self.layout.lock, LOCK_WAIT_S):
            yield

    def now(self) -> float:
        """Seconds since 1970."""
        return self.clock.now().timestamp()


def open_root(path: Path, *, disk: Disk | None = None, clock: Clock | None = None) -> Root:
    """The cache below `path`; makes its folders. Raises Unavailable or Exhausted if that cannot be."""
    root = Root(Layout(path), disk or RealDisk(), clock or SystemClock())
    with translated(f"the cache folder {path}"):
        for folder in root.layout.folders():
            make_folders(root.disk, folder)
    return root


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Disk errors become ours: whatever there is too little of is Exhausted, anything else Unavailable with
    the next step.
    """
    try:
        yield
    except OSError as error:
        why = said(error, what)
        if lack := what_lacks(error):
            raise Exhausted(f"{what}: {why}; {lack}") from error
        step = what_else(error) or "check the disk and the folder's permissions"
        raise Unavailable(f"{what}: {why}; {step}") from error
