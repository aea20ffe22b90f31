"""The plain pull: a URI into a folder, with no server and no cache (`forebay pull URI DIR`).

Parts and a record of what was pulled lie in `DIR/.forebay-parts/`. A second run asks the source what the URI
means now and fetches only what is not there: a file counts as there if its record, size and modification time
agree, or if it hashes to what the source promises.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from forebay.api.names import storage_key
from forebay.errors import Invalid
from forebay.kit.disk import RealDisk, make_folders, sync_folder
from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import parsed
from forebay.pull import journal
from forebay.pull.clockwork import Trip
from forebay.pull.digests import Digests
from forebay.pull.engine import fetch
from forebay.pull.limits import Limits
from forebay.pull.model import Finished, Hooks, Plan, Progress, Report, Settings
from forebay.pull.parts import disk_errors
from forebay.pull.stopping import waiting
from forebay.sources.archives import empty_folders
from forebay.sources.file import local_path
from forebay.sources.layers import unpack_listing
from forebay.sources.paths import short_name
from forebay.sources.peer import peers_from
from forebay.sources.settings import flag
from forebay.sources.table import resolve, scheme_of
from forebay.sources.types import Listing, RemoteFile

PARTS = ".forebay-parts"


@dataclass(frozen=True)
class Watching:
    """What the caller of a plain pull may say and see."""

    on_progress: Callable[[Progress], None] = lambda _: None
    stop: threading.Event | None = None
    limits: Limits | None = None
    on_report: Callable[[Report], None] = lambda _: None


def pull_to(
    uri: str, dest: Path, *, env: Mapping[str, str], settings: Settings, watching: Watching | None = None,
    revision: str = "",
) -> Report:  # fmt: skip
    """Bring what `uri` means now into the folder `dest`; raises the eight errors.

    file:// is linked as KServe does (FOREBAY_FILE_COPY=1 copies); a single archive is unpacked and not kept.
    """
    watching = watching or Watching()
    if scheme_of(uri) == "file" and not flag(env, "FOREBAY_FILE_COPY"):
        listing = resolve(uri, env, revision)[1]
        if not listing.unpack:
            return _link(listing, dest)
    with Trip(watching.on_report) as trip:
        with trip.stage("resolve"), waiting(watching.stop):
            source, listing = resolve(uri, env, revision)
            peers = peers_from(env, listing, storage_key(uri))
        folder = _Folder(dest, listing)
        stop = watching.stop or threading.Event()
        hooks = Hooks(folder.have, watching.on_progress, stop, watching.limits or Limits(), trip.fetched)
        plan = Plan(listing, (*peers, source), folder.parts, folder.parts / "damaged", folder.publish)
        fetch(plan, settings=settings, hooks=hooks, env=env)
        with trip.stage("commit"):
            folder.make(listing.folders)
            if listing.unpack:
                folder.unpack()
    return trip.report


def _link(listing: Listing, dest: Path) -> Report:
    """Symbolic links to what lies in a local folder (KServe: _download_local), or, where patterns choose, to
    each file."""
    root = local_path(listing.uri)
    targets = {p.name: p for p in ([root] if root.is_file() else sorted(root.iterdir()))}
    if listing.allow or listing.ignore:
        targets = {file.path: Path(file.locator) for file in listing.files}
    with disk_errors(f"link into {dest}"):
        dest.mkdir(parents=True, exist_ok=True)
        for name, target in targets.items() if not root.samefile(dest) else ():
            _link_one(dest / name, target, dest)
    return Report(files=len(listing.files), files_had=len(listing.files), bytes_total=0)


def _link_one(link: Path, target: Path, dest: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.parent.resolve().is_relative_to(dest.resolve()):
        raise Invalid(f"{link.parent} leads out of {dest} through a link; remove the link")
    if link.is_symlink():
        link.unlink()
    if link.exists():
        raise Invalid(f"{link} is there already and is no link; remove it or choose another folder")
    link.symlink_to(target)


class _Folder:
    """The target of a plain pull and its record."""

    def __init__(self, dest: Path, listing: Listing) -> None:
        self.dest, self.listing = dest, listing
        self.parts = dest / PARTS
        with suppress(OSError):  # where nobody may write all may be there; if not, the engine says so
            make_folders(RealDisk(), self.parts)
        self._record = self.parts / "pulled.jsonl"
        self._read, self._known = _size(self._record), _load(self._record)
        self._made: set[Path] = set()
        self._base = listing.identity

    def have(self, file: RemoteFile) -> bool:
        """Whether the file is there already, whole."""
        known = self._known.get(file.path, _NOTHING)
        if self._is_packed(file):
            return self._have_packed(file, known)
        same = known.mark == _mark(journal.identity(file, self._base))
        seen = _stat(self.dest / file.path)
        if seen is None or (file.size is not None and seen[0] != file.size):
            return False
        if same and seen == known.stat:
            return True
        if self._others_wrote():
            return self.have(file)
        if not (file.sha256 or file.git_sha1) or not _hashes(file, self.dest / file.path, seen[0]):
            return False
        self._note(file.path, {"identity": journal.identity(file, self._base), "stat": seen})
        return True

    def _others_wrote(self) -> bool:
        """Whether another pull into this folder has written to the record since it was read; reads it."""
        size = _size(self._record)
        if size == self._read:
            return False
        self._read, self._known = size, _load(self._record)
        return True

    def _have_packed(self, file: RemoteFile, known: _Known) -> bool:
        """Whether all that the archive gave lies there, or the archive itself still waits to be unpacked."""
        if known.mark == _mark(self._packed_identity(file)) and known.unpacked:
            return all(_stat(self.dest / p) == s for p, s in known.unpacked.items())
        seen = _stat(self._archive(file))
        return seen is not None and bool(file.sha256) and _hashes(file, self._archive(file), seen[0])

    def _packed_identity(self, file: RemoteFile) -> str:
        """What came out of an archive depends on those beside it and on the patterns, too."""
        listing = self.listing
        beside = f"{listing.revision} {listing.allow} {listing.ignore}"
        return f"{journal.identity(file, self._base)} {beside}"

    def publish(self, batch: Sequence[Finished]) -> None:
        """Give verified files their names; an archive waits in the parts for its unpacking."""
        folders: set[Path] = set()
        with disk_errors(f"publish into {self.dest}"):
            for item in batch:
                packed = self._is_packed(item.file)
                target = self._archive(item.file) if packed else self._target(item.file.path)
                item.part.replace(target)
                folders.add(target.parent)
            failpoint("pull.folder.renamed")
            self._sync(folders)
            lines = {}
            for item in batch:
                if self._is_packed(item.file):
                    continue
                about = {"identity": journal.identity(item.file, self._base), "sha256": item.sha256,
                         "observed": item.observed, "stat": _stat(self.dest / item.file.path)}  # fmt: skip
                lines[item.file.path] = about
            self._write(lines)

    def _sync(self, folders: set[Path]) -> None:
        """Make the names in these folders durable, and those of the folders up to the target."""
        above = {up for folder in folders for up in folder.parents if up.is_relative_to(self.dest)}
        for folder in sorted(folders | above, reverse=True):
            sync_folder(folder)

    def _is_packed(self, file: RemoteFile) -> bool:
        return self.listing.unpack and not file.plain

    def _archive(self, file: RemoteFile) -> Path:
        return self.parts / short_name("archive-" + file.path.rpartition("/")[2])

    def _target(self, path: str) -> Path:
        target = self.dest / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.parent.resolve().is_relative_to(self.dest.resolve()):
                raise Invalid(f"{target.parent} leads out of {self.dest} through a link; remove the link")
            self._made.add(target.parent)
        return target

    def make(self, folders: Sequence[str]) -> None:
        """Folders that hold nothing, and are wanted all the same."""
        with disk_errors(f"make folders in {self.dest}"):
            self._sync({self._target(f"{path}/-").parent for path in folders})

    def unpack(self) -> None:
        """Unpack the archives that were fetched, if they were; then they go."""
        packed = [f for f in self.listing.files if self._is_packed(f)]
        held = {f.path: self._archive(f) for f in packed}
        if not all(archive.exists() for archive in held.values()):
            return
        staging = self.parts / "unpacked"
        shutil.rmtree(staging, ignore_errors=True)
        with disk_errors(f"unpack into {self.dest}"):
            try:
                paths = unpack_listing(self.listing, held, staging)
                empty = empty_folders(staging)
                for path in paths:
                    (staging / path).replace(self._target(path))
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            self._sync({(self.dest / p).parent for p in paths})
            self.make(empty)
            stats = {p: _stat(self.dest / p) for p in paths}
            self._write({f.path: {"identity": self._packed_identity(f), "unpacked": stats} for f in packed})
            for archive in held.values():
                archive.unlink()

    def _note(self, path: str, about: dict[str, object]) -> None:
        with suppress(OSError):  # then it is hashed again the next time
            self._write({path: about})

    def _write(self, lines: Mapping[str, Mapping[str, object]]) -> None:
        text = "".join(json.dumps({"path": path, **about}) + "\n" for path, about in lines.items())
        with open(self._record, "a", encoding="utf-8") as record:
            record.write(text)
        self._read += len(text.encode())  # what is ours; others' lines make it differ from the file's size
        self._known.update({path: _known(about) for path, about in lines.items()})


class _Known(NamedTuple):
    """What is looked at of a line of the record: there may be a hundred thousand."""

    mark: bytes  # of the identity
    stat: object = None
    unpacked: Mapping[str, object] | None = None


_NOTHING = _Known(b"")


def _mark(identity: object) -> bytes:
    return sha256(str(identity).encode()).digest()


def _known(about: Mapping[str, object]) -> _Known:
    stat, unpacked = about.get("stat"), about.get("unpacked")
    return _Known(_mark(about.get("identity")), stat, unpacked if isinstance(unpacked, dict) else None)


def _load(path: Path) -> dict[str, _Known]:
    """The last line about each path; a torn line is as good as none."""
    out: dict[str, _Known] = {}
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                item = parsed(line)
                out[str(item["path"])] = _known(item)
    return out


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _hashes(file: RemoteFile, path: Path, size: int) -> bool:
    """Whether the bytes at `path` are what the source promised."""
    digests = Digests(file, size)
    with suppress(OSError), open(path, "rb", buffering=0) as body:
        buffer = memoryview(bytearray(1 << 20))
        while count := body.readinto(buffer):
            digests.update(buffer[:count])
        return not digests.difference()
    return False


def _stat(path: Path) -> list[int] | None:
    try:
        stat = path.lstat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]
