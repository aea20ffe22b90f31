"""Move a Deployment to its template and keep its size (kubernetes pkg/controller/deployment)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forebay.api.kinds import Deployment, Pod, ReplicaSet
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Note, Update, changed_status
from forebay.home.workloads.deployment import conditions, sets
from forebay.home.workloads.deployment.rollout import Count, Limits, next_new, proportional, rolling


@dataclass(frozen=True)
class Seen:
    """The Deployment's own sets, their pods, and the names of all sets of the namespace."""

    deployment: Deployment
    sets: tuple[ReplicaSet, ...]
    pods: tuple[Pod, ...]
    taken: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


@dataclass(frozen=True)
class _World:
    """What the steps share: the current set (perhaps about to be created), the others, and counts."""

    seen: Seen
    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]
    exists: bool
    collisions: int
    limits: Limits

    def count(self, replica_set: ReplicaSet) -> Count:
        pods = [pod for pod in self.seen.pods if pod.controller_uid() == replica_set.uid and p.active(pod)]
        least = int(self.seen.deployment.spec.get("minReadySeconds") or 0)
        ready = sum(p.available(pod, least, self.seen.now) for pod in pods)
        return Count(sets.size(replica_set), ready if replica_set.uid else 0)


def decide(seen: Seen) -> Decision:
    """One step of the rollout, the bookkeeping on its sets, and the status."""
    world = _world(seen)
    owner = seen.deployment
    if owner.deleting:
        return Decision(
            changed_status(owner, conditions.status(owner, None, seen.pods, seen.sets, seen.now)[0])
        )
    sizes = _sizes(world)
    actions = [*_set_actions(world, sizes), *_revision_action(world)]
    shown = world.new if world.exists else None
    status, again_s = conditions.status(owner, shown, seen.pods, seen.sets, seen.now)
    if world.new is not None and not world.exists:
        status = conditions.created(status, world.new.name, seen.now)
    if world.collisions:
        status["collisionCount"] = world.collisions
    if conditions.complete(owner, status):
        actions += [Delete(rs) for rs in _surplus_history(world)]
    actions += changed_status(owner, status)
    least = int(owner.spec.get("minReadySeconds") or 0)
    waits = [p.available_in_s(pod, least, seen.now) for pod in seen.pods if p.active(pod)]
    return Decision(tuple(actions), p.soonest([*waits, again_s]))


def _world(seen: Seen) -> _World:
    owner = seen.deployment
    wanted = int(owner.spec.get("replicas", 1))
    rolling_update = (owner.spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = p.count_of(rolling_update.get("maxSurge"), wanted, up=True, default="25%")
    unavailable = p.count_of(rolling_update.get("maxUnavailable"), wanted, up=False, default="25%")
    if not surge and not unavailable:
        unavailable = 1
    limits = Limits(wanted, surge, min(unavailable, wanted))
    found = sets.current(owner, seen.sets)
    old = tuple(sorted((rs for rs in seen.sets if rs is not found), key=lambda rs: (p.created(rs), rs.name)))
    number = max((sets.revision(rs) for rs in old), default=0) + 1
    collisions = int(owner.status.get("collisionCount") or 0)
    if found is not None:
        new = found.copy()
        sets.annotate(new, owner, number)
        if owner.spec.get("minReadySeconds") != new.spec.get("minReadySeconds"):
            new.raw["spec"]["minReadySeconds"] = int(owner.spec.get("minReadySeconds") or 0)
        return _World(seen, new, old, True, collisions, limits)
    if owner.spec.get("paused") or owner.deleting:
        return _World(seen, None, old, False, collisions, limits)
    made, collisions = sets.new_set(owner, seen.taken, number)
    return _World(seen, made, old, False, collisions, limits)


def _sizes(world: _World) -> dict[str, int]:
    """The next size of every set, by name."""
    every = [*([world.new] if world.new else []), *world.old]
    if world.seen.deployment.spec.get("paused"):
        return _paused_sizes(world, every)
    assert world.new is not None
    new, old = world.count(world.new), [world.count(rs) for rs in world.old]
    if (world.seen.deployment.spec.get("strategy") or {}).get("type") == "Recreate":
        gone = not any(count.size for count in old) and not _old_pods_run(world)
        return dict(
            zip(
                (rs.name for rs in every),
                [world.limits.wanted if gone else new.size, *[0] * len(old)],
                strict=True,
            )
        )
    grown, shrunk = rolling(new, old, world.limits)
    if not world.exists:
        grown, shrunk = next_new(new, old, world.limits), [count.size for count in old]
    return dict(zip((rs.name for rs in every), [grown, *shrunk], strict=True))


def _paused_sizes(world: _World, every: list[ReplicaSet]) -> dict[str, int]:
    """A paused Deployment does not roll, but it is scaled."""
    active = [rs for rs in every if sets.size(rs)] or every[:1]
    if sum(sets.size(rs) for rs in active) == 0:
        return {rs.name: world.limits.wanted for rs in active} | {
            rs.name: 0 for rs in every if rs not in active
        }
    known = {rs.annotations.get(sets.DESIRED) for rs in active}
    if known == {str(world.limits.wanted)}:
        return {rs.name: sets.size(rs) for rs in every}
    scaled = proportional([sets.size(rs) for rs in active], world.limits.wanted)
    return {rs.name: 0 for rs in every} | dict(zip((rs.name for rs in active), scaled, strict=True))


def _old_pods_run(world: _World) -> bool:
    current = world.new.uid if world.new and world.exists else ""
    return any(pod.controller_uid() != current and not p.finished(pod) for pod in world.seen.pods)


def _set_actions(world: _World, sizes: dict[str, int]) -> list[Action]:
    owner = world.seen.deployment
    actions: list[Action] = []
    before = {rs.name: rs for rs in world.seen.sets}
    for rs in [*([world.new] if world.new else []), *world.old]:
        was, now = sets.size(rs), sizes[rs.name]
        changed = _with_size(rs, now, world.limits)
        if rs.name not in before or (rs is world.new and not world.exists):
            actions.append(Create(changed, owner))
        elif changed.raw != before[rs.name].raw:
            actions.append(Update(changed))
        if was != now:
            way = "up" if now > was else "down"
            message = f"Scaled {way} replica set {rs.name} from {was} to {now}"
            actions.append(Note(owner, "Normal", "ScalingReplicaSet", message))
    return actions


def _with_size(rs: ReplicaSet, size: int, limits: Limits) -> ReplicaSet:
    changed = rs.copy()
    changed.raw["spec"]["replicas"] = size
    if size or sets.size(rs):
        notes = dict(changed.annotations)
        notes.update({sets.DESIRED: str(limits.wanted), sets.MOST: str(limits.wanted + limits.surge)})
        changed.meta["annotations"] = notes
    return changed


def _revision_action(world: _World) -> list[Action]:
    owner = world.seen.deployment
    if world.new is None or owner.annotations.get(sets.REVISION) == world.new.annotations[sets.REVISION]:
        return []
    changed = owner.copy()
    changed.meta["annotations"] = {**owner.annotations, sets.REVISION: world.new.annotations[sets.REVISION]}
    return [Update(changed)]


def _surplus_history(world: _World) -> list[ReplicaSet]:
    limit = int(world.seen.deployment.spec.get("revisionHistoryLimit", 10))
    empty = [
        rs for rs in world.old if not sets.size(rs) and not rs.status.get("replicas") and not rs.deleting
    ]
    empty.sort(key=lambda rs: (sets.revision(rs), p.created(rs), rs.name))
    return empty[: max(0, len(empty) - limit)]
