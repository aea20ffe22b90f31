"""Which download Jobs start now, under which names, through which volume; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.api import names
from forebay.api.meta import Resource
from forebay.api.serving import NodeState
from forebay.control.actions import Action, Create, Note
from forebay.control.modelcache.job import Launch, download
from forebay.control.modelcache.model import NodeView, Seen, attempt_of, finished, over_since
from forebay.control.volumes import Pair
from forebay.control.when import epoch_s

RETRY_FIRST_S, RETRY_MOST_S = 10.0, 600.0
PUBLISH_S = 30.0  # a finished download is published by the agent within this time, or fetched again


def download_pair(seen: Seen, group: str) -> Pair:
    """Names of the group's download volume: kept once made, hashed where another owner holds the name."""
    first = seen.group_names[:1] == (group,)
    labels = seen.owned_labels("download", group)
    volumes, claims = made(seen.volumes, labels), made(seen.claims, labels)
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
            {c.name: "" for c in seen.claims if c.namespace == seen.settings.job_namespace},
        ),
        namespace=seen.settings.job_namespace,
        labels=labels,
        annotations=seen.owner_note(),
        size=str(seen.cache.spec.get("modelSize") or ""),
    )


def made(items: Sequence[Resource], labels: Mapping[str, str]) -> list[Resource]:
    return sorted((i for i in items if labels.items() <= i.labels.items()), key=lambda i: i.name)


def launches_of(seen: Seen, views: Sequence[NodeView]) -> tuple[list[Launch], dict[str, float]]:
    """Jobs to start now, and for the other nodes the moment of their next attempt."""
    wanting = [v for v in views if v.ready and v.state is not NodeState.DOWNLOADED and not _running(v)]
    due = {v.node: at for v in wanting if (at := _due(v)) > seen.now}
    now = [v for v in wanting if v.node not in due]
    resolved = seen.revision or any(v.state is NodeState.DOWNLOADED for v in views)
    if not resolved:  # one node asks what the name means; the others fetch exactly that
        now = [] if any(_running(v) for v in views) else now[:1]
    return [_launch(seen, view) for view in now], due


def _running(view: NodeView) -> bool:
    return view.job is not None and not finished(view.job)


def _due(view: NodeView) -> float:
    if view.job is None:
        return 0.0
    since = epoch_s(over_since(view.job)) or 0.0
    if finished(view.job) == "Complete":
        return since + PUBLISH_S
    return since + min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(attempt_of(view.job) - 1, 10))


def _launch(seen: Seen, view: NodeView) -> Launch:
    attempt = view.attempts + 1
    plain, identity = (
        names.download_job(seen.name, view.node, attempt),
        f"{seen.cache.uid}/{view.node}/{attempt}",
    )
    name = names.fitting(plain, identity, dict.fromkeys(seen.taken, ""))
    return Launch(node=view.node, claim=download_pair(seen, view.group).claim, attempt=attempt, name=name)


def start(seen: Seen, launch: Launch) -> list[Action]:
    job, secret = download(seen, launch)
    word = f"attempt {launch.attempt} on {launch.node}, Job {job.name}"
    return [*([Create(secret)] if secret else []), Create(job), Note("DownloadStarted", word)]
