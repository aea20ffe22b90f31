"""Who may use shared content: a cache whose own credentials reached the source leaves a record (W2 of the
reference).

Two caches of one URI share one copy on disk, but each is `ModelDownloaded` only with a record of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from forebay.cache.layout import record_id
from forebay.cache.root import Root
from forebay.kit.disk import put, read
from forebay.kit.foreign import built, parsed


@dataclass(frozen=True)
class Entitlement:
    """`model` (its key in the node's status) reached `uri` with its own credentials, at `at` (since 1970).

    `withdrawn`: the cache is gone, but its copy is not yet; another cache of its name has to show its own.
    """

    model: str
    key: str
    uri: str
    revision: str
    endpoint: str
    at: float
    pod_uid: str = ""
    withdrawn: bool = False
    cache_uid: str = ""

    def is_of(self, cache_uid: str) -> bool:
        """Whether the cache with this uid has shown it; a cache made anew under the same name has its own."""
        return not (self.cache_uid and cache_uid) or self.cache_uid == cache_uid


def record(root: Root, entitlement: Entitlement) -> None:
    """Note it, durably."""
    name = record_id(entitlement.key, entitlement.model)
    with root.locked():
        put(root.disk, root.layout.entitled / f"{name}.json", json.dumps(asdict(entitlement)).encode())


def find_all(root: Root) -> list[Entitlement]:
    """Every record; an unreadable one counts as none."""
    found = []
    for name in root.disk.list(root.layout.entitled):
        if name.endswith(".json") and not name.startswith("."):
            try:
                found.append(built(Entitlement, parsed(read(root.disk, root.layout.entitled / name))))
            except (ValueError, FileNotFoundError):
                continue
    return found


def withdraw(root: Root, key: str, model: str) -> None:
    """The cache is gone: its record no longer entitles anyone, and says that the copy may go."""
    for entitlement in find_all(root):
        if (entitlement.key, entitlement.model) == (key, model) and not entitlement.withdrawn:
            record(root, replace(entitlement, withdrawn=True))


def forget(root: Root, key: str, model: str) -> None:
    """Remove the record: the copy is gone too."""
    path = root.layout.entitled / f"{record_id(key, model)}.json"
    if root.disk.info(path) is not None:
        root.disk.unlink(path)
        root.disk.sync_dir(path.parent)
