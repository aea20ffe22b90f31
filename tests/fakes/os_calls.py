"""Every change that this process makes below a folder, as operations: to be noted, or to be refused.

The engine writes with `os.pwrite`, `open`, `Path.replace` and so on, so the os module itself is the seam:
what is recorded is what the kernel was asked for, not what somebody remembered to report. A change that went
around it is found out: `tests/fakes/lost_power.py` makes the folder again from the operations alone.
"""

# pathlib calls what is replaced here:
# ruff: noqa: PTH109, PTH112, PTH115, PTH116, PTH118

from __future__ import annotations

import builtins
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from forebay.pull import hashing

_OPEN, _IO_OPEN, _CLOSE, _MKDIR = os.open, io.open, os.close, os.mkdir
_PWRITE, _WRITE, _FTRUNCATE = os.pwrite, os.write, os.ftruncate


@dataclass(frozen=True)
class Op:
    """One change. `node` is the number of a file; names are relative to the watched folder.

    `what`: make, folder, write, cut, rename, link, unlink, rmdir, sync, sync_folder, sync_all.
    """

    what: str
    name: str = ""
    to: str = ""
    node: int = -1
    at: int = 0
    data: bytes = b""


def _nothing(op: Op) -> None:
    return None


class OsCalls:
    """Notes in `ops` what happens below `root`.

    `before` hears of each first: it may raise an OSError, and for a write it may say how many bytes are taken
    at most.
    """

    def __init__(self, root: Path, before: Callable[[Op], int | None] = _nothing) -> None:
        self.root = os.path.realpath(root)
        self.ops: list[Op] = []
        self.before = before
        self._lock = threading.RLock()
        self._nodes: dict[tuple[int, int], int] = {}
        self._held: dict[int, tuple[int, str]] = {}  # descriptor: file (-1: a folder) and name
        self._next = 0

    @contextmanager
    def watching(self) -> Iterator[OsCalls]:
        """While inside, all threads of the process are watched."""
        ours = {
            "open": self._open, "close": self._close, "pwrite": self._pwrite, "write": self._write,
            "ftruncate": self._ftruncate, "fsync": self._fsync, "fdatasync": self._fsync,
            "mkdir": self._mkdir,
            **{name: self._mover(name) for name in ("rename", "replace", "link")},
            **{name: self._remover(name) for name in ("unlink", "remove", "rmdir")},
        }  # fmt: skip
        with (
            mock.patch.multiple(os, **ours),
            mock.patch.object(builtins, "open", self._io_open),
            mock.patch.object(io, "open", self._io_open),
            mock.patch.object(hashing, "_syncfs", self._syncfs),
        ):
            yield self

    def node_of(self, path: str) -> int:
        """The number of the file with this name; files that were there before get theirs now."""
        found = os.stat(path)
        return self._nodes.setdefault((found.st_dev, found.st_ino), self._number())

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _name(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The name below the watched folder, or None for what is elsewhere."""
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        above = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        whole = os.path.normpath(os.path.join(above, text))
        ours = whole == self.root or whole.startswith(self.root + "/")
        return os.path.relpath(whole, self.root) if ours else None

    def _do(self, op: Op, act: Callable[[int | None], Any]) -> Any:
        """`act` gets the most bytes to write; what it returns for a write is how many were written."""
        with self._lock:
            most = self.before(op)
            done = act(most)
            if op.what == "write":
                op = Op(op.what, op.name, node=op.node, at=op.at, data=op.data[:done])
            self.ops.append(op)
            return done

    # descriptors

    def _open_at(self, path: Any, flags: int, mode: int, dir_fd: int | None) -> int:
        name = self._name(path, dir_fd)
        if name is None:
            return _OPEN(path, flags, mode, dir_fd=dir_fd)
        with self._lock:
            new = flags & os.O_CREAT and not os.path.lexists(os.path.join(self.root, name))
            if new:
                self.before(Op("make", name))
            elif flags & os.O_TRUNC:
                self.before(Op("cut", name))
            descriptor = _OPEN(path, flags, mode, dir_fd=dir_fd)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                self._held[descriptor] = (-1, name)
                return descriptor
            key = (found.st_dev, found.st_ino)
            if new:
                self._nodes[key] = self._number()  # the kernel gives numbers of removed files again
                self.ops.append(Op("make", name, node=self._nodes[key]))
            node = self._nodes.setdefault(key, self._number())
            if flags & os.O_TRUNC and not new:
                self.ops.append(Op("cut", name, node=node))
            self._held[descriptor] = (node, name)
            return descriptor

    # what the os module's functions become

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return self._open_at(path, flags, mode, dir_fd)

    def _close(self, descriptor: int) -> None:
        self._held.pop(descriptor, None)
        _CLOSE(descriptor)

    def _pwrite(self, descriptor: int, data: Any, at: int) -> int:
        if descriptor not in self._held:
            return _PWRITE(descriptor, data, at)
        node, name = self._held[descriptor]
        op = Op("write", name, node=node, at=at, data=bytes(data))
        return int(self._do(op, lambda most: _PWRITE(descriptor, memoryview(data)[:most], at)))

    def _write(self, descriptor: int, data: Any) -> int:
        if descriptor not in self._held:
            return _WRITE(descriptor, data)
        node, name = self._held[descriptor]
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        op = Op("write", name, node=node, at=at, data=bytes(data))
        return int(self._do(op, lambda most: _WRITE(descriptor, memoryview(data)[:most])))

    def _ftruncate(self, descriptor: int, size: int) -> None:
        if descriptor not in self._held:
            return _FTRUNCATE(descriptor, size)
        node, name = self._held[descriptor]
        return self._do(Op("cut", name, node=node, at=size), lambda _: _FTRUNCATE(descriptor, size))

    def _fsync(self, descriptor: int) -> None:
        if descriptor not in self._held:
            return None
        node, name = self._held[descriptor]
        what = "sync" if node >= 0 else "sync_folder"
        return self._do(Op(what, name, node=node), lambda _: None)

    def _syncfs(self, descriptor: int) -> bool:
        self._do(Op("sync_all"), lambda _: None)
        return True

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = self._name(path, dir_fd)
        if name is None or os.path.lexists(os.path.join(self.root, name)):
            return _MKDIR(path, mode, dir_fd=dir_fd)
        return self._do(Op("folder", name), lambda _: _MKDIR(path, mode, dir_fd=dir_fd))

    def _mover(self, what: str) -> Callable[..., None]:
        real = getattr(os, what)

        def move(old: Any, new: Any, **more: Any) -> None:
            name, to = self._name(old), self._name(new)
            if name is None or to is None or not os.path.lexists(os.path.join(self.root, name)):
                return real(old, new, **more)
            op = Op("link" if what == "link" else "rename", name, to, self._file_at(name))
            return self._do(op, lambda _: real(old, new, **more))

        return move

    def _file_at(self, name: str) -> int:
        path = os.path.join(self.root, name)
        return -1 if os.path.isdir(path) else self.node_of(path)

    def _remover(self, what: str) -> Callable[..., None]:
        real = getattr(os, what)

        def remove(path: Any, *, dir_fd: int | None = None) -> None:
            name = self._name(path, dir_fd)
            if name is None or not os.path.lexists(os.path.join(self.root, name)):
                return real(path, dir_fd=dir_fd)
            op = Op("rmdir" if what == "rmdir" else "unlink", name)
            return self._do(op, lambda _: real(path, dir_fd=dir_fd))

        return remove

    def _io_open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
        newline: Any = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wax+") or self._name(file) is None:
            return _IO_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        body = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return body if "b" in mode else io.TextIOWrapper(body, encoding or "utf-8", errors, newline)


class _Raw(io.FileIO):
    """What `open` gives: its writes are noted too."""

    def __init__(self, calls: OsCalls, path: Any, mode: str) -> None:
        self._calls, self._appends = calls, "a" in mode
        super().__init__(path, mode, opener=lambda p, flags: calls._open_at(p, flags, 0o666, None))

    def write(self, data: Any) -> int:
        node, name = self._calls._held[self.fileno()]
        at = os.fstat(self.fileno()).st_size if self._appends else self.tell()
        op = Op("write", name, node=node, at=at, data=bytes(data))
        return int(self._calls._do(op, lambda most: super(_Raw, self).write(memoryview(data)[:most])))

    def truncate(self, size: int | None = None) -> int:
        node, name = self._calls._held[self.fileno()]
        to = self.tell() if size is None else size
        op = Op("cut", name, node=node, at=to)
        return int(self._calls._do(op, lambda _: super(_Raw, self).truncate(to)))

    def close(self) -> None:
        if not self.closed:
            self._calls._held.pop(self.fileno(), None)
        super().close()
