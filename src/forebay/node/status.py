"""What the node's object says of each model: pure.

`modelStatus` has KServe's states; `models` and `groups` are additive: bytes, rate, what is waited for and
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from forebay.api import quantity
from forebay.api.meta import Json
from forebay.api.states import ModelState
from forebay.cache.reservations import Reservation
from forebay.errors import Clash, Exhausted
from forebay.kit.clock import rfc3339, rfc3339_micro
from forebay.node.decide import Copy, Entry, Seen

PROGRESS_EVERY_S = 10.0
_WORST_FIRST = (ModelState.ERROR, ModelState.PENDING, ModelState.DOWNLOADING, ModelState.DOWNLOADED)
_VOLATILE = ("bytesDone", "bytesTotal", "rate", "etaSeconds", "phase", "verifying")


@dataclass(frozen=True)
class Report:
    """This group's part of the node's status."""

    states: Mapping[str, str]
    models: Mapping[str, Json]
    room: Json
    leaving: frozenset[str] = frozenset()  # no longer ours, here until pods end


def report(seen: Seen, group: str) -> Report:
    """The whole part, computed from nothing each time."""
    states, models = {}, {}
    for entry in seen.entries or ():
        state, more = _model(seen, entry)
        states[entry.model] = state.value
        models[entry.model] = {"group": group, "storageKey": entry.key, **_identity(entry), **more}
    kept = {entry.key for entry in (*(seen.entries or ()), *seen.neighbours)}  # stays, so nobody waits
    for model, key in sorted(seen.withdrawn):
        if key in seen.copies and key not in kept and model not in states:
            pods = seen.used.get(key, ())
            states[model] = ModelState.DOWNLOADED.value
            models[model] = {"group": group, "storageKey": key, "message": f"goes when {_few(pods)} ends"}
    leaving = frozenset(models) - {entry.model for entry in seen.entries or ()}
    return Report(states, models, _room(seen), leaving)


def applied(status: Json, mine: Report, group: str, listed: frozenset[str]) -> Json:
    """`status` with this group's part replaced; `listed` are the models that the spec names for any group.

    Of a model that has gone over to another group only that one's agent tells: two would overwrite each
    other.
    """
    elsewhere = mine.leaving & listed
    before = status.get("models") or {}
    ours = {model for model, said in before.items() if said.get("group") == group}
    orphans = {model for model in {*before, *(status.get("modelStatus") or {})} if model not in listed}
    drop = {model for model in ours | orphans if before.get(model, {}).get("group", group) == group}
    states = {m: s for m, s in (status.get("modelStatus") or {}).items() if m not in drop}
    models = {m: s for m, s in before.items() if m not in drop}
    found: Json = {
        **status,
        "modelStatus": {**states, **{m: s for m, s in mine.states.items() if m not in elsewhere}},
        "models": {**models, **{m: s for m, s in mine.models.items() if m not in elsewhere}},
        "groups": {**(status.get("groups") or {}), group: mine.room},
    }
    return {**found, **_summary(found)}


def _summary(status: Json) -> Json:
    """All models of the node in three values, for `kubectl get`: how many are ready, the state of the one
    that is furthest from it, and bytes on the disk."""
    states = list(status["modelStatus"].values())
    worst = next((state for state in _WORST_FIRST if state in states), ModelState.NONE)
    ready = sum(state == ModelState.DOWNLOADED for state in states)
    used = sum(int(room.get("used") or 0) for room in status["groups"].values())
    return {"ready": f"{ready}/{len(states)}", "state": str(worst), "bytes": used,
            "rounded": {"bytes": quantity.rounded(used)}}  # fmt: skip


def is_urgent(before: Json, after: Json) -> bool:
    """Whether more has changed than numbers that move while a pull runs; its first numbers are urgent too."""
    return _steady(before) != _steady(after)


def _steady(status: Json) -> Json:
    models = {
        model: {name: value if name not in _VOLATILE else None for name, value in said.items()}
        for model, said in (status.get("models") or {}).items()
    }
    return {
        "modelStatus": status.get("modelStatus"),
        "models": models,
        "groups": {
            name: (said.get("collected"), said.get("verifyPaused"))
            for name, said in (status.get("groups") or {}).items()
        },
    }


def _model(seen: Seen, entry: Entry) -> tuple[ModelState, Json]:
    copy = seen.copies.get(entry.key)
    entitled = (entry.model, entry.key) in seen.entitled
    if copy is not None and entitled and entry.key in seen.views:
        return ModelState.DOWNLOADED, {
            **_of_copy(copy),
            **_answers(seen, entry, copy),
            **_refused(seen, entry),
        }
    if entry.key in seen.trouble:
        return ModelState.ERROR, {"message": seen.trouble[entry.key]}
    own = next((a for a in seen.asks if a.is_for(entry)), None)
    if own is not None and own.alive and own.said.state != "failed":
        return _of_pull(own.said)
    job = seen.jobs.get(entry.model)
    said = own.said if own is not None and own.said.state == "failed" else None
    failed = said.message if said is not None else ""
    if job is not None and job.phase == "failed":
        why = failed or job.message or "the download failed; see the log of its Job"
        return ModelState.ERROR, {"message": why, **_class_of(said)}
    return _waiting(seen, entry, failed)


def _waiting(seen: Seen, entry: Entry, failed: str) -> tuple[ModelState, Json]:
    other = next(
        (a.said for a in seen.asks if a.alive and a.said.key == entry.key and a.said.state == "granted"), None
    )
    job = seen.jobs.get(entry.model)
    if other is not None and job is not None and job.phase == "active":
        state, more = _of_pull(other)
        return state, {**more, "message": f"shares the download of {other.model}"}
    if entry.key in seen.complaints:
        found = {"verified": {"damaged": list(seen.damaged[entry.key])}} if entry.key in seen.damaged else {}
        return ModelState.PENDING, {"message": seen.complaints[entry.key], "reason": "Damaged", **found}
    if job is not None and job.phase == "active" and job.foreign and entry.key in seen.staged:
        return ModelState.DOWNLOADING, {"message": "a foreign downloader works; it tells no progress"}
    if failed:
        return ModelState.PENDING, {"message": f"an attempt failed: {failed}"}
    if entry.key in seen.evicted:
        return ModelState.PENDING, {
            "message": f"made room for {seen.evicted[entry.key]}; comes back when there is room"
        }
    if entry.key in seen.copies:
        return ModelState.PENDING, {
            "message": "is here; waits until this cache's own credentials reach the source"
        }
    return ModelState.PENDING, {}


def _identity(entry: Entry) -> Json:
    found: Json = {"cacheUid": entry.uid} if entry.uid else {}
    return {**found, "pinned": True} if entry.pinned else found


def _answers(seen: Seen, entry: Entry, copy: Copy) -> Json:
    """What has become of the requests about this model, and of its weekly check."""
    found: Json = {"lastUsed": _time(copy.last_used)} if copy.last_used else {}
    if copy.refreshed_for:
        found["refreshed"] = copy.refreshed_for
    if copy.verified:
        asked = {"requested": copy.verified_for} if copy.verified_for else {}
        damaged = list(seen.damaged.get(entry.key, ()))
        found["verified"] = {**asked, "time": _time(copy.verified), "files": copy.files, "damaged": damaged}
    elif entry.key in seen.damaged:
        found["verified"] = {"damaged": list(seen.damaged[entry.key])}
    if copy.warmed_for:
        share = {} if copy.resident is None else {"residentShare": copy.resident}
        found["warmed"] = {"requested": copy.warmed_for, "time": _time(copy.warmed), **share}
    if entry.key in seen.checking:
        done, total = seen.checking[entry.key]
        found["verifying"] = {"bytesDone": done, "bytesTotal": total or copy.size}
    return found


def _refused(seen: Seen, entry: Entry) -> Json:
    """Why another revision is not here yet, while this one serves; not for pods that are gone by now."""
    for ask in seen.asks:
        said = ask.said
        freed = said.code == Clash.code and entry.key not in seen.used
        if said.state == "failed" and ask.is_for(entry) and not freed:
            return {"refused": said.message, **_class_of(said)}
    return {}


def _class_of(said: Reservation | None) -> Json:
    """The class of a failed pull's error as a word that programs may compare: Denied, Absent, ..."""
    return {"reason": said.code.capitalize()} if said is not None and said.code else {}


def _time(epoch: float) -> str:
    return rfc3339(datetime.fromtimestamp(epoch, UTC))


def _of_copy(copy: Copy) -> Json:
    more: Json = {"revision": copy.revision, "bytesDone": copy.size, "bytesTotal": copy.size}
    if copy.created:
        more["fetched"] = rfc3339_micro(datetime.fromtimestamp(copy.created, UTC))
    if copy.suffixes:
        more["suffixes"] = list(copy.suffixes)
    if copy.phases:
        more["phases"] = dict(copy.phases)
    if copy.sources:
        more["sources"] = dict(copy.sources)
        more["source"] = max(copy.sources, key=lambda name: (copy.sources[name], name))
    return more


def _of_pull(said: Reservation) -> tuple[ModelState, Json]:
    more: Json = {"revision": said.revision} if said.revision else {}
    if said.state != "granted":
        waits = said.message or "asks for room"
        word = {"reason": Exhausted.code.capitalize()} if said.state == "refused" else {}
        return ModelState.PENDING, {**more, "bytesTotal": said.bytes_needed, "message": waits, **word}
    progress = said.progress
    if progress.updated:
        more["bytesDone"] = progress.bytes_done
        more["rate"] = int(progress.rate_bytes_s)
    if progress.bytes_total is not None:
        more["bytesTotal"] = progress.bytes_total
    if progress.eta_s is not None:
        more["etaSeconds"] = round(progress.eta_s)
    if progress.source:
        more["source"] = progress.source
    if progress.phase:
        more["phase"] = progress.phase
    return ModelState.DOWNLOADING, more


def _room(seen: Seen) -> Json:
    room: Json = {"used": seen.space.used, "available": seen.space.available}
    if seen.space.limit is not None:
        room["limit"] = seen.space.limit
    if seen.paused:
        room["verifyPaused"] = True
    if seen.collected.requested:
        said = seen.collected
        room["collected"] = {
            "requested": said.requested, "time": _time(said.at), "bytes": said.freed, "models": said.models,
        }  # fmt: skip
    return room


def _few(pods: tuple[str, ...]) -> str:
    return ", ".join(pods[:3]) if pods else "its last pod"
