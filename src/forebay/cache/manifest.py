"""What belongs together: the files of one model at one revision, with their digests."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from forebay.cache.layout import checked_digest, checked_key, checked_path
from forebay.errors import Damaged, Invalid
from forebay.kit.foreign import built, parsed

FORMAT = 1


@dataclass(frozen=True)
class File:
    """One file: relative path, bytes, sha256 in lower-case hex.

    `promised` is true if the source named a digest that the content met (sha256, or git's blob hash); false
    if the digest is only what arrived: *observed*.
    """

    path: str
    size: int
    sha256: str
    promised: bool = False


@dataclass(frozen=True)
class Manifest:
    """One model on this node.

    `endpoint` is "" for the scheme's default server. `created`, `verified` and `last_used` are seconds since
    1970. `pinned` is an administrator's wish that it is never evicted. `phases` are seconds of the pull by
    phase, `sources` bytes by origin. `verified_for`, `warmed_for` and `refreshed_for` are the requests (their
    times, as given) that were last answered; `resident` is the share found in memory after the last warming.
    `folders` are those that hold nothing.
    """

    key: str
    uri: str
    revision: str
    files: tuple[File, ...]
    endpoint: str = ""
    created: float = 0.0
    last_used: float = 0.0
    verified: float = 0.0
    pinned: bool = False
    phases: dict[str, float] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    verified_for: str = ""
    warmed_for: str = ""
    warmed: float = 0.0
    resident: float | None = None
    refreshed_for: str = ""
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_key(self.key)
        _check_paths([*(f.path for f in self.files), *self.folders])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def blobs(self) -> dict[str, int]:
        """Digest to bytes; a content that appears twice is there once."""
        return {f.sha256: f.size for f in self.files}

    @property
    def content(self) -> dict[str, str]:
        """Path to digest: what a view of it shows."""
        return {f.path: f.sha256 for f in self.files}

    def dump(self) -> bytes:
        """The JSON form on disk."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, sort_keys=True).encode()


def load(text: bytes, what: str) -> Manifest:
    """The inverse of dump(); `what` names it in errors. Raises Damaged."""
    try:
        raw: dict[str, Any] = parsed(text)
        if raw.pop("format") != FORMAT:
            raise Damaged(
                f"{what} has another format than {FORMAT}; it was written by another version of Forebay"
            )
        files = tuple(built(File, entry) for entry in raw.pop("files"))
        for file in files:
            checked_digest(file.sha256)
            if file.size < 0:
                raise Invalid(f"{file.path!r} is smaller than nothing")
        return built(Manifest, {**raw, "files": files})
    except (ValueError, TypeError, KeyError, AttributeError, Invalid) as error:
        raise Damaged(f"{what} cannot be read: {error}") from error


def _check_paths(paths: list[str]) -> None:
    """No path leaves the view, none is there twice, and none is a folder of another. Raises Invalid."""
    if len(set(paths)) != len(paths):
        raise Invalid("a model names the same file twice")
    taken = set(paths)
    for path in paths:
        above = checked_path(path).split("/")[:-1]
        if any("/".join(above[: depth + 1]) in taken for depth in range(len(above))):
            raise Invalid(f"{path!r} lies below another file of the same model")
