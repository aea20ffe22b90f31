"""Where things lie under a node group's root folder (a person can read it with `ls`).

The views (`models/<storage key>/`) have the layout and the keys of KServe's local model cache; all else is
ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from forebay.errors import Invalid

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
OURS = ".forebay"


@dataclass(frozen=True)
class Layout:
    """Paths below one root."""

    root: Path

    @property
    def models(self) -> Path:
        """Views: what pods mount."""
        return self.root / "models"

    @property
    def ours(self) -> Path:
        return self.root / OURS

    @property
    def lock(self) -> Path:
        """flock here guards publishing, linking, collecting."""
        return self.ours / "root.lock"

    @property
    def blobs(self) -> Path:
        return self.ours / "blobs" / "sha256"

    @property
    def parts(self) -> Path:
        return self.ours / "parts"

    @property
    def manifests(self) -> Path:
        return self.ours / "manifests"

    @property
    def pins(self) -> Path:
        """One file for each pod that uses models."""
        return self.ours / "pins"

    @property
    def reservations(self) -> Path:
        return self.ours / "reservations"

    @property
    def entitled(self) -> Path:
        """One file for each (cache, model) whose own credentials reached the source."""
        return self.ours / "entitled"

    @property
    def evicted(self) -> Path:
        """One file for each model that made room for another."""
        return self.ours / "evicted"

    @property
    def collected(self) -> Path:
        """The answer to the last request to collect."""
        return self.ours / "collected.json"

    @property
    def views(self) -> Path:
        """Marks of the views that we made: no other folder under models/ is ever removed."""
        return self.ours / "views"

    @property
    def damaged(self) -> Path:
        return self.ours / "damaged"

    @property
    def staging(self) -> Path:
        """Where a foreign downloader writes."""
        return self.ours / "staging"

    @property
    def trash(self) -> Path:
        """Folders on their way in or out: nothing here is trusted, and collecting empties it."""
        return self.ours / "trash"

    def folders(self) -> tuple[Path, ...]:
        """All folders of a root, parents first."""
        return (
            self.models, self.ours, self.blobs, self.parts, self.manifests, self.pins, self.reservations,
            self.entitled, self.evicted, self.views, self.damaged, self.staging, self.trash,
        )  # fmt: skip

    def blob(self, digest: str) -> Path:
        """The blob whose content has this sha256. Raises Invalid for what is no lower-case hex digest."""
        return self.blobs / checked_digest(digest)[:2] / digest

    def view(self, key: str) -> Path:
        return self.models / checked_key(key)

    def view_mark(self, key: str) -> Path:
        return self.views / f"{checked_key(key)}.json"

    def manifest(self, key: str) -> Path:
        return self.manifests / f"{checked_key(key)}.json"

    def part_folder(self, key: str) -> Path:
        """All that belongs to one unfinished pull."""
        return self.parts / checked_key(key)

    def part_files(self, key: str) -> Path:
        """Files that the pull engine writes, with its journals."""
        return self.part_folder(key) / "files"

    def part_known(self, key: str) -> Path:
        """Digests that were observed in files the source promised none for, so that a resumed pull finds
        them.
        """
        return self.part_folder(key) / "known"

    def part_claims(self, key: str) -> Path:
        """Links to the blobs that the pull need not fetch, by digest."""
        return self.part_folder(key) / "claims"

    def part_lock(self, key: str) -> Path:
        """Held by the one pull that works on this model."""
        return self.parts / f"{checked_key(key)}.lock"

    def staged(self, key: str) -> Path:
        return self.staging / checked_key(key)


def checked_key(key: str) -> str:
    """`key` if it can be a storage key, that is, one safe folder name. Raises Invalid."""
    if not _KEY.fullmatch(key):
        raise Invalid(f"{key!r} is not a storage key: up to 63 lower-case letters, digits and dashes")
    return key


def checked_digest(digest: str) -> str:
    """`digest` if it is a sha256 in lower-case hex. Raises Invalid."""
    if not _DIGEST.fullmatch(digest):
        raise Invalid(f"{digest[:80]!r} is not a sha256 digest in lower-case hex")
    return digest


def checked_path(path: str) -> str:
    """`path` if it stays below the folder it is joined to. Raises Invalid."""
    parts = PurePosixPath(path).parts
    bad = not parts or path.startswith("/") or ".." in parts or "\\" in path
    if bad or str(PurePosixPath(path)) != path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise Invalid(f"{path!r} is not a plain relative path")
    return path


def record_id(*words: str) -> str:
    """A file name for a record about these words: stable, safe, and different for different words."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
