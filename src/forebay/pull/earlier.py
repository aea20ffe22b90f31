"""What an earlier download of a model tells of files whose sha256 nobody promises (a hub's small files).

The manifest that is here, or that was set aside because one of its files was damaged, names their content. It
is believed at the same revision, which does not move; otherwise where the content meets git's promised hash.
"""

from __future__ import annotations

import hashlib

from forebay.cache import damage, manifests
from forebay.cache.manifest import File
from forebay.cache.root import Root
from forebay.errors import Damaged
from forebay.sources.types import Listing, RemoteFile


def earlier_files(root: Root, key: str, listing: Listing) -> dict[str, File]:
    """Files of the listing that lie in the blobs already, by path."""
    try:
        known = manifests.find(root, key)
    except Damaged:
        known = None
    found: dict[str, File] = {}
    for manifest in [*damage.set_aside_manifests(root, key), *([known] if known else [])]:
        if manifest.endpoint != listing.endpoint:
            continue
        there = {file.path: file for file in manifest.files}
        for file in listing.files:
            mine = there.get(file.path)
            if mine is None or file.sha256 or file.size not in (None, mine.size):
                continue
            if manifest.revision == listing.revision or _is_same(root, mine, file):
                found[file.path] = mine
    return found


def _is_same(root: Root, mine: File, file: RemoteFile) -> bool:
    """Whether our content has the git blob hash that the source promises."""
    if not file.git_sha1:
        return False
    content = hashlib.sha1(b"blob %d\0" % mine.size, usedforsecurity=False)
    try:
        for block in root.disk.blocks(root.layout.blob(mine.sha256)):
            content.update(block)
    except OSError:
        return False
    return content.hexdigest() == file.git_sha1
