"""Links in archives become what they lead to in the same archive: a file's second name, or a folder of such.

Nothing below the target is ever a symbolic link, so no entry is written through one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from forebay.errors import Damaged
from forebay.sources.paths import safe_path

CHAIN_MAX = 40  # links that lead to links, one after the other: as many as Linux follows


def inside(path: str, to: str) -> str:
    """Where in the archive a symbolic link at `path` leads. Raises Damaged if that is elsewhere, or goes up
    again behind a name (which might be a link, too)."""
    parts, down = path.split("/")[:-1], False
    for part in to.split("/"):
        if part in ("", "."):
            down = down or to.startswith("/")
        elif part != "..":
            parts.append(part)
            down = True
        elif parts and not down:
            parts.pop()
        else:
            raise _astray(path, to)
    if to.startswith("/") or not to:
        raise _astray(path, to)
    return "/".join(parts)


def lay(
    into: Path, links: Mapping[str, str], *, entries_max: int, bytes_max: int,
    needed: Callable[[str], bool] = lambda _: True,
) -> list[str]:  # fmt: skip
    """Give the files below `into` the names that `links` (path: where it leads) want; returns those names.

    A link may lead to another one, or into the folder that another one leads to. Raises Damaged for one that
    is `needed` and leads nowhere or to a folder it lies in, or if all together are far too many; and the
    disk's errors.
    """
    work, waiting, done = _Laying(into, entries_max, bytes_max), dict(links), list[str]()
    for _ in range(CHAIN_MAX):
        growing = {parent for path in waiting for parent in _above(path)}  # copied when they are whole
        ready = [p for p, to in waiting.items() if (into / to).exists() and to not in growing]
        for path in ready:
            done += work.name(path, waiting.pop(path))
        if not ready:
            lost = [p for p, to in waiting.items() if not (into / to).exists() and not needed(p)]
            waiting = {p: to for p, to in waiting.items() if p not in lost}
            if not lost:
                break
    for path, to in waiting.items():
        raise _astray(path, to)
    return done


def _above(path: str) -> Iterator[str]:
    yield ""
    yield from (path[:at] for at, letter in enumerate(path) if letter == "/")


class _Laying:
    def __init__(self, into: Path, entries_max: int, bytes_max: int) -> None:
        self.into, self.entries, self.bytes = into, entries_max, bytes_max

    def name(self, path: str, to: str) -> Iterator[str]:
        """Names of the files that `path` brings, each made."""
        target, source = self.into / safe_path(path), self.into / to
        if os.path.lexists(target):
            raise Damaged(f"{path[:200]!r} is a link and something else in one archive; it was not unpacked")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            self._file(source, target)
            yield path
            return
        target.mkdir()
        for folder, folders, files in os.walk(source):
            relative = Path(folder).relative_to(source)
            for name in folders:
                self._count()
                (target / relative / name).mkdir()
            for name in files:
                self._file(Path(folder, name), target / relative / name)
                yield (Path(path) / relative / name).as_posix()

    def _file(self, source: Path, target: Path) -> None:
        self._count()
        with suppress(OSError):  # a disk without second names, or too many of one file
            target.hardlink_to(source)
            return
        self.bytes -= source.stat().st_size
        if self.bytes < 0:
            raise Damaged("the links of the archive unpack to far more than its size; it was not unpacked")
        shutil.copyfile(source, target)
        with open(target, "rb") as body:
            os.fsync(body.fileno())

    def _count(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise Damaged("the links of the archive unpack to far too many files; it was not unpacked")


def _astray(path: str, to: str) -> Damaged:
    return Damaged(f"the archive holds {path[:200]!r}, a link to {to[:200]!r}, which is not in it (or "
                   "patterns leave it out); put the file there in place of the link")  # fmt: skip
