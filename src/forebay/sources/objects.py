"""Objects below a prefix as files: stores know keys, no folders, and people put odd ones into them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from forebay.sources.archives import is_archive
from forebay.sources.paths import safe_path
from forebay.sources.settings import check_wanted
from forebay.sources.types import Listing, RemoteFile


def listing_of(
    found: Iterable[RemoteFile],
    uri: str,
    revision: str,
    endpoint: str,
    *,
    named: bool,
    env: Mapping[str, str],
) -> Listing:
    """The files in the order of their paths; `named`: the URI is the only one's own key. Raises Invalid.

    Slashes that follow each other count once (a key `model//w.bin` is what a variable with a slash at its end
    makes). Empty objects under the name of a folder of others only mark it, as some tools do. A path that
    ends in a slash is a folder.
    """
    said = sorted(map(_tidy, found), key=lambda f: f.path)
    files = [f for f in said if not f.path.endswith("/")]
    folders = _empty([f.path[:-1] for f in said if f.path.endswith("/")], files)
    empty = {f.path for f in files if f.size == 0}
    marks = empty and {up for f in files for up in _above(f.path) if up in empty}
    files = [f for f in files if f.path not in marks]
    check_wanted((f.path for f in files), env)
    unpack = len(files) == 1 and is_archive(files[0].path)
    return Listing(uri, revision, tuple(files), endpoint, unpack=unpack, named=named, objects=True,
                   folders=folders)  # fmt: skip


def _empty(folders: list[str], files: list[RemoteFile]) -> tuple[str, ...]:
    """Those that hold nothing and are no file."""
    if not folders:
        return ()
    paths = [f.path for f in files]
    free = sorted(set(folders) - {*paths, "", *(up for path in (*folders, *paths) for up in _above(path))})
    return tuple(safe_path(path) for path in free)


def _tidy(file: RemoteFile) -> RemoteFile:
    if "//" not in file.path and not file.path.startswith("/"):
        return file
    return replace(file, path=re.sub("//+", "/", file.path).lstrip("/"))


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
