"""A pull into a node's cache: resolve, ask for room, fetch what is missing, commit, write the manifest last.

It runs where FOREBAY_CACHE_ROOT is set, beside the node's agent and with nothing but files between them. What
it promises about a crash stands in the cache's DESIGN.md.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from forebay.api.names import storage_key
from forebay.cache import blobs, entitled, manifests, pins, reservations
from forebay.cache.layout import checked_digest
from forebay.cache.manifest import File, Manifest
from forebay.cache.reservations import Asker, asking
from forebay.cache.reservations import Progress as Told
from forebay.cache.root import Root, open_root, translated
from forebay.errors import Clash, Damaged, ForebayError, Invalid
from forebay.kit.disk import files_below, make_folders, put, read, remove_tree
from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import count, parsed
from forebay.kit.redact import redacted
from forebay.pull.clockwork import Trip
from forebay.pull.earlier import earlier_files
from forebay.pull.engine import fetch
from forebay.pull.folder import Watching
from forebay.pull.limits import Limits
from forebay.pull.model import Finished, Hooks, Plan, Progress, Report, Settings
from forebay.pull.opening import left_of
from forebay.pull.stopping import waiting
from forebay.pull.yielding import RateFile
from forebay.sources.archives import empty_folders
from forebay.sources.layers import unpack_listing
from forebay.sources.peer import peers_from
from forebay.sources.table import resolve
from forebay.sources.types import Listing, RemoteFile, Source

ROOM_WAIT_S = 600.0
OTHER_PULL_WAIT_S = 6 * 3600.0
_TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class Wish:
    """What one download Job asks for, from its environment. `size` in bytes, 0 if nobody said."""

    uri: str
    root: Path
    key: str = ""
    model: str = ""
    revision: str = ""
    size: int = 0
    pod_uid: str = ""
    refresh: bool = False
    refresh_for: str = ""
    cache_uid: str = ""
    room_wait_s: float = ROOM_WAIT_S

    @classmethod
    def from_env(cls, uri: str, env: Mapping[str, str]) -> Wish:
        """FOREBAY_CACHE_ROOT, _STORAGE_KEY, _MODEL, _REVISION, _MODEL_SIZE, _POD_UID, _CACHE_UID, _REFRESH
        (1: take what the name means now even if the model is here), _REFRESH_FOR (the request's time, noted
        in the manifest as its answer), _ROOM_WAIT_S. Raises Invalid.
        """
        try:
            size, wait_s = (
                int(env.get("FOREBAY_MODEL_SIZE") or 0),
                float(env.get("FOREBAY_ROOM_WAIT_S") or ROOM_WAIT_S),
            )
        except ValueError as error:
            raise Invalid(f"FOREBAY_MODEL_SIZE and FOREBAY_ROOM_WAIT_S must be numbers: {error}") from error
        return cls(
            uri,
            Path(env["FOREBAY_CACHE_ROOT"]),
            key=env.get("FOREBAY_STORAGE_KEY", ""),
            model=env.get("FOREBAY_MODEL", ""),
            revision=env.get("FOREBAY_REVISION", ""),
            size=size,
            pod_uid=env.get("FOREBAY_POD_UID", ""),
            refresh=env.get("FOREBAY_REFRESH") == "1",
            refresh_for=env.get("FOREBAY_REFRESH_FOR", ""),
            cache_uid=env.get("FOREBAY_CACHE_UID", ""),
            room_wait_s=wait_s,
        )


def pull_cached(
    uri: str, env: Mapping[str, str], *, watching: Watching | None = None, report: Report | None = None
) -> Manifest:
    """Make sure that the model is in the cache, whole and verified, and that this caller may use it.

    Resolving with one's own credentials is the entitlement check: it happens for cached content too, which
    then moves no bytes. `report` is filled if bytes had to be fetched. Raises the eight errors; the reason is
    left in the reservation, for the node's status.
    """
    wish = Wish.from_env(uri, env)
    root, watching = open_root(wish.root), watching or Watching()
    key = wish.key or storage_key(uri)
    with (
        Trip(watching.on_report, report) as trip, translated(f"the cache {wish.root}"), ExitStack() as held,
    ):  # fmt: skip
        with waiting(watching.stop):  # another pull of this model may be at work
            asked = asking(root, key=key, model=wish.model, uri=redacted(uri), cache_uid=wish.cache_uid)
            asker = held.enter_context(asked)
        try:
            manifest = _Work(root, wish, env, watching, trip).run(key, asker)
        except (ForebayError, OSError) as error:
            known = error if isinstance(error, ForebayError) else None
            with suppress(OSError):  # on such a disk; this error is not the one to be told
                asker.fail(
                    known.message if known else f"the disk of {wish.root} failed; see the log of the Job",
                    code=known.code if known else "unavailable",
                    sources=trip.report.bytes_by_origin,
                    mismatches=trip.report.verification_failures,
                )
            raise
        asker.release()
    return manifest


def puller(env: Mapping[str, str]) -> Callable[[str, Path, Watching], Report] | None:
    """The `puller` of pull_command() and storage_initializer() where FOREBAY_CACHE_ROOT is set, else None."""
    if not env.get("FOREBAY_CACHE_ROOT"):
        return None

    def pull(uri: str, dest: Path, watching: Watching) -> Report:
        report = Report()
        pull_cached(uri, env, watching=watching, report=report)
        return report

    return pull


@dataclass
class _Work:
    """One pull, while it runs."""

    root: Root
    wish: Wish
    env: Mapping[str, str]
    watching: Watching
    trip: Trip
    files: dict[str, File] = field(default_factory=dict)  # by path: what is in the blobs
    folders: tuple[str, ...] = ()  # the empty ones
    _told_at: float = 0.0

    def run(self, key: str, asker: Asker) -> Manifest:
        with self.trip.stage("resolve"), waiting(self.watching.stop):
            source, listing = self._resolve(manifests.find(self.root, key))
        with ExitStack() as lock:
            with self.trip.stage("room"), waiting(self.watching.stop):
                lock.enter_context(self.root.disk.lock(self.root.layout.part_lock(key), OTHER_PULL_WAIT_S))
            manifest = self._kept(self._here(key, listing))
            if manifest is None:
                manifest = self._fetch(key, source, listing, asker)
            else:
                self.trip.report.files = self.trip.report.files_had = len(manifest.files)
                self.trip.report.bytes_total = manifest.size
        failpoint("pull.cached.published")
        if self.wish.model:
            entitled.record(self.root, entitled.Entitlement(
                self.wish.model, key, manifest.uri, manifest.revision, manifest.endpoint, self.root.now(),
                self.wish.pod_uid, cache_uid=self.wish.cache_uid))  # fmt: skip
        return manifest

    def _kept(self, manifest: Manifest | None) -> Manifest | None:
        """What is here stays; a request to resolve the name anew is answered by saying so."""
        if manifest is None or not self.wish.refresh_for:
            return manifest
        answer = self.wish.refresh_for
        return manifests.amend(self.root, manifest.key, lambda now: replace(now, refreshed_for=answer))

    def _resolve(self, known: Manifest | None) -> tuple[Source, Listing]:
        """The listing of the pinned revision; for what is here, any answer shows that we may have it."""
        try:
            return resolve(self.wish.uri, self.env, self.wish.revision)
        except Clash:
            if known is None or known.revision != self.wish.revision:
                raise
            return resolve(self.wish.uri, self.env)

    def _here(self, key: str, listing: Listing) -> Manifest | None:
        """The manifest if it is what was asked for, and whole.

        Raises Clash: the key holds another server's content, or another revision is in use.
        """
        manifest = manifests.find(self.root, key)
        if manifest is None or not blobs.is_whole(self.root, manifest):
            return None
        if manifest.endpoint != listing.endpoint:
            holds, asked = manifest.endpoint or "the default server", listing.endpoint or "the default server"
            raise Clash(
                f"key {key} holds content of {holds}, not of {asked}; it needs a storage key of its own"
            )
        wanted = listing.revision if self.wish.refresh else self.wish.revision
        if not wanted or manifest.revision == wanted:
            return manifest
        users = pins.users(self.root, key)
        if users:
            raise Clash(f"model {key} is in use by {users[0]} at revision {manifest.revision}; "
                        f"{wanted} comes once no pod uses it")  # fmt: skip
        return None

    def _fetch(self, key: str, source: Source, listing: Listing, asker: Asker) -> Manifest:
        with self.trip.stage("look"):
            self._claim(key, listing)
        with self.trip.stage("room"), waiting(self.watching.stop):
            asker.ask(
                self._needed(key, listing), listing.revision, listing.endpoint, wait_s=self.wish.room_wait_s
            )
        report = self._transfer(key, source, listing, asker)
        with self.trip.stage("commit"):
            self.folders = listing.folders
            if listing.unpack:
                files = self._unpacked(key, listing)
            else:
                files = tuple(self.files[f.path] for f in listing.files)
        phases = {**report.seconds, **self.trip.stages, "transfer": report.wall_s}
        manifest = Manifest(
            key, redacted(self.wish.uri), listing.revision, files, listing.endpoint,
            created=self.root.now(), last_used=self.root.now(),
            phases={name: round(s, 4) for name, s in phases.items() if name != "idle"},
            sources=dict(report.bytes_by_origin), refreshed_for=self.wish.refresh_for,
            folders=self.folders,
        )  # fmt: skip
        manifests.publish(self.root, manifest)
        return manifest

    def _transfer(self, key: str, source: Source, listing: Listing, asker: Asker) -> Report:
        layout = self.root.layout
        make_folders(self.root.disk, layout.part_files(key))

        def publish(batch: Sequence[Finished]) -> None:
            with translated(f"the cache {self.root.layout.root}"):  # the engine knows no errors but ours
                self._remember(key, listing, batch)
                failpoint("pull.cached.verified")
                blobs.keep(self.root, key, [(done.part, done.sha256) for done in batch])
                failpoint("pull.cached.kept")
            for done in batch:
                self.files[done.file.path] = File(done.file.path, done.size, done.sha256, not done.observed)

        limits = self.watching.limits or Limits()
        file = RateFile(layout.ours / "rate", limits, sharers=self._pulls)

        def tell(progress: Progress) -> None:
            file.look()
            self.watching.on_progress(progress)
            if time.monotonic() - self._told_at >= _TELL_EVERY_S:
                self._told_at = time.monotonic()
                asker.progress(_told(progress, self.root.now()))

        with self.trip.stage("resolve"), waiting(self.watching.stop):
            peers = peers_from(self.env, listing, key)
        plan = Plan(listing, (*peers, source), layout.part_files(key), layout.damaged, publish)
        hooks = Hooks(
            have=lambda file: file.path in self.files,
            on_progress=tell,
            stop=self.watching.stop or threading.Event(),
            limits=limits,
            on_report=self.trip.fetched,
        )
        return fetch(plan, settings=Settings.from_env(self.env), hooks=hooks, env=self.env)

    def _pulls(self) -> int:
        """Pulls that fetch into this root now: what its rate is shared by."""
        found = reservations.find_all(self.root)
        return sum(said.state == "granted" and reservations.is_alive(self.root, said) for said in found)

    def _claim(self, key: str, listing: Listing) -> None:
        """Hold on to what is here: promised digests, and those that an interrupted pull has observed."""
        known = earlier_files(self.root, key, listing) | _known(self.root, key, listing.revision)
        wanted: dict[str, tuple[RemoteFile, str, int]] = {}
        for file in listing.files:
            seen = known.get(file.path)
            if file.sha256 and file.size is not None:
                wanted[file.path] = (file, file.sha256, file.size)
            elif seen is not None:
                wanted[file.path] = (file, seen.sha256, seen.size)
        claimed = blobs.claim(self.root, key, [(digest, size) for _, digest, size in wanted.values()])
        for path, (file, digest, size) in wanted.items():
            if digest in claimed:
                self.files[path] = File(path, size, digest, bool(file.sha256 or file.git_sha1))

    def _needed(self, key: str, listing: Listing) -> int:
        """Bytes still to be written, as far as anyone knows; an archive needs its room twice. What was left
        of other files, or of another version, goes: it counts for nothing and takes room."""
        left = sum(file.size or 0 for file in listing.files if file.path not in self.files)
        folder = self.root.layout.part_files(key)
        came, kept = left_of(listing, folder, lambda file: file.path not in self.files)
        for path in files_below(self.root.disk, folder):
            if path.name not in kept:
                self.root.disk.unlink(path)
        left -= came
        if listing.unpack:
            left += max(self.wish.size, listing.size or 0)
        return max(0, left if listing.size is not None else max(left, self.wish.size))

    def _unpacked(self, key: str, listing: Listing) -> tuple[File, ...]:
        """The files of the archives and those beside them, each in the blobs. What was promised of the
        archives holds for what they gave.
        """
        layout, into = self.root.layout, self.root.layout.part_folder(key) / "unpacked"
        remove_tree(self.root.disk, into)
        packed = [self.files[f.path] for f in listing.files if not f.plain]
        held = {file.path: layout.part_claims(key) / file.sha256 for file in packed}
        moves, files = [], [self.files[f.path] for f in listing.files if f.plain]
        paths = unpack_listing(listing, held, into)
        self.folders = tuple(empty_folders(into))
        for path in paths:
            digest = blobs.sha256_of(self.root.disk, into / path)
            info = self.root.disk.info(into / path)
            if info is None:
                raise Damaged(f"{path} vanished while it was unpacked; pull it again")
            moves.append((into / path, digest))
            files.append(File(path, info.size, digest, all(file.promised for file in packed)))
        blobs.keep(self.root, key, moves)
        return tuple(files)

    def _remember(self, key: str, listing: Listing, batch: Sequence[Finished]) -> None:
        """Digests that nobody promised are noted before their blobs get a name, so that a resumed pull finds
        them.
        """
        observed = {done.file.path: [done.sha256, done.size] for done in batch if not done.file.sha256}
        if observed:
            folder = self.root.layout.part_known(key)
            make_folders(self.root.disk, folder)
            body = json.dumps({"revision": listing.revision, "files": observed}).encode()
            put(self.root.disk, folder / f"{len(self.root.disk.list(folder))}.json", body)


def _told(progress: Progress, now: float) -> Told:
    return Told(
        progress.bytes_done, progress.bytes_total, progress.rate_bytes_s, progress.eta_s, progress.source,
        progress.phase, now,
    )  # fmt: skip


def _known(root: Root, key: str, revision: str) -> dict[str, File]:
    """What an interrupted pull of this revision has observed; the blobs say whether it still holds."""
    found: dict[str, File] = {}
    folder = root.layout.part_known(key)
    for name in root.disk.list(folder):
        try:
            raw = parsed(read(root.disk, folder / name))
            if raw["revision"] == revision:
                files = raw["files"].items()
                found |= {
                    path: File(path, count(size), checked_digest(digest)) for path, (digest, size) in files
                }
        except (ValueError, KeyError, TypeError, AttributeError, Invalid):
            continue
    return found
