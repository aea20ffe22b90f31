"""What pods see: a folder of hard links, made from a whole manifest in one rename (C3)."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from forebay.cache import blobs, pins
from forebay.cache.manifest import Manifest, load
from forebay.cache.root import Root
from forebay.errors import Absent, Clash, Damaged, Unavailable
from forebay.kit.disk import files_below, make_folders, put, read, remove_tree
from forebay.kit.failpoints import failpoint


def publish(root: Root, key: str) -> bool:
    """Make the view of a model; False if it stood already.

    Raises Absent (no manifest), Damaged (a blob is missing), Clash (a folder of that name is not ours),
    Unavailable (the view shows another revision and is in use).
    """
    with root.locked():
        manifest = _whole_manifest(root, key)
        if root.disk.info(root.layout.view(key)) is not None:
            if root.disk.info(root.layout.view_mark(key)) is None:
                raise Clash(
                    f"{root.layout.view(key)} was not made by Forebay; move it away, then this goes on"
                )
            if shows(root, manifest):
                return False
            if pins.users(root, key):
                raise Unavailable(
                    f"the view of model {key} shows another revision and is in use; stop its pods first"
                )
            take_away(root, key)
        _make(root, manifest)
    return True


def shows(root: Root, manifest: Manifest) -> bool:
    """Whether the view stands and is made of exactly the manifest's blobs."""
    view = root.layout.view(manifest.key)
    if root.disk.info(root.layout.view_mark(manifest.key)) is None:
        return False
    seen = {str(path.relative_to(view)): root.disk.info(path) for path in files_below(root.disk, view)}
    if root.disk.info(view) is None or seen.keys() != {file.path for file in manifest.files}:
        return False
    for file in manifest.files:
        there, blob = seen[file.path], root.disk.info(root.layout.blob(file.sha256))
        if there is None or blob is None or there.inode != blob.inode:
            return False
    return all(root.disk.info(view / folder) is not None for folder in manifest.folders)


def standing(root: Root) -> set[str]:
    """Keys of the views that we made."""
    marked = {
        name.removesuffix(".json") for name in root.disk.list(root.layout.views) if name.endswith(".json")
    }
    return marked & set(root.disk.list(root.layout.models))


def take_away(root: Root, key: str) -> None:
    """Remove a view of ours in one rename; a foreign folder stays. The caller holds the lock and knows it is
    unused.
    """
    mark, view = root.layout.view_mark(key), root.layout.view(key)
    if root.disk.info(mark) is None:
        return
    if root.disk.info(view) is not None:
        away = _out_of_sight(root, key)
        failpoint("cache.view.away")
        remove_tree(root.disk, away)
        if away == view:
            root.disk.sync_dir(root.layout.models)
    root.disk.unlink(mark)
    root.disk.sync_dir(mark.parent)


def _out_of_sight(root: Root, key: str) -> Path:
    """Where the view is now. An overlay does not move a folder of its lower layer (a cache that came with an
    image): such a one is taken apart where it is, and its mark says that it has to be, should that be cut."""
    view, away = root.layout.view(key), _trash(root, key)
    try:
        root.disk.rename(view, away)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return view
    root.disk.sync_dir(root.layout.models)
    return away


def _make(root: Root, manifest: Manifest) -> None:
    """Links are made and synced out of sight; the last rename is the moment at which the view starts to
    exist.
    """
    disk, away = root.disk, _trash(root, manifest.key)
    disk.mkdir(away)
    folders = {away}
    for file in manifest.files:
        target = away / file.path
        make_folders(disk, target.parent)
        disk.link(root.layout.blob(file.sha256), target)
        folders |= {p for p in target.parents if p.is_relative_to(away)}
    for path in manifest.folders:
        make_folders(disk, away / path)
        folders |= {away / path, *(p for p in (away / path).parents if p.is_relative_to(away))}
    for folder in sorted(folders, reverse=True):
        disk.sync_dir(folder)
    failpoint("cache.view.linked")
    put(disk, root.layout.view_mark(manifest.key), json.dumps({"revision": manifest.revision}).encode())
    disk.rename(away, root.layout.view(manifest.key))
    failpoint("cache.view.renamed")
    disk.sync_dir(root.layout.models)
    disk.sync_dir(root.layout.trash)  # else the folder might wake up under its old name


def _whole_manifest(root: Root, key: str) -> Manifest:
    path = root.layout.manifest(key)
    try:
        manifest = load(read(root.disk, path), str(path))
    except FileNotFoundError:
        raise Absent(f"no model {key} in {root.layout.root}: it has to be pulled first") from None
    if not blobs.is_whole(root, manifest):
        raise Damaged(f"model {key} lacks some of its content; it has to be pulled again")
    return manifest


def _trash(root: Root, key: str) -> Path:
    """A free name out of sight."""
    taken = set(root.disk.list(root.layout.trash))
    return root.layout.trash / next(f"{key}.{n}" for n in range(len(taken) + 1) if f"{key}.{n}" not in taken)
