"""file:///path: a file or folder of this machine (or of a mounted share)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

from forebay.errors import Absent, Denied, Invalid
from forebay.kit.redact import redacted
from forebay.sources.archives import is_archive
from forebay.sources.paths import refuse_cached
from forebay.sources.settings import check_wanted
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
        if not found:
            raise Absent(f"{root} holds no files; check the path, and that the volume is the right one")
        files = tuple(_remote(path, relative) for path, relative in sorted(found, key=lambda p: p[1]))
        check_wanted((f.path for f in files), self._env)
        facts = "\n".join(f"{f.path}\0{f.size}\0{f.etag}" for f in files)
        seen = hashlib.sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{root} has changed since it was resolved")
        unpack = len(files) == 1 and is_archive(files[0].path) and "/" not in files[0].path
        return Listing(uri, seen, files, unpack=unpack, objects=True)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """The file's own path, as a file URL."""
        return Request("file://" + quote(file.locator))


def local_path(uri: str) -> Path:
    """The absolute path that a file:// URI names: what follows as it stands, as KServe takes it (`#`, `?` and
    `%` may be in a name), or with %20 and its like decoded if nothing is there. Raises Invalid."""
    match = re.fullmatch(r"(?i:file://(?:localhost)?)(/.*)", uri, re.DOTALL)
    if not match or "\0" in unquote(match[1]):
        raise Invalid(f"{redacted(uri)!r} is not file:///absolute/path")
    return Path(match[1] if is_there(match[1]) else unquote(match[1]))


def is_there(path: str) -> bool:
    """Whether the path leads to something; what no path can be leads nowhere."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


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
