"""Whether a pod fits on a node, in Kubernetes' words, and how well; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from forebay.api import affinity, quantity
from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim, Pod
from forebay.errors import Invalid
from forebay.home.workloads import pods as p
from forebay.home.workloads.volumes import matching

PODS_DEFAULT = 110  # a node that does not say how many pods it takes
_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Room:
    """A node with what its pods leave free, and how many pods of each controller it has."""

    node: Node
    free: Mapping[str, Fraction]
    total: Mapping[str, Fraction]
    siblings: Mapping[str, int]


@dataclass(frozen=True)
class Volumes:
    """What the pod's claims mean for the choice: volumes already bound, and claims that wait for a node."""

    bound: tuple[PersistentVolume, ...] = ()
    waiting: tuple[PersistentVolumeClaim, ...] = ()
    every: tuple[PersistentVolume, ...] = ()


def requests(pod: Pod) -> dict[str, Fraction]:
    """What a pod asks for: the sum of its containers or the largest init container; limits stand in.

    Source: k8s.io/component-helpers resource.PodRequests; those with restartPolicy Always are added.
    """
    total: dict[str, Fraction] = {}
    for container in pod.spec.get("containers") or []:
        total = quantity.added(total, _asked(container))
    sidecars: dict[str, Fraction] = {}
    starting: dict[str, Fraction] = {}
    for container in pod.spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            sidecars = quantity.added(sidecars, _asked(container))
            starting = quantity.greatest(starting, sidecars)
        else:
            starting = quantity.greatest(starting, quantity.added(sidecars, _asked(container)))
    total = quantity.greatest(quantity.added(total, sidecars), starting)
    total = quantity.added(total, quantity.amounts(pod.spec.get("overhead")))
    return {**total, "pods": Fraction(1)}


def _asked(container: Mapping[str, Any]) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    try:
        return quantity.amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
    except Invalid:
        return {}  # admission refuses such a pod; one that is stored must not stop the others


def room(node: Node, pods: Iterable[Pod]) -> Room:
    """What `pods`, those bound to the node, leave free of its allocatable."""
    try:
        total = quantity.amounts(node.status.get("allocatable") or node.status.get("capacity"))
    except Invalid:
        total = {}
    total.setdefault("pods", Fraction(PODS_DEFAULT))
    free, siblings = dict(total), dict[str, int]()
    for pod in pods:
        for name, amount in requests(pod).items():
            free[name] = free.get(name, Fraction(0)) - amount
        siblings[pod.controller_uid()] = siblings.get(pod.controller_uid(), 0) + 1
    return Room(node, free, total, siblings)


def obstacles(pod: Pod, where: Room, volumes: Volumes, ports: frozenset[tuple[str, int]]) -> list[str]:
    """Why the pod cannot go there; the first filter that says no speaks, as in Kubernetes."""
    node = where.node
    if node.spec.get("unschedulable") and not affinity.tolerates(
        pod.spec.get("tolerations"), {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    ):
        return ["node(s) were unschedulable"]
    taint = affinity.untolerated(pod.spec, node, ("NoSchedule", "NoExecute"))
    if taint is None and not affinity.ready(node) and not _tolerates_not_ready(pod):
        taint = dict(_NOT_READY)
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]
    if not affinity.pod_allows(pod.spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if host_ports(pod) & ports:
        return ["node(s) didn't have free ports for the requested pod ports"]
    short = [
        name for name, amount in sorted(requests(pod).items()) if amount > where.free.get(name, Fraction(0))
    ]
    if short:
        return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in short]
    if not all(affinity.volume_allows(v, node) for v in volumes.bound):
        return ["node(s) had volume node affinity conflict"]
    if not _all_found(volumes, node):
        return ["node(s) didn't find available persistent volumes to bind"]
    return []


def _tolerates_not_ready(pod: Pod) -> bool:
    """DaemonSet pods tolerate a node that is not ready (for eviction); they may start there, too."""
    effects = ("NoSchedule", "NoExecute")
    return any(affinity.tolerates(pod.spec.get("tolerations"), {**_NOT_READY, "effect": e}) for e in effects)


def _all_found(volumes: Volumes, node: Node) -> bool:
    left = list(volumes.every)
    for claim in volumes.waiting:
        found = matching.find(claim, left, node)
        if found is None:
            return False
        left.remove(found)
    return True


def host_ports(pod: Pod) -> frozenset[tuple[str, int]]:
    """(protocol, port) pairs that the pod wants on the machine itself."""
    return frozenset(
        (port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in pod.spec.get("containers") or []
        for port in container.get("ports") or []
        if port.get("hostPort")
    )


def score(pod: Pod, where: Room) -> Fraction:
    """Larger is better: preferred affinity first, then few siblings and much free room."""
    asked = requests(pod)
    shares = [
        (where.free.get(name, Fraction(0)) - asked.get(name, Fraction(0))) / where.total[name]
        for name in ("cpu", "memory")
        if where.total.get(name)
    ]
    free = sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)
    avoided = affinity.untolerated(pod.spec, where.node, ("PreferNoSchedule",)) is not None
    siblings = where.siblings.get(pod.controller_uid(), 0) if pod.controller_uid() else 0
    wish = affinity.preference(pod.spec, where.node) - 100 * avoided
    return Fraction(wish) - 2 * siblings + free


def is_active(pod: Pod) -> bool:
    """Whether a bound pod uses its node's room."""
    return not p.finished(pod)
