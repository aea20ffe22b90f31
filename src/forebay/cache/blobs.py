"""Content by its sha256: written once, given its name when it is whole and durable (C1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from forebay.cache.manifest import Manifest
from forebay.cache.root import Root
from forebay.errors import Damaged
from forebay.kit.disk import Disk, files_below, make_folders, remove_tree
from forebay.kit.failpoints import failpoint


def commit(disk: Disk, moves: Sequence[tuple[Path, Path]]) -> None:
    """Give verified downloads their names (part, blob), so that a power cut leaves all of each or nothing."""
    for part, _ in moves:
        disk.sync(part)  # 1. the bytes are safe before they have a name
    failpoint("cache.commit.synced")
    for part, blob in moves:
        disk.rename(part, blob)  # 2. the one moment at which the blob starts to exist
    failpoint("cache.commit.renamed")
    for folder in sorted({blob.parent for _, blob in moves}):
        disk.sync_dir(folder)  # 3. the names are safe before anyone is told


def present(root: Root, digest: str, size: int) -> bool:
    """Whether the blob is there (by C1 it is then whole)."""
    found = root.disk.info(root.layout.blob(digest))
    return found is not None and not found.folder and found.size == size


def is_whole(root: Root, manifest: Manifest) -> bool:
    """Whether every blob that the manifest names is there."""
    return all(present(root, file.sha256, file.size) for file in manifest.files)


def digests(root: Root) -> dict[str, int]:
    """Every blob and its bytes."""
    found = {}
    for shard in root.disk.list(root.layout.blobs):
        found.update(shard_digests(root, shard))
    return found


def shard_digests(root: Root, shard: str) -> dict[str, int]:
    """The blobs of one folder below blobs/sha256, and their bytes."""
    folder, found = root.layout.blobs / shard, {}
    for name in root.disk.list(folder):
        info = root.disk.info(folder / name)
        if info is not None and not info.folder:
            found[name] = info.size
    return found


def claim(root: Root, key: str, wanted: Iterable[tuple[str, int]]) -> set[str]:
    """Of these (digest, bytes), those that are here: each is linked into the parts of model `key`.

    Looking and claiming are one step under the lock (C4); what is claimed stays even if its blob is
    collected.
    """
    folder, claimed = root.layout.part_claims(key), set()
    make_folders(root.disk, folder)
    with root.locked():
        remove_tree(root.disk, folder)  # links from before a crash say nothing (C7)
        root.disk.mkdir(folder)
        _make_writable(root, key)
        for digest, size in set(wanted):
            if present(root, digest, size):
                root.disk.link(root.layout.blob(digest), folder / digest)
                claimed.add(digest)
    return claimed


def _make_writable(root: Root, key: str) -> None:
    """A crash during a commit may leave a part that only blobs should be like: with the blob's name too (who
    writes to the part writes to it), or already read-only.
    """
    for path in files_below(root.disk, root.layout.part_files(key)):
        info = root.disk.info(path)
        if info is not None and info.links > 1:
            root.disk.unlink(path)
        elif info is not None and info.plain and path.suffix == ".part":
            root.disk.mode(path, 0o644)


def keep(root: Root, key: str, moves: Sequence[tuple[Path, str]]) -> None:
    """Commit verified parts (path, sha256) of model `key` and claim them; a content that is here already is
    dropped.

    What is kept survives a crash of the pull: the next one finds the blobs.
    """
    claims = root.layout.part_claims(key)
    make_folders(root.disk, claims)
    with root.locked():
        fresh = {digest: part for part, digest in moves if root.disk.info(root.layout.blob(digest)) is None}
        for digest, part in fresh.items():
            make_folders(root.disk, root.layout.blob(digest).parent)
            root.disk.mode(part, 0o444)
        commit(root.disk, [(part, root.layout.blob(digest)) for digest, part in fresh.items()])
        for part, digest in moves:
            if root.disk.info(part) is not None:
                root.disk.unlink(part)
            if root.disk.info(claims / digest) is None:
                root.disk.link(root.layout.blob(digest), claims / digest)


def take_in(root: Root, manifest: Manifest) -> None:
    """Make sure that every blob of the manifest has its name, from the pull's claims if it was collected
    meanwhile.

    The caller holds the root's lock. Raises Damaged if a content is in neither place.
    """
    claims = root.layout.part_claims(manifest.key)
    missing = [digest for digest, size in manifest.blobs.items() if not present(root, digest, size)]
    for digest in missing:
        found = root.disk.info(claims / digest)
        if found is None or found.size != manifest.blobs[digest]:
            raise Damaged(f"content {digest[:12]} of {manifest.uri} is gone; pull it again")
        make_folders(root.disk, root.layout.blob(digest).parent)
    commit(root.disk, [(claims / digest, root.layout.blob(digest)) for digest in missing])


def sha256_of(disk: Disk, path: Path) -> str:
    """The content's digest, in lower-case hex."""
    digest = hashlib.sha256()
    for block in disk.blocks(path):
        digest.update(block)
    return digest.hexdigest()
