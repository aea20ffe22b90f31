"""A disk in memory that loses power: it remembers which bytes and which names were synced.

After a cut, the test draws what survives of the rest: for each name one of the states it had since its folder
was synced, for each file its synced bytes, its newest bytes, a part of them or garbage. That is weaker than
any journaling file system, so what holds here holds there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forebay.errors import Unavailable
from forebay.kit.disk import BLOCK, Info, Room


class PowerCut(BaseException):
    """The machine is off. Not an Exception: no handler of ours may go on after it."""


class _File:
    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.data = b""
        self.safe = b""
        self.links = 0


class _Folder:
    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.names: dict[str, _File | _Folder] = {}
        self.safe: dict[str, _File | _Folder] = {}
        self.past: dict[str, list[_File | _Folder | None]] = {}  # states of a name since the last sync

    def set(self, name: str, what: _File | _Folder | None) -> None:
        self.past.setdefault(name, [self.safe.get(name)]).append(what)
        if what is None:
            del self.names[name]
        else:
            self.names[name] = what


class SimDisk:
    """Passes the suite of tests/conformance/test_disk.py. `cut_after` changes are done, the next cuts the
    power.
    """

    def __init__(self, cut_after: int | None = None, *, size: int = 1 << 40) -> None:
        self._inodes = itertools.count(1)
        self._root = _Folder(next(self._inodes))
        self._locks: set[Path] = set()
        self.cut_after = cut_after
        self.changes = 0
        self.size = size

    # reading

    def info(self, path: Path) -> Info | None:
        found = self._find(path)
        if found is None:
            return None
        if isinstance(found, _Folder):
            return Info(0, True, False, found.inode, 2, 0.0)
        return Info(len(found.data), False, True, found.inode, found.links, 0.0)

    def list(self, path: Path) -> list[str]:
        found = self._find(path)
        if found is None:
            return []
        if isinstance(found, _File):
            raise NotADirectoryError(str(path))
        return sorted(found.names)

    def blocks(self, path: Path) -> Iterator[bytes]:
        data = self._file(path).data
        for start in range(0, len(data), BLOCK):
            yield data[start : start + BLOCK]

    raw_blocks = blocks

    def room(self, path: Path) -> Room:
        return Room(self.size, self.size - sum(len(f.data) for f in self._files(self._root)))

    def held(self, path: Path) -> bool:
        return path in self._locks

    # changing

    def write(self, path: Path, data: bytes | Iterable[bytes]) -> None:
        folder = self._folder(path.parent)
        body = data if isinstance(data, bytes) else b"".join(data)
        file = folder.names.get(path.name)
        if isinstance(file, _Folder):
            raise IsADirectoryError(str(path))
        if file is None:
            self._change()
            file = _File(next(self._inodes))
            file.links = 1
            folder.set(path.name, file)
        self._change()
        file.data = body

    def mode(self, path: Path, bits: int) -> None:
        self._file(path)

    def sync(self, path: Path) -> None:
        file = self._file(path)
        self._change()
        file.safe = file.data

    def sync_dir(self, path: Path) -> None:
        folder = self._folder(path)
        self._change()
        folder.safe = dict(folder.names)
        folder.past = {}

    def rename(self, old: Path, new: Path) -> None:
        source, target = self._folder(old.parent), self._folder(new.parent)
        moved = source.names.get(old.name)
        if moved is None:
            raise FileNotFoundError(str(old))
        replaced = target.names.get(new.name)
        if isinstance(replaced, _Folder):
            raise OSError(39, f"folder not empty or in the way: {new}")
        if replaced is moved:
            return  # POSIX: two names of one file, nothing happens
        self._change()
        target.set(new.name, moved)
        source.set(old.name, None)
        if isinstance(replaced, _File):
            replaced.links -= 1

    def link(self, old: Path, new: Path) -> None:
        file, folder = self._file(old), self._folder(new.parent)
        if new.name in folder.names:
            raise FileExistsError(str(new))
        self._change()
        file.links += 1
        folder.set(new.name, file)

    def unlink(self, path: Path) -> None:
        file, folder = self._file(path), self._folder(path.parent)
        self._change()
        file.links -= 1
        folder.set(path.name, None)

    def mkdir(self, path: Path) -> None:
        folder = self._folder(path.parent)
        if path.name in folder.names:
            raise FileExistsError(str(path))
        self._change()
        folder.set(path.name, _Folder(next(self._inodes)))

    def rmdir(self, path: Path) -> None:
        folder = self._folder(path)
        if folder.names:
            raise OSError(39, f"folder not empty: {path}")
        self._change()
        self._folder(path.parent).set(path.name, None)

    @contextmanager
    def lock(self, path: Path, wait_s: float) -> Iterator[None]:
        if path in self._locks:
            raise Unavailable(f"the lock {path} is held")
        if self._find(path) is None:
            self.write(path, b"")
        self._locks.add(path)
        try:
            yield
        finally:
            self._locks.discard(path)

    # the cut

    def after_power_cut(self, draw: Callable[[Any], Any]) -> SimDisk:
        """A state in which a disk may legally wake up; `draw` is Hypothesis' data.draw."""
        woken = SimDisk(size=self.size)
        woken._root = _Survivors(draw, woken._inodes).folder(self._root)
        return woken

    def _change(self) -> None:
        if self.cut_after is not None and self.changes >= self.cut_after:
            raise PowerCut
        self.changes += 1

    def _find(self, path: Path) -> _File | _Folder | None:
        found: _File | _Folder | None = self._root
        for part in path.parts[1:]:
            found = found.names.get(part) if isinstance(found, _Folder) else None
        return found

    def _file(self, path: Path) -> _File:
        found = self._find(path)
        if found is None:
            raise FileNotFoundError(str(path))
        if isinstance(found, _Folder):
            raise IsADirectoryError(str(path))
        return found

    def _folder(self, path: Path) -> _Folder:
        found = self._find(path)
        if found is None:
            raise FileNotFoundError(str(path))
        if isinstance(found, _File):
            raise NotADirectoryError(str(path))
        return found

    def _files(self, folder: _Folder) -> set[_File]:
        found: set[_File] = set()
        for what in folder.names.values():
            found |= self._files(what) if isinstance(what, _Folder) else {what}
        return found


class _Survivors:
    """One drawn future: a file with two names wakes up with the same bytes under both."""

    def __init__(self, draw: Callable[[Any], Any], inodes: Iterator[int]) -> None:
        self._draw = draw
        self._inodes = inodes
        self._known: dict[_File | _Folder, _File | _Folder] = {}

    def folder(self, old: _Folder) -> _Folder:
        new = _Folder(next(self._inodes))
        self._known[old] = new
        for name in sorted({*old.safe, *old.past}):
            states = old.past.get(name) or [old.safe.get(name)]
            what = self._pick(states)
            if what is None or (isinstance(what, _Folder) and what in self._known):
                continue  # a folder never has two names, not even after a cut
            new.names[name] = self._wake(what)
        new.safe = dict(new.names)
        return new

    def _wake(self, old: _File | _Folder) -> _File | _Folder:
        if old not in self._known:
            self._known[old] = self.folder(old) if isinstance(old, _Folder) else self._bytes(old)
        new = self._known[old]
        if isinstance(new, _File):
            new.links += 1
        return new

    def _bytes(self, old: _File) -> _File:
        new = _File(next(self._inodes))
        half = old.data[: len(old.data) // 2]
        futures = [old.safe] if old.safe == old.data else [b"\0" * len(old.data), half, old.safe, old.data]
        new.data = new.safe = self._pick(futures)
        return new

    def _pick(self, futures: list[Any]) -> Any:
        from hypothesis import strategies as st

        if len(futures) == 1:
            return futures[0]
        return futures[self._draw(st.integers(0, len(futures) - 1))]
