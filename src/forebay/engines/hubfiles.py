"""The files of the small hub's repositories as git and LFS name them, read again only where they changed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".onnx", ".pt")
_TREES_MAX = 64


@dataclass(frozen=True)
class Entry:
    """One file of a repository."""

    path: str
    size: int
    git: str  # the blob id: of the content, or of the pointer for large files
    sha256: str  # "" for small files


@dataclass(frozen=True)
class Tree:
    """A repository at one moment. `commit` names its content, `seen` its files' sizes and times."""

    entries: dict[str, Entry]
    commit: str
    seen: tuple[tuple[str, int, int], ...]


class HubFiles:
    """Trees and digests of the folders ORG/NAME below `folder`. Files from `lfs_bytes` on are large, whatever
    they are called."""

    def __init__(self, folder: Path, lfs_bytes: int) -> None:
        self._folder, self._lfs_bytes = folder, lfs_bytes
        self._digests: dict[tuple[str, int, int], tuple[str, str]] = {}
        self._trees: OrderedDict[str, Tree] = OrderedDict()  # by name
        self._lock = threading.Lock()

    def tree(self, name: str) -> Tree:
        """What lies there now; the files are only looked at, not read, unless one has changed."""
        root = self._folder / name
        seen = tuple(sorted(_walk(root, "")))
        with self._lock:
            known = self._trees.get(name)
        if known is not None and known.seen == seen:
            return known
        entries = {path: self._entry(root / path, path) for path, _, _ in seen}
        tree = Tree(entries, _commit(entries), seen)
        with self._lock:
            self._trees[name] = tree
            while len(self._trees) > _TREES_MAX:
                self._trees.popitem(last=False)
        return tree

    def listed(self, name: str, commit: str) -> Tree | None:
        """The tree of a commit that was looked at before: a commit does not move."""
        with self._lock:
            tree = self._trees.get(name)
        return tree if tree is not None and tree.commit == commit else None

    def at(self, name: str, commit: str, path: str) -> Entry | None:
        """The file of a commit that was listed before, if it has stayed what it was: a commit does not move,
        so nothing else has to be looked at."""
        tree = self.listed(name, commit)
        if tree is None or path not in tree.entries:
            return None
        try:
            now = self._entry(self._folder / name / path, path)
        except OSError:
            return None
        return now if now == tree.entries[path] else None

    def digest(self, path: Path) -> tuple[str, str]:
        """(git blob id, sha256) of a file, computed once per version."""
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if key not in self._digests:
                sha1 = hashlib.sha1(b"blob %d\0" % stat.st_size, usedforsecurity=False)
                sha256 = hashlib.sha256()
                with open(path, "rb") as body:
                    while piece := body.read(1 << 20):
                        sha1.update(piece)
                        sha256.update(piece)
                self._digests[key] = (sha1.hexdigest(), sha256.hexdigest())
            return self._digests[key]

    def _entry(self, path: Path, relative: str) -> Entry:
        size = path.stat().st_size
        git, sha256 = self.digest(path)
        if size < self._lfs_bytes and not relative.endswith(_LFS_SUFFIXES):
            return Entry(relative, size, git, "")
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return Entry(relative, size, _git(pointer), sha256)


def _walk(root: Path, below: str) -> Iterator[tuple[str, int, int]]:
    """(path, size, time) of every file. Links to folders are not followed, as `Path.rglob` does not."""
    if not (root / below).is_dir():
        return
    with os.scandir(root / below) as found:
        for item in found:
            path = f"{below}/{item.name}" if below else item.name
            if item.is_dir(follow_symlinks=False):
                yield from _walk(root, path)
            elif item.is_file():
                stat = item.stat()
                yield path, stat.st_size, stat.st_mtime_ns


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _commit(entries: dict[str, Entry]) -> str:
    facts = "\n".join(f"{e.path} {e.size} {e.git}" for e in entries.values())
    return hashlib.sha1(facts.encode(), usedforsecurity=False).hexdigest()
