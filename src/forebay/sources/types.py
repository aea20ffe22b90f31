"""What a source gives: an immutable listing, and a request for each file of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from forebay.kit.redact import unsigned


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a listing. Sizes in bytes; digests lower-case hex; "" or None where the source promises
    nothing.
    """

    path: str  # relative, checked by sources.paths.safe_path
    size: int | None
    sha256: str = ""
    git_sha1: str = ""  # git's blob hash: sha1 over "blob <size>\0" + content
    md5: str = ""
    crc: str = ""  # "crc32:", "crc32c:" or "crc64nvme:" and its digits; finds accidents, not forgeries
    etag: str = ""
    locator: str = ""  # what the source needs to find it again (key, version id, blob digest)
    plain: bool = False  # in a listing that is unpacked: a file as it is, not one of the archives


@dataclass(frozen=True)
class Listing:
    """A name that can no longer move.

    `revision` is a commit, version id, manifest digest or ETag; `endpoint` is the identity of the server that
    answered ("" for the scheme's default); `unpack` says that the single archive is to be unpacked, as KServe
    does; `named` that the URI is the one file's own name, `objects` that one archive that patterns leave of
    many is unpacked, too; `folders` are those that hold nothing.
    """

    uri: str
    revision: str
    files: tuple[RemoteFile, ...]
    endpoint: str = ""
    unpack: bool = False
    folder: str = ""
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    named: bool = False
    objects: bool = False
    folders: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What tells it from every other listing: a file that is signed anew is the same file."""
        return f"{self.endpoint} {unsigned(self.uri)}@{self.revision}"

    @property
    def size(self) -> int | None:
        """Bytes of all files together, or None if one is unknown."""
        sizes = [f.size for f in self.files]
        return None if any(s is None for s in sizes) else sum(s or 0 for s in sizes)


@dataclass(frozen=True)
class Request:
    """One GET, valid now. `headers` may hold credentials: they are sent to `url`'s host only, never after a
    redirect to another host."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    client_cert: str = ""
    verify: bool = True


class Source(Protocol):
    """One scheme. Construction takes its settings (environment mapping); no global state."""

    scheme: ClassVar[str]

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """Turn a name that can move into a list that cannot: revision, files, sizes, digests if promised.

        `revision` pins it (another node has resolved already). Raises Invalid, Denied, Absent, Unavailable.
        """

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """URL and headers for one file, valid now; asked again when they expire. No bytes move here."""
