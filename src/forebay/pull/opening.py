"""Making a part ready: take its lock, read its journal, decide what to keep of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from forebay.pull import journal
from forebay.pull.digests import Digests
from forebay.pull.parts import Lock, Part, disk_errors
from forebay.pull.plan import Ranges, trusted_after_restart
from forebay.pull.state import Transfer
from forebay.sources.types import Listing, RemoteFile


def transfer_of(listing: Listing, parts: Path, file: RemoteFile) -> Transfer:
    """The transfer of one file. Files of one content become one part each only by their identity, so names
    differ."""
    identity = journal.identity(file, listing.identity)
    stem = file.sha256 if file.sha256 else "x-" + sha256(identity.encode()).hexdigest()[:40]
    return Transfer(file, identity, parts / f"{stem}.part", file.size, Lock(parts / f"{stem}.part.lock"))


def left_of(listing: Listing, parts: Path, wanted: Callable[[RemoteFile], bool]) -> tuple[int, set[str]]:
    """Bytes that an earlier run has brought of the `wanted` files, and what holds them in `parts`."""
    there = set(os.listdir(parts)) if parts.is_dir() else set()  # noqa: PTH208 (names alone)
    came, names = 0, set[str]()
    for file in listing.files if there else ():
        if wanted(file) and (left := transfer_of(listing, parts, file)).path.name in there:
            entry = journal.load(left.journal, left.identity)
            came += entry.done.total if entry is not None else 0
            names |= {left.path.name, left.journal.name}
    return came, names


def open_transfer(transfer: Transfer, *, direct: bool, have: Callable[[RemoteFile], bool]) -> str:
    """Open the part: "open", "busy" (another process is at it) or "had" (somebody has finished it
    meanwhile)."""
    if not transfer.lock.take():
        return "busy"
    if have(transfer.file):
        transfer.lock.release()
        return "had"
    _open(transfer, direct=direct)
    return "open"


def _open(transfer: Transfer, *, direct: bool) -> None:
    entry = journal.load(transfer.journal, transfer.identity)
    transfer.part = Part(transfer.path, direct=direct)
    transfer.digests = Digests(transfer.file, transfer.size)
    transfer.digests.md5_void = entry is not None and entry.void
    # Without a digest, ETag or date of what came nobody can tell whether the rest is of the same version.
    if entry is None or not (transfer.digests.promised or entry.etags):
        transfer.part.cut(0)
        return
    with disk_errors(f"look at {transfer.path}"):
        on_disk = transfer.path.stat().st_size
    kept = Ranges((a, min(b, on_disk)) for a, b in entry.done if a < on_disk)
    good = kept.end_from(0) >= entry.prefix
    # Without a promise nobody can check what a power cut did; without a power cut nothing was done.
    sure = transfer.digests.promised or entry.boot == journal.boot_id() != ""
    transfer.done = trusted_after_restart(kept, promised=sure, prefix=entry.prefix, prefix_good=good)
    transfer.expect = (entry.prefix, entry.prefix_sha256) if good else (0, "")
    transfer.resumed = transfer.done.total
    transfer.etags = dict(entry.etags)
    transfer.senders = set(entry.origins)
