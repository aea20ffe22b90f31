"""One look at the disk and at what the API said last: the input of decide()."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from forebay.api import quantity
from forebay.api.kinds import Job, LocalModelNode, LocalModelNodeGroup
from forebay.api.meta import Json
from forebay.api.names import GROUP_LABEL, UID_LABEL, entry_key, label_value, node_group_of, status_key
from forebay.api.wishes import is_newer, latest
from forebay.cache import blobs, damage, entitled, gc, manifests, reservations, views
from forebay.cache.adopt import staged_keys
from forebay.cache.entitled import Entitlement
from forebay.cache.evict import Space
from forebay.cache.manifest import Manifest
from forebay.cache.pins import Pin
from forebay.cache.root import Root
from forebay.errors import Damaged, Invalid
from forebay.kit.disk import Info, read
from forebay.kit.foreign import built, parsed
from forebay.node.decide import Ask, Collected, Copy, Entry, JobPhase, JobView, Seen

_STAGING = ".forebay/staging/"
_KEEP_FREE_MOST = 1 << 30
SUFFIXES_MAX = 16  # kinds of files a copy tells
_CLOCK_STEP_S = 2.0  # a folder that changed just now may change again within its time stamp's precision


@dataclass(frozen=True)
class Told:
    """What the API said last, as far as it concerns this node and group."""

    entries: tuple[Entry, ...] | None
    neighbours: tuple[Entry, ...]
    limit: int | None
    jobs: Mapping[str, JobView]
    pins: tuple[Pin, ...]
    pods_known: bool
    waiting: frozenset[str]
    wanted_by_pods: frozenset[str]
    foreign_running: bool
    checking: Mapping[str, tuple[int, int]]
    warming: frozenset[str]
    sweep: str
    paused: bool = False


@dataclass
class Eyes:
    """Reads the root; remembers what has not changed since the last look."""

    root: Root
    trouble: dict[str, str] = field(default_factory=dict)
    _read: dict[str, tuple[Info, Manifest]] = field(default_factory=dict)
    _shards: dict[str, tuple[Info | None, dict[str, int]]] = field(default_factory=dict)

    def look(self, told: Told) -> Seen:
        """Everything decide() may know. Blocking; no lock is held, each action checks again under it."""
        root, there, known = self.root, self._blobs(), self._manifests()
        asks = [Ask(said, reservations.is_alive(root, said)) for said in reservations.find_all(root)]
        records, mine = entitled.find_all(root), _still_good(told)
        copies = {m.key: _copy(m) for m in known if all(there.get(f.sha256) == f.size for f in m.files)}
        return Seen(
            entries=told.entries,
            neighbours=told.neighbours,
            space=self._space(told.limit, [ask.said for ask in asks], there),
            copies=copies,
            views=frozenset(views.standing(root)),
            asks=tuple(asks),
            jobs=told.jobs,
            entitled=frozenset((r.model, r.key) for r in records if mine(r)),
            withdrawn=frozenset((r.model, r.key) for r in records if not mine(r)),
            used=_users(told.pins),
            pods_known=told.pods_known,
            waiting=told.waiting,
            wanted_by_pods=told.wanted_by_pods,
            staged=frozenset(staged_keys(root)),
            evicted=_evicted(root),
            complaints={e.key: why for e in told.entries or () if (why := damage.complaint(root, e.key))},
            trouble=dict(self.trouble),
            checking=told.checking,
            warming=told.warming,
            damaged=_damaged(root, told),
            sweep=told.sweep,
            paused=told.paused,
            collected=_collected(root),
            loose=sum(gc.loose_blobs(root, there, known, to_heal=_to_heal(told, asks)).values()),
            now=root.now(),
            foreign_running=told.foreign_running,
            stale_parts=self._stale_parts(told, asks),
        )

    def _manifests(self) -> list[Manifest]:
        found, before = [], self._read
        folder, self._read = self.root.layout.manifests, {}
        for name in self.root.disk.list(folder):
            info = self.root.disk.info(folder / name)
            if info is None or name.startswith(".") or not name.endswith(".json"):
                continue
            known = before.get(name)
            if known is None or known[0] != info:
                try:
                    manifest = manifests.find(self.root, name.removesuffix(".json"))
                except Damaged:
                    continue
                if manifest is None:
                    continue
                known = (info, manifest)
            self._read[name] = known
            found.append(known[1])
        return found

    def _blobs(self) -> dict[str, int]:
        """Every blob and its bytes; a folder that has not changed is not read again."""
        found: dict[str, int] = {}
        for shard in self.root.disk.list(self.root.layout.blobs):
            info = self.root.disk.info(self.root.layout.blobs / shard)
            known = self._shards.get(shard)
            if known is None or known[0] != info:
                settled = info is not None and info.changed < self.root.now() - _CLOCK_STEP_S
                known = (info if settled else None, blobs.shard_digests(self.root, shard))
                self._shards[shard] = known
            found |= known[1]
        return found

    def _space(self, limit: int | None, asks: list[reservations.Reservation], there: dict[str, int]) -> Space:
        room = self.root.disk.room(self.root.layout.root)
        spare = min(_KEEP_FREE_MOST, room.total // 100)  # a disk that is full to the brim harms its machine
        promised = sum(reservations.outstanding(self.root, said) for said in asks)
        return Space(limit, gc.usage(self.root, there), max(0, room.free - spare), promised)

    def _stale_parts(self, told: Told, asks: list[Ask]) -> bool:
        keep = _wanted(told, asks)
        names = {name.removesuffix(".lock") for name in self.root.disk.list(self.root.layout.parts)}
        return any(n not in keep and not self.root.disk.held(self.root.layout.part_lock(n)) for n in names)


def _wanted(told: Told, asks: list[Ask]) -> set[str]:
    """Keys that a cache names or a live pull works on."""
    named = {entry.key for entry in (*(told.entries or ()), *told.neighbours)}
    return named | {ask.said.key for ask in asks if ask.alive}


def _to_heal(told: Told, asks: list[Ask]) -> set[str] | None:
    """Damaged models that will come again; None as long as nobody knows."""
    return None if told.entries is None else _wanted(told, asks)


def entries_of(node: LocalModelNode, group: str) -> tuple[Entry, ...]:
    """The entries of one group; an entry without a group is everyone's."""
    found = []
    for raw in node.spec.get("localModels") or ():
        if node_group_of(raw) in ("", group):
            found.append(Entry(
                _model(raw), str(raw.get("sourceModelUri") or ""), entry_key(raw),
                str(raw.get("cacheUid") or ""), raw.get("pinned") is True,
                str(raw.get("verifyRequested") or ""), str(raw.get("warmRequested") or ""),
            ))  # fmt: skip
    return tuple(found)


def neighbours_of(
    node: LocalModelNode, group: str, groups: Iterable[LocalModelNodeGroup]
) -> tuple[Entry, ...]:
    """The entries of the other groups whose volumes are the same folder as this group's."""
    places = {item.name: _place(item) for item in groups}
    mine = places.get(group)
    names = {name for name, place in places.items() if name != group and place == mine} if mine else ()
    return tuple(entry for name in sorted(names) for entry in entries_of(node, name))


def _place(group: LocalModelNodeGroup) -> str:
    """The folder of a group's volume on its nodes; "" where it has none."""
    volume: Json = group.spec.get("persistentVolumeSpec") or {}
    source: Json = volume.get("local") or volume.get("hostPath") or {}
    return str(source.get("path") or "").rstrip("/")


def listed(node: LocalModelNode) -> frozenset[str]:
    """Status keys of all entries, whatever their group."""
    return frozenset(_model(raw) for raw in node.spec.get("localModels") or ())


def limit_of(group: LocalModelNodeGroup | None) -> int | None:
    """spec.storageLimit in bytes, or None without one."""
    try:
        text = (group.spec if group is not None else {}).get("storageLimit")
        return quantity.value(text) if text not in (None, "") else None
    except Invalid:
        return None


def jobs_of(node: LocalModelNode, jobs: Iterable[Job]) -> dict[str, JobView]:
    """The newest Job of each entry, by its status key."""
    of_model: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if not job.deleting:
            where = (job.labels.get("modelNamespace", ""), job.labels.get("model", ""))
            of_model.setdefault(where, []).append(job)
    found = {}
    for raw in node.spec.get("localModels") or ():
        where = (str(raw.get("namespace") or ""), label_value(str(raw.get("modelName") or "")))
        mine = [job for job in of_model.get(where, ()) if _is_of(job, raw)]
        if mine:
            found[_model(raw)] = job_view(max(mine, key=_age))
    return found


def _is_of(job: Job, raw: Json) -> bool:
    """A Job of an earlier cache of the same name, or for another group's folder, says nothing of this one."""
    uid, made_for = str(raw.get("cacheUid") or ""), job.labels.get(UID_LABEL, "")
    group, into = label_value(node_group_of(raw)), job.labels.get(GROUP_LABEL, "")
    return (not (uid and made_for) or uid == made_for) and (not (group and into) or group == into)


def job_view(job: Job) -> JobView:
    """Phase, message and kind of a download Job."""
    conditions = {c.get("type"): c for c in job.status.get("conditions") or () if c.get("status") == "True"}
    phase: JobPhase = "active"
    if "Complete" in conditions or (job.status.get("succeeded") or 0) > 0:
        phase = "succeeded"
    elif "Failed" in conditions:
        phase = "failed"
    return JobView(phase, str(conditions.get("Failed", {}).get("message") or ""), _is_foreign(job))


def _is_foreign(job: Job) -> bool:
    pod: Json = (job.spec.get("template") or {}).get("spec") or {}
    mounts = [
        mount for container in pod.get("containers") or () for mount in container.get("volumeMounts") or ()
    ]
    return any(str(mount.get("subPath") or "").startswith(_STAGING) for mount in mounts)


def _age(job: Job) -> tuple[int, str, str]:
    attempt = job.labels.get("forebay.dev/attempt", "1")
    return (
        int(attempt) if attempt.isdecimal() else 1,
        str(job.meta.get("creationTimestamp") or ""),
        job.name,
    )


def _model(raw: Json) -> str:
    return status_key(str(raw.get("namespace") or ""), str(raw.get("modelName") or ""))


def _copy(manifest: Manifest) -> Copy:
    return Copy(
        manifest.key, manifest.revision, manifest.size, manifest.blobs, manifest.last_used, manifest.pinned,
        manifest.phases, manifest.sources, len(manifest.files), manifest.created,
        manifest.verified, manifest.verified_for, manifest.warmed, manifest.warmed_for, manifest.resident,
        manifest.refreshed_for, suffixes_of(f.path for f in manifest.files),
    )  # fmt: skip


def suffixes_of(paths: Iterable[str]) -> tuple[str, ...]:
    """The suffixes among the files' names, in lower case, each once; a file without one has "". None of them
    where there are too many kinds to tell."""
    found = {PurePosixPath(path).suffix.lower() for path in paths}
    return tuple(sorted(found)) if len(found) <= SUFFIXES_MAX else ()


def _still_good(told: Told) -> Callable[[Entitlement], bool]:
    """Records count for the cache that has shown them, not for one made anew under its name."""
    uids = {(e.model, e.key): e.uid for e in (*(told.entries or ()), *told.neighbours)}
    return lambda record: not record.withdrawn and record.is_of(uids.get((record.model, record.key), ""))


def _damaged(root: Root, told: Told) -> dict[str, tuple[str, ...]]:
    """What the check that was asked for last has found, by storage key, until the next one is asked for."""
    asked = {
        e.key: latest(o.verify for o in told.entries or () if o.key == e.key) for e in told.entries or ()
    }
    found: dict[str, set[str]] = {}
    for note in damage.notes(root) if any(asked.values()) else ():
        for key in note.keys:
            if asked.get(key) and note.wish and not is_newer(asked[key], note.wish):
                found.setdefault(key, set()).update(note.paths)
    return {key: tuple(sorted(paths)) for key, paths in found.items()}


def _collected(root: Root) -> Collected:
    try:
        return built(Collected, parsed(read(root.disk, root.layout.collected)))
    except (ValueError, FileNotFoundError):
        return Collected()


def _users(pins: Iterable[Pin]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pin in pins:
        for key in pin.keys:
            found[key] = (*found.get(key, ()), pin.pod)
    return found


def _evicted(root: Root) -> dict[str, str]:
    found = {}
    for name in root.disk.list(root.layout.evicted):
        try:
            found[name.removesuffix(".json")] = str(
                parsed(read(root.disk, root.layout.evicted / name))["for"]
            )
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            continue
    return found
