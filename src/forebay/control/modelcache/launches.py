"""Which download Jobs start now, under which names, through which volume; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.api import names
from forebay.api.kinds import Job, PersistentVolumeClaim
from forebay.api.meta import Resource
from forebay.api.states import NodeState
from forebay.control.actions import Action, Create, Note
from forebay.control.modelcache.job import Aim, Launch, download, inputs
from forebay.control.modelcache.model import (
    AIM_LABEL,
    IN_USE,
    INPUTS_NOTE,
    NodeView,
    Seen,
    finished,
    over_since,
    try_of,
)
from forebay.control.volumes import Pair
from forebay.control.when import elapsed_s

RETRY_FIRST_S, RETRY_MOST_S = 10.0, 600.0
PUBLISH_S = 30.0  # a finished download is published by the agent within this time, or fetched again
HEAL_FIRST_S = 2.0  # content that failed its check after a download; doubled, for disks that fail for good


def download_pair(seen: Seen, group: str) -> Pair:
    """Names of the group's download volume: kept once made, hashed where another owner holds the name."""
    first = seen.group_names[:1] == (group,)
    labels = seen.owned_labels("download", group)
    volumes, claims = made(seen.volumes, labels), made(downloads(seen), labels)
    identity = f"{seen.cache.uid}/{group}"
    return Pair(
        volume=volumes[0].name
        if volumes
        else names.fitting(
            names.download_pv(seen.name, seen.namespace, group, first=first),
            identity,
            {v.name: "" for v in seen.volumes},
        ),
        claim=claims[0].name
        if claims
        else names.fitting(
            names.download_pvc(seen.name, seen.namespace, group, first=first),
            identity,
            {c.name: "" for c in downloads(seen)},
        ),
        namespace=seen.settings.job_namespace,
        labels=labels,
        annotations=seen.owner_note(),
        size=str(seen.cache.spec.get("modelSize") or ""),
    )


def downloads(seen: Seen) -> list[PersistentVolumeClaim]:
    """Claims of the job namespace; elsewhere anybody may give a claim our labels."""
    return [c for c in seen.claims if c.namespace == seen.settings.job_namespace]


def made(items: Sequence[Resource], labels: Mapping[str, str]) -> list[Resource]:
    return sorted((i for i in items if labels.items() <= i.labels.items()), key=lambda i: i.name)


def launches_of(seen: Seen, views: Sequence[NodeView]) -> tuple[list[Launch], dict[str, float]]:
    """Jobs to start now, and for the other nodes the moment of their next attempt."""
    resolver = _resolver(seen, views)
    wanting = [v for v in views if v.ready and not _running(v) and (_lacks(seen, v) or v.node == resolver)]
    due = {v.node: at for v in wanting if (at := _due(seen, v, _aim(seen, v, resolver))) > seen.now}
    now = [v for v in wanting if v.node not in due]
    resolved = seen.revision or any(v.state is NodeState.DOWNLOADED for v in views)
    if not resolved:  # one node asks what the name means; the others fetch exactly that
        now = [] if any(_running(v) for v in views) else now[:1]
    return [_launch(seen, view, _aim(seen, view, resolver)) for view in now], due


def _lacks(seen: Seen, view: NodeView) -> bool:
    return view.state is not NodeState.DOWNLOADED or view.is_outdated(seen.revision)


def _resolver(seen: Seen, views: Sequence[NodeView]) -> str:
    """The node that resolves the name anew, "" if none is to: one with a copy, which fetches little."""
    able = [v for v in views if v.ready]
    if not seen.resolving or not able:
        return ""
    return min(able, key=lambda v: (v.state is not NodeState.DOWNLOADED, v.node)).node


def _aim(seen: Seen, view: NodeView, resolver: str) -> Aim:
    return Aim(refresh=seen.resolving) if view.node == resolver else Aim(revision=seen.revision)


def _running(view: NodeView) -> bool:
    return view.job is not None and not finished(view.job)


def _is_about(seen: Seen, view: NodeView, job: Job, aim: Aim) -> bool:
    """Whether a Job was about what is wanted now; the very first asked before anybody knew the revision."""
    label = job.labels.get(AIM_LABEL, "")
    return label == aim.label or not (label or aim.refresh or view.is_outdated(seen.revision))


def _is_other(seen: Seen, job: Job) -> bool:
    """Whether a Job failed with another container or other Secrets than a new one would have."""
    return finished(job) == "Failed" and job.annotations.get(INPUTS_NOTE, "") not in ("", inputs(seen))


def _is_freed(seen: Seen, view: NodeView) -> bool:
    """Whether pods used the earlier revision at the last look, and none does any more."""
    before = (seen.cache.status.get("nodes") or {}).get(view.node) or {}
    return before.get("reason") == IN_USE and not view.reported.get("refused")


def _is_damaged(view: NodeView) -> bool:
    return view.reported.get("reason") == "Damaged"


def _due(seen: Seen, view: NodeView, aim: Aim) -> float:
    if view.job is None or not (_is_damaged(view) or _is_about(seen, view, view.job, aim)):
        return 0.0
    if _is_other(seen, view.job) or _is_freed(seen, view):
        return 0.0
    since, wait = seen.now - elapsed_s(over_since(view.job), seen.now), 2.0 ** min(try_of(view.job) - 1, 10)
    if _is_damaged(view) and finished(view.job) == "Complete":
        return since + min(RETRY_MOST_S, HEAL_FIRST_S * wait)
    if finished(view.job) == "Complete":
        return since + PUBLISH_S
    return since + min(RETRY_MOST_S, RETRY_FIRST_S * wait)


def _tries(seen: Seen, view: NodeView, aim: Aim) -> int:
    """One more than before if the last Job failed at the same, or its content did not stay whole."""
    if view.job is None or not _is_about(seen, view, view.job, aim) or _is_other(seen, view.job):
        return 1
    return try_of(view.job) + 1 if _is_damaged(view) or finished(view.job) == "Failed" else 1


def _launch(seen: Seen, view: NodeView, aim: Aim) -> Launch:
    attempt = view.attempts + 1
    plain, identity = (
        names.download_job(seen.name, view.node, attempt),
        f"{seen.cache.uid}/{view.node}/{attempt}",
    )
    name = names.fitting(plain, identity, dict.fromkeys(seen.taken, ""))
    claim = download_pair(seen, view.group).claim
    return Launch(view.node, view.group, claim, attempt, name, aim, _tries(seen, view, aim))


def start(seen: Seen, launch: Launch) -> list[Action]:
    job, secret = download(seen, launch)
    word = f"attempt {launch.attempt} on {launch.node}, Job {job.name}"
    return [*([Create(secret)] if secret else []), Create(job), Note("DownloadStarted", word)]
