"""Bytes that failed a check: moved aside with a note, never served, never deleted in silence (C5).

A note `damaged/<digest>.<n>.json` is written before anything moves, so a crash in between is finished at the
next start. The moved manifest stays beside it: its other blobs are kept for the pull that heals the model.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from forebay.cache import manifests, views
from forebay.cache.layout import checked_digest, checked_key
from forebay.cache.manifest import Manifest, load
from forebay.cache.root import Root
from forebay.errors import Damaged, Invalid
from forebay.kit.disk import put, read
from forebay.kit.disk_errors import is_full
from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import built, parsed


@dataclass(frozen=True)
class Note:
    """A blob that did not hash to its name: what was found instead, when (seconds since 1970), and whose it
    was. `paths` are its names in those models, `wish` the request that led to the check ("" for none).
    """

    digest: str
    found: str
    at: float
    keys: tuple[str, ...]
    paths: tuple[str, ...] = ()
    wish: str = ""


def set_aside(root: Root, digest: str, found: str, *, wish: str = "") -> Note:
    """Take a bad blob out of service: note, then views, then manifests, then the blob itself.

    Its views go even if they are in use: a pod that opens a file anew must not get bytes that are known to be
    wrong.
    """
    with root.locked():
        models = [m for m in manifests.find_all(root) if digest in m.blobs]
        paths = {f.path for m in models for f in m.files if f.sha256 == digest}
        note = Note(digest, found, root.now(), tuple(m.key for m in models), tuple(sorted(paths)), wish)
        noted = _write_note(root, note)
        failpoint("cache.damage.noted")
        _move(root, note)
        if not noted:
            _write_note(root, note)
    return note


def _write_note(root: Root, note: Note) -> bool:
    """False on a full disk: then the content goes first, so that after a crash nobody takes it for good."""
    try:
        put(root.disk, _free_name(root, note.digest, ".note.json"), json.dumps(asdict(note)).encode())
    except OSError as error:
        if not is_full(error):
            raise
        _move_blob(root, note.digest)
        return False
    return True


def notes(root: Root) -> list[Note]:
    """Every note, in no particular order."""
    found = []
    for name in root.disk.list(root.layout.damaged):
        if name.endswith(".note.json") and not name.startswith("."):
            try:
                note = built(Note, parsed(read(root.disk, root.layout.damaged / name)))
                for key in note.keys:
                    checked_key(key)
                checked_digest(note.digest)
                found.append(note)
            except (ValueError, Invalid):
                continue
    return found


def finish(root: Root) -> list[str]:
    """Finish what a crash interrupted. The caller holds the lock."""
    done = []
    for note in notes(root):
        path = root.layout.blob(note.digest)
        info = root.disk.info(path)
        if info is None:
            continue
        aside = _aside(root, note.digest)
        if info.inode in aside:  # the new name is durable, the end of the old one was not
            root.disk.unlink(path)
            root.disk.sync_dir(path.parent)
        elif len(aside) < _noted(root, note.digest):
            _move(root, note)
        else:
            continue
        done.append(f"set blob {note.digest} aside, as had been begun")
    return done


def set_manifest_aside(root: Root, key: str, why: str) -> None:
    """Take a manifest out of service. The caller holds the lock and has taken the view away."""
    path = root.layout.manifests / f"{checked_key(key)}.json"
    root.disk.rename(path, _free_name(root, key, ".manifest.json"))
    root.disk.sync_dir(root.layout.damaged)
    root.disk.sync_dir(root.layout.manifests)


def wanted_again(root: Root, keys: Collection[str] | None = None) -> set[str]:
    """Blobs of models (of these keys, or any) that were set aside and are not whole again yet: healing needs
    only what was bad.
    """
    wanted: set[str] = set()
    for manifest in set_aside_manifests(root):
        if keys is not None and manifest.key not in keys:
            continue  # nobody heals it
        if root.disk.info(root.layout.manifest(manifest.key)) is None:
            wanted |= manifest.blobs.keys()
    return wanted


def set_aside_manifests(root: Root, key: str = "") -> list[Manifest]:
    """Manifests that were set aside and can be read: of one model, or all."""
    found = []
    for name in sorted(root.disk.list(root.layout.damaged)):
        if name.endswith(".manifest.json") and name.startswith(f"{key}." if key else ""):
            try:
                found.append(load(read(root.disk, root.layout.damaged / name), name))
            except Damaged:
                continue
    return found


def complaint(root: Root, key: str) -> str:
    """What is wrong with a model that was set aside, for its status; "" if nothing is."""
    if root.disk.info(root.layout.manifest(key)) is not None:
        return ""
    for note in notes(root):
        if key in note.keys:
            return f"content {note.digest[:12]} failed its check and was set aside; it is fetched again"
    return ""


def _move(root: Root, note: Note) -> None:
    for key in note.keys:
        views.take_away(root, key)
        if root.disk.info(root.layout.manifest(key)) is not None:
            set_manifest_aside(root, key, "a blob failed its check")
    failpoint("cache.damage.manifests")
    _move_blob(root, note.digest)


def _move_blob(root: Root, digest: str) -> None:
    blob = root.layout.blob(digest)
    if root.disk.info(blob) is not None:
        root.disk.rename(blob, _free_name(root, digest, ".blob"))
        root.disk.sync_dir(root.layout.damaged)
        root.disk.sync_dir(blob.parent)


def _aside(root: Root, digest: str) -> list[int]:
    """The inodes of the copies of a blob that were moved."""
    infos = [root.disk.info(root.layout.damaged / name) for name in _named(root, digest, ".blob")]
    return [info.inode for info in infos if info is not None]


def _noted(root: Root, digest: str) -> int:
    return len(_named(root, digest, ".note.json"))


def _named(root: Root, digest: str, end: str) -> list[str]:
    return [n for n in root.disk.list(root.layout.damaged) if n.startswith(f"{digest}.") and n.endswith(end)]


def _free_name(root: Root, stem: str, end: str) -> Path:
    folder = root.layout.damaged
    taken = set(root.disk.list(folder))
    return folder / next(f"{stem}.{n}{end}" for n in range(len(taken) + 1) if f"{stem}.{n}{end}" not in taken)
