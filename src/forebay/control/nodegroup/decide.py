"""What to do about one node group. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.api import names, quantity
from forebay.api.affinity import matches_node
from forebay.api.conditions import Condition, merged, no, yes
from forebay.api.kinds import DaemonSet, LocalModelNode, LocalModelNodeGroup, Node
from forebay.api.meta import Json
from forebay.control.actions import Action, Create, Replace
from forebay.control.config import Settings
from forebay.control.volumes import group_terms, root_path
from forebay.control.when import rfc3339

# hash of the template we wrote, so that a server's defaults are no difference
TEMPLATE_NOTE = "forebay.dev/template"
AGENT_ACCOUNT = "forebay-node"
HEALTH = {"path": "/healthz", "port": "metrics"}


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at. `now` in seconds since 1970."""

    group: LocalModelNodeGroup
    settings: Settings
    system_namespace: str
    now: float
    nodes: tuple[Node, ...] = ()
    model_nodes: tuple[LocalModelNode, ...] = ()
    daemonset: DaemonSet | None = None


def decide(seen: Seen) -> tuple[Action, ...]:
    """Keep the agents' DaemonSet and the group's status."""
    if seen.group.deleting:
        return ()
    actions: list[Action] = []
    if root_path(seen.group) and seen.settings.enabled:
        actions += _agents(seen)
    status = _status(seen)
    if status != seen.group.status:
        item = seen.group.copy()
        item.raw["status"] = status
        actions.append(Replace(item))
    return tuple(actions)


def _agents(seen: Seen) -> list[Action]:
    wanted = agent_daemonset(seen.group, seen.settings, seen.system_namespace)
    there = seen.daemonset
    if there is None:
        return [Create(wanted)]
    if there.controller_uid() != seen.group.uid:
        return []
    if there.annotations.get(TEMPLATE_NOTE) == wanted.annotations[TEMPLATE_NOTE]:
        return []
    item = there.copy()
    item.raw["spec"] = {**there.spec, "template": wanted.spec["template"]}
    item.meta.setdefault("annotations", {})[TEMPLATE_NOTE] = wanted.annotations[TEMPLATE_NOTE]
    return [Replace(item)]


def agent_daemonset(group: LocalModelNodeGroup, settings: Settings, namespace: str) -> DaemonSet:
    """The agents of one group: one pod on every node that the group's affinity matches."""
    labels = {"app": names.label_value(names.agent_daemonset(group.name)), names.ROLE_LABEL: "agent"}
    container: Json = {
        "name": "agent",
        "image": settings.agent_image,
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "NODE_GROUP", "value": group.name},
            {"name": "FOREBAY_CACHE_ROOT", "value": names.MODEL_MOUNT},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [{"name": "metrics", "containerPort": names.AGENT_PORT}],
        "startupProbe": {"httpGet": HEALTH, "periodSeconds": 1, "failureThreshold": 600},
        "readinessProbe": {"httpGet": HEALTH, "periodSeconds": 10},
        "volumeMounts": [{"name": "models", "mountPath": names.MODEL_MOUNT}],
    }
    if settings.agent_resources:
        container["resources"] = settings.agent_resources
    template: Json = {
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": AGENT_ACCOUNT,
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": group_terms(group)
                    }
                }
            },
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [
                {"name": "models", "hostPath": {"path": root_path(group), "type": "DirectoryOrCreate"}}
            ],
        },
    }
    item = DaemonSet.new(
        names.agent_daemonset(group.name),
        namespace,
        labels=labels,
        annotations={TEMPLATE_NOTE: names.digest(json.dumps(template, sort_keys=True), 16)},
        spec={"selector": {"matchLabels": labels}, "template": template},
    )
    item.meta["ownerReferences"] = [group.owner_reference()]
    return item


def _status(seen: Seen) -> Json:
    """Sums over the group's nodes; bytes that no agent has reported yet are left out, not counted as zero."""
    matching = {n.name for n in seen.nodes if matches_node(group_terms(seen.group), n)}
    reports = [_report(n, seen.group.name) for n in seen.model_nodes if n.name in matching]
    found: Json = {"nodes": len(matching)}
    for name in ("used", "available"):
        numbers = [int(r[name]) for r in reports if isinstance(r.get(name), int | float)]
        if numbers:
            found[name] = str(sum(numbers))
            found.setdefault("rounded", {})[name] = quantity.rounded(sum(numbers))
    found["conditions"] = merged(
        seen.group.status.get("conditions"),
        [_ready(seen, matching)],
        now=rfc3339(seen.now),
        generation=0,
    )
    for condition in found["conditions"]:  # the status is part of the object here, so generation follows it
        condition.pop("observedGeneration", None)
    return found


def _report(model_node: LocalModelNode, group: str) -> Mapping[str, Any]:
    return (model_node.status.get("groups") or {}).get(group) or {}


def _ready(seen: Seen, matching: set[str]) -> Condition:
    if not root_path(seen.group):
        return no(
            "Ready", "NoPath", "persistentVolumeSpec names no folder; give it local.path or hostPath.path"
        )
    if not group_terms(seen.group):
        return no(
            "Ready",
            "NoNodeAffinity",
            "persistentVolumeSpec.nodeAffinity.required is missing, so no node "
            "belongs to the group; add nodeSelectorTerms",
        )
    if not matching:
        return no("Ready", "NoMatchingNode", "no node matches the group's nodeAffinity; label a node")
    return yes("Ready", "Matched", f"{len(matching)} nodes")
