"""Archives laid one over another, as the layers of a container image: whiteouts, one folder, safe names.

The layers are read from the topmost down and each path is written once, from the layer that has it last; so
nothing is written only to be removed, and a file that an upper layer deletes never reaches the disk.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from forebay.errors import Absent, Damaged
from forebay.sources import archives
from forebay.sources.links import inside, lay
from forebay.sources.paths import check_together, safe_path
from forebay.sources.settings import wanted
from forebay.sources.types import Listing

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image spec, layer.md
_READ = 1 << 20


def unpack_listing(listing: Listing, held: Mapping[str, Path], into: Path) -> list[str]:
    """Unpack the archives of `listing`, which lie at `held` (by path), into the empty folder `into`, durably.

    Returns the relative paths of the files; empty folders are there, too, unless patterns chose.
    Raises Damaged, Exhausted, Invalid, and Absent when nothing of it is wanted.
    """
    packed = [f for f in listing.files if not f.plain]
    if len(packed) == 1 and not listing.folder:
        done = _chosen(listing, archives.unpack(held[packed[0].path], into), into)
    else:
        done = _layers(listing, [held[f.path] for f in packed], into)
    check_together([*done, *(f.path for f in listing.files if f.plain)])
    if not done and listing.folder:
        where = f"/{listing.folder} folder"
        raise Absent(
            f"{listing.uri} holds no {where}: put the model there (modelcar layout) and push it again"
        )
    if not done and (listing.allow or listing.ignore):
        raise Absent(f"no file of {listing.uri} passes STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS")
    return done


def _chosen(listing: Listing, done: Sequence[str], into: Path) -> list[str]:
    kept = [path for path in done if wanted(path, listing.allow, listing.ignore)]
    for path in set(done) - set(kept):
        (into / path).unlink()
    if listing.allow or listing.ignore:  # which were empty, and which are now?
        for folder in archives.empty_folders(into):
            _without(into, into / folder)
    return kept


def _without(root: Path, folder: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _layers(listing: Listing, layers: Sequence[Path], into: Path) -> list[str]:
    most = sum(path.stat().st_size for path in layers) * archives.RATIO_MAX + archives.SLACK
    into.mkdir(parents=True, exist_ok=True)
    work = _Laying(listing, into, most)
    for layer in reversed(layers):
        try:
            work.lay(layer)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise Damaged(f"the layer {layer.name} cannot be unpacked: {error}") from error
        except OSError as error:
            raise archives.refused(f"the layer {layer.name}", error) from error
    work.lay_links()
    return sorted(work.done)


@dataclass
class _Laying:
    """What the layers read so far, which lie above the next one, have said."""

    listing: Listing
    into: Path
    left: int  # bytes that may still be read out of the archives
    entries: int = 0
    files: set[str] = field(default_factory=set)  # what a lower layer cannot change, wanted or not
    folders: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)  # whited out: the path and all below it
    done: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # symbolic ones: where each leads

    def lay_links(self) -> None:
        """Make the links, once all layers are there, what they lead to."""
        most = max(0, archives.ENTRIES_MAX - len(self.done))
        try:
            made = lay(self.into, self.links, entries_max=most, bytes_max=self.left, needed=self._wanted)
        except OSError as error:
            raise archives.refused(f"the links of {self.listing.uri}", error) from error
        for path in made:
            if self._wanted(path):
                self.done.append(path)
            else:
                (self.into / path).unlink()

    def lay(self, layer: Path) -> None:
        """Take from one layer what no upper one has or hides."""
        white: set[str] = set()  # a layer's whiteouts say nothing about the layer itself
        own: set[str] = set()
        folders: set[str] = set()
        with archives.opened_tar(layer) as tar:
            for path, item in self._below(tar):
                folder, _, name = path.rpartition("/")
                if name == _OPAQUE:
                    white.add(folder)
                elif name.startswith(_WHITEOUT):
                    white.add(f"{folder}/{name[len(_WHITEOUT) :]}".lstrip("/"))
                elif item.isdir():
                    folders.add(path)
                    self._folder(path)
                elif path and self._covered(path):
                    white.add(path)  # not seen itself, it still hides a folder of lower layers
                elif path:
                    if item.issym():
                        self.links[safe_path(path)] = inside(path, item.linkname)
                    else:
                        self._take(tar, item, path, own)
                    own.add(path)
        self.files |= own
        self.folders |= folders | {parent for path in own | folders for parent in _parents(path)}
        self.hidden |= white

    def _below(self, tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
        """Entries below the listing's folder, under the names they will have."""
        prefix = f"{self.listing.folder}/" if self.listing.folder else ""
        for item in tar:
            self.entries += 1
            self.left -= max(0, item.size)
            if self.entries > 10 * archives.ENTRIES_MAX or self.left < 0:
                raise Damaged(f"{self.listing.uri} unpacks to far more than its size; it was not unpacked")
            name = item.name.removeprefix("./").strip("/")
            if name == f"{_WHITEOUT}{self.listing.folder}" and prefix:
                yield _OPAQUE, item  # the whole folder was removed and perhaps made anew
            elif name.startswith(prefix) and name != prefix:
                yield name[len(prefix) :], item

    def _wanted(self, path: str) -> bool:
        return wanted(path, self.listing.allow, self.listing.ignore)

    def _folder(self, path: str) -> None:
        if path and not self._covered(path) and not (self.listing.allow or self.listing.ignore):
            (self.into / safe_path(path)).mkdir(parents=True, exist_ok=True)

    def _covered(self, path: str) -> bool:
        if path in self.files or path in self.folders or path in self.hidden or "" in self.hidden:
            return True
        return any(parent in self.files or parent in self.hidden for parent in _parents(path))

    def _take(self, tar: tarfile.TarFile, item: tarfile.TarInfo, path: str, own: set[str]) -> None:
        target = self.into / safe_path(path)
        if not self._wanted(path):
            return
        if item.islnk():
            self._link(item, path, own)
        elif item.isreg() and (body := tar.extractfile(item)) is not None:
            with body:
                _write(body, target)
        else:
            raise Damaged(f"{self.listing.uri} holds {path!r}, which is no plain file; leave it out")
        self.done.append(path)

    def _link(self, item: tarfile.TarInfo, path: str, own: set[str]) -> None:
        """A second name of a file of the same layer (how tar stores hard links)."""
        first = item.linkname.removeprefix("./").strip("/")
        first = first.removeprefix(f"{self.listing.folder}/" if self.listing.folder else "")
        if first not in own or first not in self.done:
            raise Damaged(f"{self.listing.uri} holds {path!r}, a link to {first[:200]!r}, which is not in it")
        with open(self.into / first, "rb") as body:
            _write(body, self.into / path)


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _write(body: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as out:
        while piece := body.read(_READ):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
