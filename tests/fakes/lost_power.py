"""A folder made again from operations, as a disk may legally wake up after the power went: `Remembered`.

Bytes are safe after their file's sync, names after their folder's; of the rest each write may be there, be
zeros, be torn or be missing, and each name may be in any state that it had since. The order of unsynced
operations means nothing. That is weaker than any journaling file system: what holds here holds there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fakes.os_calls import Op

SECTOR = 512


@dataclass(eq=False)
class _File:
    safe: bytes = b""
    pending: list[Op] = field(default_factory=list)

    def woken(self, luck: Luck) -> bytes:
        data = bytearray(self.safe)
        for op in self.pending:
            if op.what == "cut":
                if luck.keeps():
                    data[op.at :] = bytes(max(0, op.at - len(data)))
                continue
            for start, piece in luck.of_write(op):
                data[len(data) :] = bytes(max(0, start - len(data)))
                data[start : start + len(piece)] = piece
        return bytes(data)


@dataclass(eq=False)
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    safe: dict[str, _File | _Folder] = field(default_factory=dict)
    past: dict[str, list[_File | _Folder | None]] = field(default_factory=dict)

    def set(self, name: str, what: _File | _Folder | None) -> None:
        self.past.setdefault(name, [self.safe.get(name)]).append(what)
        if what is None:
            del self.names[name]
        else:
            self.names[name] = what

    def sync(self) -> None:
        self.safe, self.past = dict(self.names), {}


@dataclass
class Luck:
    """What survives: `all` of it, `none` of it, or what `chance` says."""

    kind: str
    chance: Random

    def keeps(self) -> bool:
        return self.kind == "all" or (self.kind == "some" and self.chance.random() < 0.5)

    def of_name(self, states: list[_File | _Folder | None]) -> _File | _Folder | None:
        return {"all": states[-1], "none": states[0]}.get(self.kind) if self.kind != "some" else (
            self.chance.choice(states))  # fmt: skip

    def of_write(self, op: Op) -> list[tuple[int, bytes]]:
        """The pieces of a write that are on the disk."""
        if self.kind != "some":
            return [(op.at, op.data)] if self.kind == "all" else []
        cut = self.chance.randrange(len(op.data) // SECTOR + 1) * SECTOR
        return self.chance.choice([
            [(op.at, op.data)], [], [(op.at, bytes(len(op.data)))],
            [(op.at, op.data[:cut])], [(op.at + cut, op.data[cut:])],
        ])  # fmt: skip


class Remembered:
    """See the module. Begins with what lies in `start`, all of it safe."""

    def __init__(self) -> None:
        self._top = _Folder()
        self._files: dict[int, _File] = {}

    def apply(self, op: Op) -> None:
        """One more change."""
        folder, last = self._above(op.name)
        match op.what:
            case "make":
                self._files[op.node] = _File()
                folder.set(last, self._files[op.node])
            case "folder":
                folder.set(last, _Folder())
            case "write" | "cut":
                self._files[op.node].pending.append(op)
            case "sync":
                file = self._files[op.node]
                file.safe, file.pending = file.woken(Luck("all", Random(0))), []
            case "sync_folder":
                self._at(op.name).sync()
            case "sync_all":
                self._sync_all(self._top)
            case "rename":
                self._rename(op)
            case "link":
                beside, new = self._above(op.to)
                beside.set(new, folder.names[last])
            case "unlink" | "rmdir":
                folder.set(last, None)
            case _:
                raise AssertionError(op)

    def _rename(self, op: Op) -> None:
        (source, old), (target, new) = self._above(op.name), self._above(op.to)
        moved = source.names[old]
        if target.names.get(new) is not moved:
            target.set(new, moved)
            source.set(old, None)

    def _sync_all(self, folder: _Folder) -> None:
        folder.sync()
        for what in folder.names.values():
            if isinstance(what, _Folder):
                self._sync_all(what)
        for file in self._files.values():
            file.safe, file.pending = file.woken(Luck("all", Random(0))), []

    def _at(self, name: str) -> _Folder:
        found: _File | _Folder = self._top
        for part in name.split("/") if name not in ("", ".") else ():
            assert isinstance(found, _Folder)
            found = found.names[part]
        assert isinstance(found, _Folder)
        return found

    def _above(self, name: str) -> tuple[_Folder, str]:
        above, _, last = name.rpartition("/")
        return self._at(above), last

    def woken(self, luck: Luck, same: dict[str, str] | None = None) -> dict[str, bytes | None]:
        """One future: every name with its bytes (None: a folder). `same` gets the further names of one file,
        each with the first.
        """
        out: dict[str, bytes | None] = {}
        bytes_of: dict[_File, bytes] = {}
        first: dict[_File, str] = {}
        placed: set[_Folder] = set()

        def fill(folder: _Folder, prefix: str) -> None:
            placed.add(folder)
            for name in sorted({*folder.safe, *folder.past}):
                what = luck.of_name(folder.past.get(name) or [folder.safe[name]])
                if isinstance(what, _Folder) and what not in placed:
                    out[prefix + name] = None
                    fill(what, f"{prefix}{name}/")
                elif isinstance(what, _File):
                    out[prefix + name] = bytes_of.setdefault(what, what.woken(luck))
                    if first.setdefault(what, prefix + name) != prefix + name and same is not None:
                        same[prefix + name] = first[what]

        fill(self._top, "")
        return out


def remembered(ops: Iterable[Op]) -> Remembered:
    """The disk after these operations."""
    disk = Remembered()
    for op in ops:
        disk.apply(op)
    return disk


def tree_of(folder: Path) -> dict[str, bytes | None]:
    """What really lies in a folder."""
    found = sorted(folder.rglob("*"))
    return {p.relative_to(folder).as_posix(): None if p.is_dir() else p.read_bytes() for p in found}


def put_back(tree: dict[str, bytes | None], folder: Path, same: Mapping[str, str] | None = None) -> None:
    """Make a folder as a disk woke up with it; `same` as `woken` fills it."""
    folder.mkdir(parents=True)
    for name, data in tree.items():
        path = folder / name
        if data is None:
            path.mkdir(exist_ok=True)
        elif same and name in same:
            path.hardlink_to(folder / same[name])
        else:
            path.write_bytes(data)
