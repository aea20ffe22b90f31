"""file:///path: a file or folder of this machine (or of a mounted share)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote, urlsplit

from forebay.errors import Absent, Denied, Invalid
from forebay.kit.redact import redacted
from forebay.sources.archives import is_archive
from forebay.sources.paths import check_together, refuse_cached
from forebay.sources.types import Listing, RemoteFile, Request


class FileSource:
    """Files that are already reachable by name. Revision: a hash over paths, sizes and modification times."""

    scheme: ClassVar[str] = "file"
    name: ClassVar[str] = "file"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """What lies there now. Raises Invalid, Absent, Denied."""
        root = local_path(uri)
        try:
            found = list(_walk(root))
            for path, _ in found:
                refuse_cached(path, self._env)
        except FileNotFoundError as error:
            raise Absent(f"{root} is not there") from error
        except PermissionError as error:
            raise Denied(f"{error.filename} cannot be read: check its permissions") from error
        files = tuple(_remote(path, relative) for path, relative in sorted(found, key=lambda p: p[1]))
        check_together(f.path for f in files)
        facts = "\n".join(f"{f.path}\0{f.size}\0{f.etag}" for f in files)
        seen = hashlib.sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{root} has changed since it was resolved")
        unpack = root.is_file() and is_archive(root.name)
        return Listing(uri, seen, files, unpack=unpack)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """The file's own path, as a file URL."""
        return Request("file://" + quote(file.locator))


def local_path(uri: str) -> Path:
    """The absolute path that a file:// URI names. Raises Invalid."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise Invalid(f"{redacted(uri)!r} is not file:///absolute/path") from error
    path = unquote(parts.path)
    if (
        parts.scheme != "file"
        or parts.netloc not in ("", "localhost")
        or not path.startswith("/")
        or "\0" in path
    ):
        raise Invalid(f"{redacted(uri)!r} is not file:///absolute/path")
    return Path(path)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    if root.is_file():
        yield root, root.name
        return
    if not root.is_dir():
        raise FileNotFoundError(2, "neither file nor folder", str(root))
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders.sort()
        for name in names:
            path = Path(folder, name)
            if path.is_file():  # sockets, pipes and dangling links are no model files
                yield path, path.relative_to(root).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _remote(path: Path, relative: str) -> RemoteFile:
    stat = path.stat()
    return RemoteFile(relative, stat.st_size, etag=version_of(stat), locator=str(path))


def version_of(stat: os.stat_result) -> str:
    """What tells a file's versions apart, as far as its file system does."""
    return f"{stat.st_mtime_ns:x}-{stat.st_ino:x}"
