"""Re-hash what lies on the disk; what does not hash to its name goes aside (C5).

A check reads past the page cache: it finds what the disk has forgotten, and pushes nobody's model out of
memory. How far it is stands in `checks/<key>.json`, so that an agent that starts anew goes on there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from forebay.cache import damage, manifests
from forebay.cache.damage import Note
from forebay.cache.manifest import Manifest
from forebay.cache.root import Root
from forebay.kit.disk import make_folders, put, read
from forebay.kit.disk_errors import is_full, is_unreadable
from forebay.kit.foreign import parsed, seconds

_KEEP_EVERY = 1.05  # of what was found whole: an interruption costs a twentieth of it


def check(
    root: Root,
    manifest: Manifest,
    *,
    pause: Callable[[int], None] = lambda count: None,
    wish: str = "",
    known: Mapping[str, float] | None = None,
) -> list[Note]:
    """Hash every blob of a model; returns notes on those set aside.

    `pause(bytes)` is called after each block, so that a caller can keep this slow; what it raises ends the
    check (an OSError would look like a bad disk). `known`: what whole_since() said; it is not read again. A
    clean pass is noted in the manifest, and so is the request that it answers (`wish`): content that replaces
    damaged content is checked in its turn before the request counts as answered.
    """
    bad: list[Note] = []
    whole = dict(known or {})
    kept = len(whole)
    for digest in sorted(manifest.blobs.keys() - whole.keys()):
        found = _hashed(root, digest, pause)
        if found and found != digest:
            bad.append(damage.set_aside(root, digest, found, wish=wish))
        elif found:
            whole[digest] = root.now()
            if len(whole) >= kept * _KEEP_EVERY:  # all of it is written each time
                _keep(root, manifest.key, whole)
                kept = len(whole)
    if not bad:
        manifests.amend(root, manifest.key, lambda now: _checked(root, manifest, now, wish))
        _forget(root, manifest.key)
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


def whole_since(root: Root, manifest: Manifest, moment: float) -> dict[str, float]:
    """What an interrupted check has found whole since `moment`: digest, and when (seconds since 1970)."""
    kept = _kept(root, manifest.key)
    return {d: at for d, at in kept.items() if moment <= at <= root.now() and d in manifest.blobs}


def tidy(root: Root) -> None:
    """Forget how far checks were of models that are gone."""
    for name in root.disk.list(_folder(root)):
        key = name.removesuffix(".json")
        if name.startswith(".") or root.disk.info(root.layout.manifest(key)) is None:
            root.disk.unlink(_folder(root) / name)


def _hashed(root: Root, digest: str, pause: Callable[[int], None]) -> str:
    """The digest of a blob's content now, or "" if it is gone (collected meanwhile)."""
    content = hashlib.sha256()
    try:
        for block in root.disk.raw_blocks(root.layout.blob(digest)):
            content.update(block)
            pause(len(block))
    except FileNotFoundError:
        return ""
    except OSError as error:
        if not is_unreadable(error):
            raise  # of this process, not of the content: pods may go on with it
        return f"unreadable: {error.strerror or error}"  # the disk cannot read it back: as bad as wrong bytes
    return content.hexdigest()


def _folder(root: Root) -> Path:
    return root.layout.ours / "checks"


def _kept(root: Root, key: str) -> dict[str, float]:
    """Digest: when it was found whole. Unreadable is as good as none."""
    try:
        raw = parsed(read(root.disk, _folder(root) / f"{key}.json"))
        return {str(digest): seconds(at) for digest, at in raw.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _keep(root: Root, key: str, known: dict[str, float]) -> None:
    try:
        make_folders(root.disk, _folder(root))
        put(root.disk, _folder(root) / f"{key}.json", json.dumps(known).encode(), durable=False)
    except OSError as error:
        if not is_full(error):
            raise  # else an agent that starts anew reads some of it again, that is all


def _forget(root: Root, key: str) -> None:
    if root.disk.info(_folder(root) / f"{key}.json") is not None:
        root.disk.unlink(_folder(root) / f"{key}.json")
