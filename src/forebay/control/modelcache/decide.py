"""What to do about one cache. Pure: the same sight gives the same decision, in whatever order it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forebay.api import names
from forebay.api.affinity import ready
from forebay.api.conditions import find, merged, no
from forebay.api.kinds import Job, LocalModelNode, Node, Secret
from forebay.api.meta import Json, Resource
from forebay.api.states import NodeState
from forebay.control.actions import Action, Create, Note, Replace, delete
from forebay.control.modelcache.job import credentials_name
from forebay.control.modelcache.launches import download_pair, downloads, launches_of, made, start
from forebay.control.modelcache.model import (
    HELD_S,
    POD_PENDING,
    NodeView,
    Seen,
    finished,
    is_held,
    is_of_group,
)
from forebay.control.modelcache.placement import assigned, dropped, entry_actions, holding, view_of
from forebay.control.modelcache.status import notes, status
from forebay.control.modelcache.trouble import blocked, pathless, trouble
from forebay.control.volumes import claim, download_volume
from forebay.control.when import LOOK_S, corrected_s, elapsed_s, rfc3339

FAREWELL_S = 60.0  # how long a deleted cache waits for agents to let go of its files


@dataclass(frozen=True)
class Decision:
    """Actions in order, the status to report (None leaves it), and seconds until the next look."""

    actions: tuple[Action, ...] = ()
    status: Json | None = None
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """The next steps for one cache."""
    if seen.cache.deleting:
        return _farewell(seen)
    if seen.finalizer not in seen.cache.finalizers:
        marked = seen.cache.copy()
        marked.meta["finalizers"] = [*seen.cache.finalizers, seen.finalizer]
        return Decision((Replace(marked),))
    homes = assigned(seen)
    views = tuple(view_of(seen, node, homes[node.name]) for node in _sorted(seen.nodes) if node.name in homes)
    why_not = trouble(seen, homes)
    active = seen.settings.enabled and not seen.job_namespace_missing
    able = active and blocked(seen) is None
    launches, due = launches_of(seen, views) if able else ([], {})
    actions: list[Action] = []
    if active:
        actions += entry_actions(seen, homes)
        actions += _volumes(seen, set(homes.values()) - pathless(seen))
    if launches:
        actions += seen.trust.copying()
    for launch in launches:
        actions += start(seen, launch)
    if not seen.settings.enabled:  # one switch: what runs stops too, and goes on where it was
        actions += [delete(j) for j in seen.jobs if not finished(j) and not j.deleting]
    actions += _leftovers(seen, homes)
    actions += notes(seen, views)
    if why_not is not None and why_not.reason == "NoSource" != find(seen.cache, "Ready").get("reason"):
        actions.append(Note("NoSource", why_not.message, warning=True))
    return Decision(tuple(actions), status(seen, views, due, why_not), _next_look(seen, views, due))


def _sorted(items: Sequence[Node]) -> list[Node]:
    return sorted(items, key=lambda item: item.name)


# --- volumes


def _volumes(seen: Seen, groups: set[str]) -> list[Action]:
    found: list[Action] = []
    for group in sorted(groups):
        pair = download_pair(seen, group)
        volumes, claims = made(seen.volumes, pair.labels), made(downloads(seen), pair.labels)
        moved = [v for v in volumes if (v.spec.get("claimRef") or {}).get("namespace") != pair.namespace]
        if moved:  # the downloads run elsewhere now: the pair is made anew there
            held = [v.spec.get("claimRef") or {} for v in moved]
            bound = {(ref.get("namespace"), ref.get("name")) for ref in held}
            claims = [c for c in made(seen.claims, pair.labels) if (c.namespace, c.name) in bound]
            found += [delete(item) for item in claims or moved if not item.deleting]
            continue
        released = [v for v in volumes if v.status.get("phase") in ("Released", "Failed")]
        if released:  # its claim is gone: a new pair takes its place in the next pass
            found += [delete(v) for v in released if not v.deleting]
            continue
        fresh: list[Resource] = []
        if not volumes:
            fresh.append(download_volume(seen.groups[group], pair))
        if not claims:
            fresh.append(claim(seen.groups[group], pair))
        for item in fresh:
            if not seen.namespace:
                item.meta["ownerReferences"] = [seen.cache.owner_reference()]
        found += [Create(item) for item in fresh]
    return found


# --- what is no longer wanted


def _leftovers(seen: Seen, homes: Mapping[str, str]) -> list[Action]:
    """Jobs and volumes of nodes and groups that have left, Secrets without a Job, unused serving volumes."""
    here = {names.label_value(node): group for node, group in homes.items()}
    departed = [j for j in seen.jobs if not _is_at_home(j, here)]
    found: list[Action] = [delete(j) for j in (*departed, *seen.stray_jobs) if not j.deleting]
    found += _secrets(seen)
    groups = {names.label_value(g) for g in seen.group_names}
    for item in (*seen.claims, *seen.volumes):
        if (
            _mine(seen, item, "download")
            and item.labels.get(names.GROUP_LABEL) not in groups
            and not item.deleting
        ):
            found.append(delete(item))
    claimed = {(c.namespace, c.name) for c in seen.claims}
    for volume in seen.volumes:
        reference = volume.spec.get("claimRef") or {}
        alone = (reference.get("namespace"), reference.get("name")) not in claimed
        if _mine(seen, volume, "serving") and alone and not volume.deleting:
            found.append(delete(volume))
    return found


def _is_at_home(job: Job, homes: Mapping[str, str]) -> bool:
    node = str(job.labels.get("node"))
    return node in homes and is_of_group(job, homes[node])


def _mine(seen: Seen, item: Resource, role: str) -> bool:
    return seen.owned_labels(role).items() <= item.labels.items()


def _secrets(seen: Seen) -> list[Action]:
    """A copy of credentials lives and dies with its Job, its owner as soon as the Job has a uid."""
    jobs = {credentials_name(j.name): j for j in seen.jobs}
    found: list[Action] = []
    for secret in seen.copies:
        job = jobs.get(secret.name)
        if job is None or finished(job):
            found.append(delete(secret))
        elif secret.controller_uid() != job.uid:
            found.append(Replace(_owned(secret, job)))
    return found


def _owned(secret: Secret, job: Job) -> Secret:
    item = secret.copy()
    item.meta["ownerReferences"] = [job.owner_reference()]
    return item


# --- the end


def _farewell(seen: Seen) -> Decision:
    """Entries and Jobs first, then the wait for the agents, then volumes, last the finalizer."""
    if seen.finalizer not in seen.cache.finalizers:
        return Decision()
    if seen.services:
        first = seen.services[0]
        held = no(
            "Ready",
            "InUse",
            f"is being used by InferenceService {first.namespace}/{first.name}; delete that first",
        )
        conditions = merged(
            seen.cache.status.get("conditions"),
            [held],
            now=rfc3339(seen.now),
            generation=seen.cache.generation,
        )
        return Decision(status={**seen.cache.status, "conditions": conditions}, look_again_s=10.0)
    letting_go: list[Action] = [delete(j) for j in (*seen.jobs, *seen.stray_jobs) if not j.deleting]
    letting_go += [dropped(seen, n) for n in holding(seen)]
    if (letting_go or _still_held(seen)) and not _waited_enough(seen):
        return Decision(tuple(letting_go), look_again_s=1.0)
    letting_go += [delete(s) for s in seen.copies]
    letting_go += [
        delete(i)
        for i in (*seen.claims, *seen.volumes)
        if not i.deleting and (_mine(seen, i, "download") or _mine(seen, i, "serving"))
    ]
    freed = seen.cache.copy()
    freed.meta["finalizers"] = [f for f in seen.cache.finalizers if f != seen.finalizer]
    return Decision((*letting_go, Replace(freed)))


def _still_held(seen: Seen) -> bool:
    """Whether a Job still ends, or an agent on a node that is up still reports the model.

    A group that is gone has no agent any more: nobody would take its report back.
    """
    up = {n.name for n in seen.nodes if ready(n)}
    reporting = (
        n.name
        for n in seen.model_nodes
        if seen.status_key in (n.status.get("modelStatus") or {}) and n.name in up and _has_agent(seen, n)
    )
    return bool(seen.jobs) or any(reporting)


def _has_agent(seen: Seen, node: LocalModelNode) -> bool:
    told = ((node.status.get("models") or {}).get(seen.status_key) or {}).get("group")
    return told not in (seen.cache.spec.get("nodeGroups") or ()) or told in seen.groups


def _waited_enough(seen: Seen) -> bool:
    return elapsed_s(seen.cache.meta.get("deletionTimestamp"), seen.now) > FAREWELL_S


def _next_look(seen: Seen, views: Sequence[NodeView], due: Mapping[str, float]) -> float:
    waits = [max(0.1, at - seen.now) for at in due.values()]
    failed = any(
        v.job is not None and finished(v.job) == "Failed" and v.state is not NodeState.DOWNLOADED
        for v in views
    )
    if failed or seen.credentials.problem:
        waits.append(corrected_s(find(seen.cache, "Ready").get("lastTransitionTime"), seen.now))
    if any(v.reported.get("reason") == POD_PENDING and not is_held(v, seen.now) for v in views):
        waits.append(HELD_S)
    return min([*waits, LOOK_S])
