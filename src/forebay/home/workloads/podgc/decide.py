"""Pods that nobody else removes (kubernetes pkg/controller/podgc); pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.api.kinds import Pod
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Delete

FINISHED_MAX = 500  # Kubernetes keeps 12500; this is one machine
QUARANTINE_S = 40.0


@dataclass(frozen=True)
class Seen:
    """All pods, the nodes there are, and since when each other node that a pod names has been missing."""

    pods: tuple[Pod, ...]
    nodes: frozenset[str]
    missing_since: Mapping[str, datetime]
    now: datetime


def decide(seen: Seen) -> tuple[Action, ...]:
    """Remove the oldest finished pods beyond the limit, and pods of nodes that are gone for good."""
    finished = sorted((pod for pod in seen.pods if p.finished(pod) and not pod.deleting), key=_age)
    surplus = finished[: max(0, len(finished) - FINISHED_MAX)]
    orphans = [pod for pod in seen.pods if _orphaned(seen, pod) and pod not in surplus]
    return tuple(Delete(pod, grace_s=0) for pod in [*surplus, *orphans])


def _age(pod: Pod) -> tuple[str, str, str]:
    return (p.created(pod), pod.namespace, pod.name)


def _orphaned(seen: Seen, pod: Pod) -> bool:
    """Bound to a node that is gone (a little while, so that a node may be replaced under its name)."""
    node = pod.spec.get("nodeName")
    if not node or node in seen.nodes:
        return False
    since = seen.missing_since.get(node)
    return since is not None and since + timedelta(seconds=QUARANTINE_S) <= seen.now
