"""Status of a cache from what its nodes report; pure. Recomputed from nothing each time, so nothing stale
stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.api import wishes
from forebay.api.conditions import Condition, merged, no, yes
from forebay.api.meta import Json, Resource
from forebay.api.states import NodeState
from forebay.control.actions import Note
from forebay.control.modelcache.model import NodeView, Seen, finished, is_held
from forebay.control.when import rfc3339

_NUMBERS = ("bytesDone", "bytesTotal", "rate", "etaSeconds")
_TEXTS = ("revision", "source", "message", "reason")


def status(
    seen: Seen, views: Sequence[NodeView], due: Mapping[str, float], trouble: Condition | None
) -> Json:
    """The whole status. `due` maps nodes to the moment of their next attempt; `trouble` outweighs all
    counting."""
    states = {v.node: str(v.state) for v in sorted(views, key=lambda v: v.node)}
    found: Json = {"copies": _copies(views), "observedGeneration": seen.cache.generation}
    if states:
        found["nodeStatus"] = states
        found["nodes"] = {v.node: _progress(v, due.get(v.node)) for v in sorted(views, key=lambda v: v.node)}
    found["storageKey"] = seen.storage_key
    if seen.revision:
        found["revision"] = seen.revision
    size = max((int(v.reported.get("bytesTotal") or 0) for v in views), default=0)
    if size:
        found["bytes"] = size
    if progress := _overall(views):
        found["progress"] = progress
    if refresh := _refresh(seen, views):
        found["refresh"] = refresh
    if seen.services:
        found["inferenceServices"] = [
            {"namespace": s.namespace, "name": s.name} for s in sorted(seen.services, key=lambda s: s.key)
        ]
    claims = (_ready(seen, views, trouble), _progressing(seen, views, due))
    found["conditions"] = merged(
        seen.cache.status.get("conditions"), claims, now=rfc3339(seen.now), generation=seen.cache.generation
    )
    return found


def _refresh(seen: Seen, views: Sequence[NodeView]) -> Json:
    """The answer to the last request to resolve the name anew; without a revision until there is one."""
    if not seen.resolving:
        if seen.found:
            return {"requested": seen.found[0], "revision": seen.found[1]}
        inherited = wishes.is_newer(seen.sibling_refreshed, seen.refresh_answered)
        before = dict(seen.cache.status.get("refresh") or {})
        return {"requested": seen.sibling_refreshed, "revision": seen.revision} if inherited else before
    why = next((str(v.reported["refused"]) for v in views if v.reported.get("refused")), "")
    return {"requested": seen.resolving, **({"message": why} if why else {})}


def notes(seen: Seen, views: Sequence[NodeView]) -> list[Note]:
    """Events for what has changed since the last status: a node's state, the revision."""
    before = seen.cache.status.get("nodeStatus") or {}
    found = []
    if seen.revision and seen.revision != seen.cache.status.get("revision"):
        found.append(Note("Resolved", f"{seen.uri} is revision {seen.revision} from now on, on every node"))
    for view in sorted(views, key=lambda v: v.node):
        if before.get(view.node) == view.state:
            continue
        if view.state is NodeState.DOWNLOADED:
            source = view.reported.get("source")
            found.append(
                Note("Downloaded", f"{view.node} holds the model" + (f" (from {source})" if source else ""))
            )
        elif view.state is NodeState.PENDING and before.get(view.node) == NodeState.DOWNLOADED:
            why = view.reported.get("message") or "the copy is gone; it is fetched again"
            found.append(Note("CopyGone", f"{view.node}: {why}", warning=True))
        elif view.state is NodeState.ERROR:
            found.append(Note("DownloadFailed", f"{view.node}: {_why(view)}", warning=True))
        elif view.state is NodeState.NOT_READY:
            found.append(
                Note("NodeNotReady", f"{view.node} is not ready; its copy does not count", warning=True)
            )
    return found


def _copies(views: Sequence[NodeView]) -> Json:
    counts = {
        "available": sum(v.state is NodeState.DOWNLOADED for v in views),
        "total": len(views),
        "failed": sum(v.state is NodeState.ERROR for v in views),
    }
    return {name: count for name, count in counts.items() if count}


def _progress(view: NodeView, due: float | None) -> Json:
    found: Json = {name: str(view.reported[name]) for name in _TEXTS if view.reported.get(name)}
    for name in _NUMBERS:
        if isinstance(view.reported.get(name), int | float):
            found[name] = int(view.reported[name])
    if view.reported.get("refused"):  # another revision is wanted, and this one serves
        found["message"] = str(view.reported["refused"])
    if view.state is NodeState.ERROR:
        found["message"] = _why(view)
    if view.attempts:
        found["attempts"] = view.attempts
    if view.job is not None and not finished(view.job):
        found["job"] = view.job.name
    if due is not None:
        found["nextAttemptTime"] = rfc3339(due)
    return found


def _overall(views: Sequence[NodeView]) -> str:
    if not views:
        return ""
    if all(v.state is NodeState.DOWNLOADED for v in views):
        return "100%"
    total = sum(int(v.reported.get("bytesTotal") or 0) for v in views)
    done = sum(
        int(
            (v.reported.get("bytesTotal") if v.state is NodeState.DOWNLOADED else v.reported.get("bytesDone"))
            or 0
        )
        for v in views
    )
    known = all(v.reported.get("bytesTotal") for v in views)
    return f"{min(99, 100 * done // total)}%" if total and known else ""


def _ready(seen: Seen, views: Sequence[NodeView], trouble: Condition | None) -> Condition:
    if trouble is not None:
        return trouble
    have = sum(v.state is NodeState.DOWNLOADED for v in views)
    counted = f"{have} of {len(views)} nodes hold the model"
    if views and have == len(views):
        return yes("Ready", "Downloaded", counted)
    wrong = [v for v in sorted(views, key=lambda v: v.node) if v.state is NodeState.ERROR]
    if wrong:
        return no("Ready", "DownloadFailed", f"{counted}; {wrong[0].node}: {_why(wrong[0])}")
    away = [v.node for v in sorted(views, key=lambda v: v.node) if v.state is NodeState.NOT_READY]
    if away and have + len(away) == len(views):
        return no("Ready", "NodeNotReady", f"{counted}; not ready: {', '.join(away)}")
    waiting = next((v for v in views if v.reported.get("message") and v.state is NodeState.PENDING), None)
    if waiting is not None:
        return no("Ready", "DownloadPending", f"{counted}; {waiting.node}: {waiting.reported['message']}")
    return no("Ready", "Downloading", counted)


def _progressing(seen: Seen, views: Sequence[NodeView], due: Mapping[str, float]) -> Condition:
    busy = [v for v in views if v.state in (NodeState.DOWNLOADING, NodeState.PENDING)]
    held = [v for v in busy if is_held(v, seen.now)]
    if len(busy) > len(held):
        return yes(
            "Progressing", "Downloading", f"on {', '.join(sorted(v.node for v in busy if v not in held))}"
        )
    old = sorted((v for v in views if v.is_outdated(seen.revision) or _because(v)), key=lambda v: v.node)
    waits = ", ".join(f"{v.node}{_because(v)}" for v in old)
    if due:
        what = f"; {waits}" if any(_because(v) for v in old) else ""
        return yes(
            "Progressing", "WaitingToRetry", f"the next attempt is at {rfc3339(min(due.values()))}{what}"
        )
    if held:
        told = "; ".join(f"{v.node}: {v.reported.get('message')}" for v in sorted(held, key=lambda v: v.node))
        return no("Progressing", "Waiting", told)
    if old or seen.resolving:
        where = f"still to come on {waits}" if old else "what the name means now is asked"
        return yes("Progressing", "Refreshing", f"{where}; until then the earlier revision serves")
    return no("Progressing", "Settled", "nothing is being downloaded")


def _because(view: NodeView) -> str:
    refused = view.reported.get("refused")
    return f" ({refused})" if refused else ""


def _why(view: NodeView) -> str:
    said = view.reported.get("message")
    if said:
        return str(said)
    failed: Resource | None = view.job
    for condition in (failed.status.get("conditions") or []) if failed is not None else []:
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            key, why = failed.key if failed else "", condition.get("message") or "no message"
            return f"Job {key} failed ({why}); see its logs"
    return "the download failed; see the logs of its Job"
