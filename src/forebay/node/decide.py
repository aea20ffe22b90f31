"""What one node's agent does next: pure, from one look at the API and the disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from forebay.api.wishes import is_newer, latest
from forebay.cache.evict import Held, Request, plan_room
from forebay.node.model import Ask, Collected, Copy, Entry, JobPhase, JobView, Seen

__all__ = [
    "Action",
    "Adopt",
    "Answer",
    "Ask",
    "Check",
    "Collect",
    "Collected",
    "Copy",
    "DropStaged",
    "Entitle",
    "Entry",
    "ForgetAsk",
    "ForgetRecord",
    "JobPhase",
    "JobView",
    "Publish",
    "Remove",
    "Seen",
    "Sweep",
    "Warm",
    "Withdraw",
    "decide",
    "is_pulling",
]

REASON_KEPT_S = 300.0  # an entry may be known to a pull before it is known to us


@dataclass(frozen=True)
class Withdraw:
    """The entry is gone: its record entitles nobody any more."""

    model: str
    key: str


@dataclass(frozen=True)
class ForgetRecord:
    """Entry and copy are gone."""

    model: str
    key: str


@dataclass(frozen=True)
class Entitle:
    """A foreign downloader reached the source with the entry's credentials."""

    entry: Entry


@dataclass(frozen=True)
class Adopt:
    """Take in what a foreign downloader has written."""

    entry: Entry


@dataclass(frozen=True)
class DropStaged:
    """Nobody wants what a foreign downloader has written."""

    key: str


@dataclass(frozen=True)
class Publish:
    """Make the view."""

    key: str


@dataclass(frozen=True)
class Remove:
    """Take a model off the disk; `evicted_for` names the model that gets its room."""

    key: str
    evicted_for: str = ""


@dataclass(frozen=True)
class Answer:
    """Tell a pull whether it has room."""

    id: str
    state: Literal["granted", "refused"]
    message: str = ""


@dataclass(frozen=True)
class ForgetAsk:
    """The pull behind a request is dead, or its reason interests nobody any more."""

    id: str


@dataclass(frozen=True)
class Collect:
    """Remove blobs that no model names and parts of models that nobody wants; `keep` are the keys whose parts
    stay.
    """

    keep: frozenset[str]


@dataclass(frozen=True)
class Warm:
    """Bring a model into memory; `request` is what asked for it, "" for a pod that starts."""

    key: str
    request: str = ""


@dataclass(frozen=True)
class Check:
    """Hash a model's files in the background, because of this request."""

    key: str
    request: str


@dataclass(frozen=True)
class Sweep:
    """Somebody asked: remove these models that nobody names, then collect; `keep` as in Collect."""

    request: str
    keys: tuple[str, ...]
    keep: frozenset[str]


Action = (
    Withdraw
    | ForgetRecord
    | Entitle
    | Adopt
    | DropStaged
    | Publish
    | Remove
    | Answer
    | ForgetAsk
    | Collect
    | Warm
    | Check
    | Sweep
)


def decide(seen: Seen) -> tuple[Action, ...]:
    """Actions in the order in which they are safe: what others wait for first, what frees space last."""
    actions: list[Action] = [*_records(seen), *_foreign(seen)]
    actions += [Publish(key) for key in _publishable(seen)]
    if seen.pods_known:
        answers, gone = _room(seen)
        actions += answers
        actions += [Remove(key) for key in _unwanted(seen) if key not in gone]
        if seen.entries is not None and is_newer(seen.sweep, seen.collected.requested):
            actions.append(Sweep(seen.sweep, _unnamed(seen, gone), _keys(seen) | _pulling(seen)))
        elif (seen.loose or seen.stale_parts) and seen.entries is not None:
            actions.append(Collect(_keys(seen) | _pulling(seen)))
    actions += [ForgetAsk(ask.said.id) for ask in seen.asks if _is_over(seen, ask)]
    removed = {action.key for action in actions if isinstance(action, Remove)}
    actions += [Warm(key) for key in sorted((seen.waiting & seen.views) - removed)]
    return (*actions, *_requested(seen, removed))


def is_pulling(seen: Seen) -> bool:
    """Whether bytes are on their way to this disk."""
    return any(ask.alive and ask.said.state == "granted" for ask in seen.asks)


def _requested(seen: Seen, removed: set[str]) -> list[Action]:
    """Checks and warmings that people asked for; of several requests for one model the latest counts."""
    found: list[Action] = []
    for key in sorted(_keys(seen) & seen.copies.keys() & seen.views - removed):
        mine, copy = [e for e in _entries(seen) if e.key == key], seen.copies[key]
        verify, warm = latest(e.verify for e in mine), latest(e.warm for e in mine)
        if key not in seen.checking and is_newer(verify, copy.verified_for):
            found.append(Check(key, verify))
        if key not in seen.warming and is_newer(warm, copy.warmed_for):
            found.append(Warm(key, warm))
    return found


def _unnamed(seen: Seen, gone: set[str]) -> tuple[str, ...]:
    """Whole models that no cache names and nobody needs: pulled by hand, or left over."""
    held = (h for h in _held(seen, gone) if h.may_go and not h.wanted)
    return tuple(sorted(h.key for h in held if h.key not in _unwanted(seen)))


def _entries(seen: Seen) -> tuple[Entry, ...]:
    return tuple(sorted(seen.entries or (), key=lambda entry: entry.model))


def _keys(seen: Seen) -> frozenset[str]:
    """What shall stay: our entries' keys and our neighbours'."""
    return frozenset(entry.key for entry in (*(seen.entries or ()), *seen.neighbours))


def _pulling(seen: Seen) -> frozenset[str]:
    """Keys on which a live pull works or waits."""
    return frozenset(ask.said.key for ask in seen.asks if ask.alive and ask.said.state != "failed")


def _records(seen: Seen) -> list[Action]:
    if seen.entries is None:
        return []
    wanted = {(entry.model, entry.key) for entry in (*seen.entries, *seen.neighbours)}
    found: list[Action] = [Withdraw(model, key) for model, key in sorted(seen.entitled - wanted)]
    for model, key in sorted(seen.withdrawn):
        if key not in seen.copies:
            found.append(ForgetRecord(model, key))
    return found


def _foreign(seen: Seen) -> list[Action]:
    """What downloaders of other people have written: adopted once their Job has succeeded."""
    found: list[Action] = []
    for entry in _entries(seen):
        job = seen.jobs.get(entry.model)
        if job is None or not job.foreign or job.phase != "succeeded":
            continue
        if entry.key in seen.staged and entry.key not in seen.trouble:
            found.append(Adopt(entry))
        there = entry.key in seen.copies or (entry.key in seen.staged and entry.key not in seen.trouble)
        if there and (entry.model, entry.key) not in seen.entitled:
            found.append(Entitle(entry))
    if seen.entries is not None and not seen.foreign_running:
        busy = {key for key in seen.staged if key in _keys(seen)}
        found += [DropStaged(key) for key in sorted(seen.staged - busy)]
    return found


def _publishable(seen: Seen) -> list[str]:
    """Whole models without a view that at least one entry may use."""
    keys = {e.key for e in _entries(seen) if (e.model, e.key) in seen.entitled}
    return sorted(key for key in keys if key in seen.copies and key not in seen.views)


def _room(seen: Seen) -> tuple[list[Action], set[str]]:
    """Answers to all that wait, the longest first; models that were evicted for room may push others out only
    for a pod that waits for them, else two models too large for one disk would evict each other for ever.
    """
    actions: list[Action] = []
    gone: set[str] = set()
    space, loose = seen.space, seen.loose
    waiting = [ask.said for ask in seen.asks if ask.alive and ask.said.state in ("asked", "refused")]
    for said in sorted(waiting, key=lambda said: (said.asked_at, said.id)):
        request = Request(
            model=said.model or said.key,
            key=said.key,
            bytes_needed=said.bytes_needed,
            may_evict=said.key not in seen.evicted or said.key in seen.wanted_by_pods,
        )
        plan = plan_room(request, space, _held(seen, gone), loose=loose)
        if plan.refusal:
            actions.append(Answer(said.id, "refused", plan.refusal))
            continue
        if plan.collect:
            actions.append(Collect(_keys(seen) | _pulling(seen)))
            space, loose = replace(space, used=space.used - loose, free=space.free + loose), 0
        for key in plan.evict:
            actions.append(Remove(key, request.model))
            freed = _frees(seen, gone, key)
            space = replace(space, used=space.used - freed, free=space.free + freed)
            gone.add(key)
        actions.append(Answer(said.id, "granted"))
        space = replace(space, promised=space.promised + said.bytes_needed)
    said_before = {
        Answer(a.said.id, "refused", a.said.message) for a in seen.asks if a.said.state == "refused"
    }
    return [action for action in actions if action not in said_before], gone


def _held(seen: Seen, gone: set[str]) -> list[Held]:
    wanted, pulling = _keys(seen), _pulling(seen)
    pinned = {entry.key for entry in (*(seen.entries or ()), *seen.neighbours) if entry.pinned}
    return [
        Held(
            key=copy.key,
            blobs=copy.blobs,
            last_used=copy.last_used,
            pinned=copy.pinned or copy.key in pinned,
            in_use=copy.key in seen.used,
            reserved=copy.key in pulling,
            wanted=seen.entries is None or copy.key in wanted,
        )
        for copy in seen.copies.values()
        if copy.key not in gone
    ]


def _frees(seen: Seen, gone: set[str], key: str) -> int:
    others = {d for copy in seen.copies.values() if copy.key not in {*gone, key} for d in copy.blobs}
    return sum(size for digest, size in seen.copies[key].blobs.items() if digest not in others)


def _unwanted(seen: Seen) -> list[str]:
    """Models whose entries have left the spec and that no pod uses. What no entry ever named stays until room
    is wanted: someone pulled it by hand.
    """
    if seen.entries is None:
        return []
    left = {key for _, key in seen.withdrawn | seen.entitled} - _keys(seen)
    return sorted(k for k in left if k in seen.copies and k not in seen.used and k not in _pulling(seen))


def _is_over(seen: Seen, ask: Ask) -> bool:
    if ask.alive:
        return False
    known = seen.entries is None or any(ask.is_for(entry) for entry in seen.entries)
    if ask.said.state != "failed":
        return True
    return not known and seen.now > ask.said.asked_at + REASON_KEPT_S
