"""Where copies of one cache belong, how far each node is, and the entries that tell the agents; pure."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.api import names, wishes
from forebay.api.affinity import matches_node, ready
from forebay.api.kinds import Job, LocalModelNode, LocalModelNodeGroup, Node
from forebay.api.meta import Json
from forebay.api.states import ModelState, NodeState
from forebay.control.actions import Action, Create, Replace
from forebay.control.held import why_held
from forebay.control.modelcache.model import (
    POD_PENDING,
    NodeView,
    Seen,
    attempt_of,
    entries,
    finished,
    is_of_group,
    over_since,
)
from forebay.control.volumes import group_terms
from forebay.control.when import elapsed_s

AGENT_WORD_S = 5.0  # the agent knows why a Job failed, and says so within this time; the Job itself does not
_STATES: dict[str, NodeState] = {
    ModelState.DOWNLOADED: NodeState.DOWNLOADED,
    ModelState.DOWNLOADING: NodeState.DOWNLOADING,
    ModelState.ERROR: NodeState.ERROR,
}


def assigned(seen: Seen) -> dict[str, str]:
    """Node -> the one group whose root holds the copy there.

    A node that two groups match keeps the group it has; else the first in the spec's order.
    """
    found: dict[str, str] = {}
    current = {n.name: seen.entry_of(n) for n in seen.model_nodes}
    for node in seen.nodes:
        fitting = [g for g in seen.group_names if g in seen.groups and _matches(seen.groups[g], node)]
        if fitting:
            kept = names.node_group_of(current.get(node.name) or {})
            found[node.name] = kept if kept in fitting else fitting[0]
    return found


def _matches(group: LocalModelNodeGroup, node: Node) -> bool:
    return matches_node(group_terms(group), node)


def view_of(seen: Seen, node: Node, group: str) -> NodeView:
    model_node = next((n for n in seen.model_nodes if n.name == node.name), None)
    mine = [j for j in seen.jobs if j.labels.get("node") == names.label_value(node.name)]
    here = (j for j in mine if is_of_group(j, group))
    newest = max(here, key=lambda j: (attempt_of(j), j.name), default=None)
    counted = ((seen.cache.status.get("nodes") or {}).get(node.name) or {}).get("attempts") or 0
    attempts = max([int(counted), *(attempt_of(j) for j in mine)])
    reported = seen.reported(model_node) if model_node else {}
    if reported.get("group", group) != group:  # the words of another group's agent, about another folder
        reported, model_node = {}, None
    state = _state(seen, node, model_node, newest)
    if state is NodeState.PENDING and (why := _held(seen, newest)):
        reported = {**reported, "message": why, "reason": POD_PENDING}
    return NodeView(
        node=node.name,
        group=group,
        ready=ready(node),
        state=state,
        reported=reported,
        job=newest,
        attempts=attempts,
    )


def _held(seen: Seen, job: Job | None) -> str:
    """Why the pod of a download does not start: no agent can tell, for nothing asks it for room."""
    mine = [p for p in seen.pods if job is not None and p.controller_uid() == job.uid and not p.deleting]
    newest = max(mine, key=lambda p: (str(p.meta.get("creationTimestamp")), p.name), default=None)
    return why_held(newest) if newest is not None else ""


def _state(seen: Seen, node: Node, model_node: LocalModelNode | None, job: Job | None) -> NodeState:
    if not ready(node):
        return NodeState.NOT_READY
    said = seen.state_on(model_node) if model_node else ""
    known = model_node is not None and seen.entry_of(model_node) is not None
    state = _STATES.get(said, NodeState.PENDING) if known else NodeState.PENDING
    if state is NodeState.DOWNLOADED or job is None or finished(job) != "Failed":
        return state
    return state if elapsed_s(over_since(job), seen.now) < AGENT_WORD_S else NodeState.ERROR


def entry_actions(seen: Seen, homes: Mapping[str, str]) -> list[Action]:
    """Put the entry where a copy belongs, take it away where not."""
    found: list[Action] = []
    there = {n.name: n for n in seen.model_nodes}
    for node in sorted(homes):
        wanted = _entry(seen, node, homes[node])
        if node not in there:
            if not seen.credentials.problem:
                found.append(Create(LocalModelNode.new(node, spec={"localModels": [wanted]})))
            continue
        before = entries(there[node])
        after = [wanted if seen.is_mine(e) else e for e in before]
        if seen.entry_of(there[node]) is None and not seen.credentials.problem:
            after.append(wanted)
        if after != before:
            found.append(Replace(_with_entries(there[node], after)))
    return found + [dropped(seen, n) for n in holding(seen) if n.name not in homes]


def _entry(seen: Seen, node: str, group: str) -> Json:
    entry: Json = {"sourceModelUri": seen.uri, "modelName": seen.name}
    if seen.namespace:
        entry["namespace"] = seen.namespace
    entry["nodeGroup"] = group
    for field in ("serviceAccountName", "storage"):
        if seen.cache.spec.get(field):
            entry[field] = seen.cache.spec[field]
    if seen.storage_key != names.storage_key(seen.uri):
        entry["storageKey"] = seen.storage_key
    if seen.revision:
        entry["revision"] = seen.revision
    if seen.cache.uid:
        entry["cacheUid"] = seen.cache.uid
    return {**entry, **wishes.for_node(seen.cache.annotations, node)}


def holding(seen: Seen) -> list[LocalModelNode]:
    return sorted((n for n in seen.model_nodes if seen.entry_of(n) is not None), key=lambda n: n.name)


def dropped(seen: Seen, model_node: LocalModelNode) -> Replace:
    return Replace(_with_entries(model_node, [e for e in entries(model_node) if not seen.is_mine(e)]))


def _with_entries(model_node: LocalModelNode, after: list[Json]) -> LocalModelNode:
    item = model_node.copy()
    item.raw["spec"] = {**item.spec, "localModels": after}
    return item
