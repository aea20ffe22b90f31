"""Re-hash what lies on the disk; what does not hash to its name goes aside (C5)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

from forebay.cache import damage, manifests
from forebay.cache.damage import Note
from forebay.cache.manifest import Manifest
from forebay.cache.root import Root


def check(
    root: Root, manifest: Manifest, *, pause: Callable[[int], None] = lambda count: None, wish: str = ""
) -> list[Note]:
    """Hash every blob of a model; returns notes on those set aside.

    `pause(bytes)` is called after each block, so that a caller can keep this slow. A clean pass is noted in
    the manifest, and so is the request that it answers (`wish`): content that replaces damaged content is
    checked in its turn before the request counts as answered.
    """
    bad: list[Note] = []
    for digest in sorted(manifest.blobs):
        found = _hashed(root, digest, pause)
        if found and found != digest:
            bad.append(damage.set_aside(root, digest, found, wish=wish))
    if not bad:
        manifests.amend(root, manifest.key, lambda now: _checked(root, manifest, now, wish))
    return bad


def _checked(root: Root, seen: Manifest, now: Manifest, wish: str) -> Manifest:
    """Another revision may have taken the model's place while its files were read."""
    if now.content != seen.content:
        return now
    return dataclasses.replace(now, verified=root.now(), verified_for=wish or now.verified_for)


def oldest(root: Root, *, before: float) -> Manifest | None:
    """The model that was not checked for longest, if that was before the moment `before` (seconds since
    1970).
    """
    due = [m for m in manifests.find_all(root) if max(m.created, m.verified) < before]
    return min(due, key=lambda m: (max(m.created, m.verified), m.key), default=None)


def _hashed(root: Root, digest: str, pause: Callable[[int], None]) -> str:
    """The digest of a blob's content now, or "" if it is gone (collected meanwhile)."""
    content = hashlib.sha256()
    try:
        for block in root.disk.blocks(root.layout.blob(digest)):
            content.update(block)
            pause(len(block))
    except FileNotFoundError:
        return ""
    except OSError as error:  # the disk cannot read it back: as bad as wrong bytes
        return f"unreadable: {error.strerror or error}"
    return content.hexdigest()
