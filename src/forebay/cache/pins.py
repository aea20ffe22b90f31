"""What running pods use: one durable file a pod, rebuilt from the Pod list (C3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from forebay.cache.layout import record_id
from forebay.cache.root import Root
from forebay.kit.disk import put, read
from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import built, parsed


@dataclass(frozen=True)
class Pin:
    """A pod (its uid, and `namespace/name` for people) and the storage keys of the models that it uses."""

    uid: str
    pod: str
    keys: tuple[str, ...]


def find_all(root: Root) -> list[Pin]:
    """Every pin; an unreadable one counts as none (the next rebuild writes it anew)."""
    found = []
    for name in root.disk.list(root.layout.pins):
        if name.endswith(".json") and not name.startswith("."):
            try:
                found.append(built(Pin, parsed(read(root.disk, root.layout.pins / name))))
            except (ValueError, FileNotFoundError):
                continue
    return found


def rebuild(root: Root, wanted: Iterable[Pin]) -> frozenset[str]:
    """Make the pins exactly these; returns the keys whose users changed. New pins are written before old ones
    go; where a disk has no room for new ones the old ones go all the same.
    """
    trouble: OSError | None = None
    with root.locked():
        before, after = set(find_all(root)), set(wanted)
        for pin in sorted(after - before, key=lambda pin: pin.uid):
            body = json.dumps({"uid": pin.uid, "pod": pin.pod, "keys": list(pin.keys)})
            try:
                put(root.disk, root.layout.pins / f"{record_id(pin.uid)}.json", body.encode())
            except OSError as error:
                trouble = error
        failpoint("cache.pins.added")
        kept = {f"{record_id(pin.uid)}.json" for pin in after}
        stale = [name for name in root.disk.list(root.layout.pins) if name not in kept]
        for name in stale:
            root.disk.unlink(root.layout.pins / name)
        if stale:
            root.disk.sync_dir(root.layout.pins)
    if trouble is not None:
        raise trouble
    return frozenset(key for pin in before ^ after for key in pin.keys)


def used_keys(root: Root) -> frozenset[str]:
    """Keys of all models in use."""
    return frozenset(key for pin in find_all(root) for key in pin.keys)


def users(root: Root, key: str) -> list[str]:
    """The pods that use a model, as `namespace/name`."""
    return sorted(pin.pod for pin in find_all(root) if key in pin.keys)
