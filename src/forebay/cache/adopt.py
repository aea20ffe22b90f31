"""What a foreign downloader left in its staging folder becomes a model with observed digests.

Bytes are copied, not linked: the foreign program may hold its files open, and what it promises nobody knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from forebay.cache import blobs, manifests
from forebay.cache.manifest import File, Manifest
from forebay.cache.root import Root
from forebay.errors import Absent, Invalid
from forebay.kit.disk import empty_folders_below, files_below, make_folders, remove_tree
from forebay.kit.failpoints import failpoint


def adopt(root: Root, *, key: str, uri: str) -> Manifest:
    """Take a finished staging folder in and remove it. The caller knows that its writer has ended.

    The revision is a digest of all paths and contents, since the writer tells none. Raises Absent (nothing
    there), Invalid (a link or a device among the files).
    """
    staged = root.layout.staged(key)
    with root.disk.lock(root.layout.part_lock(key), 60.0):
        paths = files_below(root.disk, staged)
        if not paths:
            raise Absent(f"the downloader of {uri} left no file; see the log of its Job")
        files = tuple(_copied(root, key, path, index) for index, path in enumerate(paths))
        failpoint("cache.adopt.copied")
        revision = "observed-" + _summary(files)
        empty = tuple(str(p.relative_to(staged)) for p in empty_folders_below(root.disk, staged))
        manifest = Manifest(
            key, uri, revision, files, created=root.now(), last_used=root.now(), folders=empty
        )
        manifests.publish(root, manifest)
        remove_tree(root.disk, staged)
    return manifest


def staged_keys(root: Root) -> set[str]:
    """Models for which a foreign downloader has written something."""
    return {
        key
        for key in root.disk.list(root.layout.staging)
        if files_below(root.disk, root.layout.staging / key)
    }


def _copied(root: Root, key: str, path: Path, index: int) -> File:
    info = root.disk.info(path)
    if info is None or not info.plain:
        raise Invalid(f"{path} is neither a file nor a folder; a model is made of plain files")
    part = root.layout.part_files(key) / f"adopted-{index}"
    make_folders(root.disk, part.parent)
    digest, count = hashlib.sha256(), 0

    def through() -> Iterator[bytes]:
        nonlocal count
        for block in root.disk.blocks(path):
            digest.update(block)
            count += len(block)
            yield block

    root.disk.write(part, through())
    blobs.keep(root, key, [(part, digest.hexdigest())])
    return File(str(path.relative_to(root.layout.staged(key))), count, digest.hexdigest())


def _summary(files: tuple[File, ...]) -> str:
    text = "\n".join(f"{file.sha256} {file.path}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
