"""The cache's promises C1 to C3, checked on a whole root; and small helpers to fill one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from forebay.cache import blobs, manifests, pins, views
from forebay.cache.manifest import File, Manifest
from forebay.cache.root import Root, open_root
from forebay.kit.clock import SystemClock
from forebay.kit.disk import Disk, files_below, make_folders

ROOT = Path("/group")


class FixedClock(SystemClock):
    """Time stands still until it is told."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self):  # type: ignore[no-untyped-def]
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.at, UTC)


def opened(disk: Disk, path: Path = ROOT) -> Root:
    return open_root(path, disk=disk, clock=FixedClock())


def model(key: str, bodies: dict[str, bytes], revision: str = "r1") -> Manifest:
    files = tuple(File(p, len(b), hashlib.sha256(b).hexdigest(), True) for p, b in sorted(bodies.items()))
    return Manifest(key, f"hf://test/{key}", revision, files)


def pull(root: Root, manifest: Manifest, bodies: dict[str, bytes]) -> None:
    """What a pull does, with bytes from memory."""
    claimed = blobs.claim(root, manifest.key, [(f.sha256, f.size) for f in manifest.files])
    parts = root.layout.part_files(manifest.key)
    make_folders(root.disk, parts)
    for index, file in enumerate(manifest.files):
        if file.sha256 not in claimed:
            part = parts / f"{index}.part"
            root.disk.write(part, bodies[file.path])
            blobs.keep(root, manifest.key, [(part, file.sha256)])
    manifests.publish(root, manifest)


def serve(root: Root, key: str, body: dict[str, bytes]) -> None:
    """Pull and make the view."""
    pull(root, model(key, body), body)
    views.publish(root, key)


def assert_promises(root: Root) -> None:
    """C1: blobs hash to their names. C2: manifests name blobs that exist. C3: views show whole manifests."""
    for digest in blobs.digests(root):
        assert blobs.sha256_of(root.disk, root.layout.blob(digest)) == digest, f"C1: blob {digest[:8]}"
    whole = {}
    for name in root.disk.list(root.layout.manifests):
        if name.startswith("."):
            continue
        manifest = manifests.find(root, name.removesuffix(".json"))
        assert manifest is not None
        assert blobs.is_whole(root, manifest), f"C2: manifest {manifest.key}"
        whole[manifest.key] = manifest
    for key in root.disk.list(root.layout.models):
        assert key in whole, f"C3: a view of {key} without manifest"
        assert shown(root, key) == {f.path: f.sha256 for f in whole[key].files}, f"C3: view {key}"


def shown(root: Root, key: str) -> dict[str, str] | None:
    """Path to sha256 of what the view of a model shows, or None without one."""
    view = root.layout.view(key)
    if root.disk.info(view) is None:
        return None
    return {str(p.relative_to(view)): blobs.sha256_of(root.disk, p) for p in files_below(root.disk, view)}


def a_pin(uid: str, *keys: str) -> pins.Pin:
    return pins.Pin(uid, f"default/{uid}", tuple(keys))
