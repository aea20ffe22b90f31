"""What nobody needs any more, and what a crash left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from forebay.cache import blobs, damage, manifests, views
from forebay.cache.manifest import Manifest, load
from forebay.cache.root import Root
from forebay.errors import Damaged, Unavailable
from forebay.kit.disk import files_below, read, remove_tree
from forebay.kit.failpoints import failpoint


def collect(root: Root, *, keep_parts: Collection[str], to_heal: Collection[str] | None = None) -> int:
    """Remove blobs that no model names, parts of models not in `keep_parts`, and trash; returns the bytes
    freed. What is whole of a damaged model stays if that is one `to_heal` (None: any).

    Blobs are listed first, then the marks are read, all in one step under the lock (C4). The caller has made
    sure that the pins are those of all pods.
    """
    with root.locked():
        freed = _drop_parts(root, keep_parts)
        there = blobs.digests(root)
        failpoint("cache.collect.listed")
        loose = loose_blobs(root, there, to_heal=to_heal)
        for digest in sorted(loose):
            root.disk.unlink(root.layout.blob(digest))
        failpoint("cache.collect.unlinked")
        _empty(root, root.layout.trash)
    return freed + sum(loose.values())


def loose_blobs(
    root: Root,
    there: Mapping[str, int],
    known: Iterable[Manifest] | None = None,
    *,
    to_heal: Collection[str] | None = None,
) -> dict[str, int]:
    """Those of these blobs that no manifest, pull or model to be healed names. `known`: all manifests;
    `to_heal`: as in collect().
    """
    named = {d for manifest in (manifests.find_all(root) if known is None else known) for d in manifest.blobs}
    named |= damage.wanted_again(root, to_heal)
    for key in root.disk.list(root.layout.parts):
        if not key.endswith(".lock"):
            named |= set(root.disk.list(root.layout.part_claims(key)))
    return {digest: size for digest, size in there.items() if digest not in named}


def recover(root: Root) -> list[str]:
    """After a crash, or at any start: trust only what C1 to C4 imply (C7). Returns what was set right, for
    the log.

    Half-done removals are finished, a manifest that cannot be read or lacks a blob is set aside, and a view
    that does not show its manifest is taken away.
    """
    done = []
    with root.locked():
        done += damage.finish(root)
        for name in root.disk.list(root.layout.manifests):
            if not name.startswith("."):
                done += _check_manifest(root, root.layout.manifests / name)
        for key in sorted(_marked(root)):
            manifest = manifests.find(root, key)
            if manifest is None or not views.shows(root, manifest):
                views.take_away(root, key)
                done.append(f"took the view of model {key} away: it did not show its manifest")
        _empty(root, root.layout.trash)
        _drop_temporaries(root)
    return done


def usage(root: Root, there: Mapping[str, int] | None = None) -> int:
    """Bytes on disk: every blob once, parts that are no blob, what foreign downloaders have written.

    `there`: digests() of now, if known.
    """
    known = 0
    seen: set[int] = set()
    blobs_there = blobs.digests(root) if there is None else there
    for path in [p for f in (root.layout.parts, root.layout.staging) for p in files_below(root.disk, f)]:
        info = root.disk.info(path)
        if info is not None and info.inode not in seen and not (path.name in blobs_there and info.links > 1):
            seen.add(info.inode)
            known += info.size
    return known + sum(blobs_there.values())


def _check_manifest(root: Root, path: Path) -> list[str]:
    try:
        manifest = load(read(root.disk, path), str(path))
        if blobs.is_whole(root, manifest):
            return []
        why = "some of its blobs are missing"
    except Damaged as error:
        why = error.message
    key = path.name.removesuffix(".json")
    views.take_away(root, key)
    damage.set_manifest_aside(root, key, why)
    return [f"set the manifest of model {key} aside: {why}"]


def _marked(root: Root) -> set[str]:
    names = root.disk.list(root.layout.views)
    return {name.removesuffix(".json") for name in names if name.endswith(".json") and name[0] != "."}


def _drop_parts(root: Root, keep: Collection[str]) -> int:
    """Remove what pulls of other models have left; a pull at work holds its lock and is left alone."""
    freed = 0
    for key in sorted({name.removesuffix(".lock") for name in root.disk.list(root.layout.parts)} - set(keep)):
        try:
            with root.disk.lock(root.layout.part_lock(key), 0):
                folder = root.layout.part_folder(key)
                for path in files_below(root.disk, folder):
                    info = root.disk.info(path)
                    freed += info.size if info is not None and info.links == 1 else 0
                remove_tree(root.disk, folder)
                root.disk.unlink(root.layout.part_lock(key))
        except Unavailable:
            continue
    return freed


def _empty(root: Root, folder: Path) -> None:
    for name in root.disk.list(folder):
        remove_tree(root.disk, folder / name)


def _drop_temporaries(root: Root) -> None:
    """Half-written small files; reservations are left alone, they are written outside the lock."""
    for folder in (root.layout.manifests, root.layout.pins, root.layout.views, root.layout.entitled):
        for name in root.disk.list(folder):
            if name.startswith(".") and name.endswith(".tmp"):
                root.disk.unlink(folder / name)
