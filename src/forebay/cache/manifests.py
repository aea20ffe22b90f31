"""Manifests on disk: written after their blobs, removed before them (C2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from forebay.cache import blobs, pins, views
from forebay.cache.manifest import Manifest, load
from forebay.cache.root import Root
from forebay.errors import Absent, Damaged, Unavailable
from forebay.kit.disk import put, read, remove_tree
from forebay.kit.failpoints import failpoint


def find(root: Root, key: str) -> Manifest | None:
    """The manifest of a model, or None. Raises Damaged if it cannot be read."""
    path = root.layout.manifest(key)
    try:
        return load(read(root.disk, path), str(path))
    except FileNotFoundError:
        return None


def find_all(root: Root) -> list[Manifest]:
    """Every manifest that can be read; recover() sets the others aside."""
    found = []
    for name in root.disk.list(root.layout.manifests):
        if name.endswith(".json") and not name.startswith("."):
            try:
                manifest = find(root, name.removesuffix(".json"))
            except Damaged:
                continue
            if manifest is not None:
                found.append(manifest)
    return found


def publish(root: Root, manifest: Manifest) -> None:
    """Blobs first, manifest last, under the root's lock; the model's parts, all verified, go.

    A model in use is never changed: another revision of it raises Unavailable until its pods are gone.
    """
    with root.locked():
        before = find(root, manifest.key)
        if before is not None and before.content != manifest.content:
            _make_way(root, before)
        blobs.take_in(root, manifest)
        failpoint("cache.publish.blobs")
        _write(root, manifest)
    failpoint("cache.publish.manifest")
    remove_tree(root.disk, root.layout.part_folder(manifest.key))
    mark = root.layout.evicted / f"{manifest.key}.json"
    if root.disk.info(mark) is not None:
        root.disk.unlink(mark)


def remove(root: Root, key: str) -> bool:
    """The view, then the manifest, then what only it named; False if there was none. Raises Unavailable if in
    use.
    """
    with root.locked():
        _refuse_if_used(root, key, "is not removed")
        views.take_away(root, key)
        failpoint("cache.remove.view")
        path = root.layout.manifest(key)
        manifest = find(root, key)
        if manifest is None:
            return False
        root.disk.unlink(path)
        root.disk.sync_dir(path.parent)
        failpoint("cache.remove.manifest")
        kept = {digest for other in find_all(root) for digest in other.blobs}
        for digest in sorted(manifest.blobs.keys() - kept):
            if root.disk.info(root.layout.blob(digest)) is not None:
                root.disk.unlink(root.layout.blob(digest))
    return True


def amend(root: Root, key: str, change: Callable[[Manifest], Manifest]) -> Manifest | None:
    """Change what a manifest says beside its files; None if it is gone."""
    with root.locked():
        manifest = find(root, key)
        if manifest is None:
            return None
        changed = change(manifest)
        if changed != manifest:
            _write(root, changed)
    return changed


def touch(root: Root, keys: Iterable[str]) -> None:
    """Note that these models were used now; what eviction goes by."""
    for key in sorted(keys):
        amend(root, key, lambda now: dataclasses.replace(now, last_used=root.now()))


def set_pinned(root: Root, key: str, pinned: bool) -> Manifest:
    """An administrator's pin: a pinned model is never evicted. Raises Absent."""
    changed = amend(root, key, lambda now: dataclasses.replace(now, pinned=pinned))
    if changed is None:
        raise Absent(f"no model {key} in {root.layout.root}; `forebay cache ls` lists them")
    return changed


def _make_way(root: Root, before: Manifest) -> None:
    _refuse_if_used(root, before.key, f"stays at revision {before.revision}")
    views.take_away(root, before.key)


def _refuse_if_used(root: Root, key: str, and_so: str) -> None:
    users = pins.users(root, key)
    if users:
        raise Unavailable(f"model {key} is in use by {', '.join(users[:3])} and {and_so}; stop them first")


def _write(root: Root, manifest: Manifest) -> None:
    put(root.disk, root.layout.manifest(manifest.key), manifest.dump())
