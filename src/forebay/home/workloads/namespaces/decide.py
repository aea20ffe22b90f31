"""What a namespace is born with, and when a dying one may go; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forebay.api.kinds import ConfigMap, Namespace, ServiceAccount
from forebay.api.meta import Json, Resource
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Update, changed_status

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
LOOK_AGAIN_S = 0.5
_FINE = {
    "NamespaceDeletionDiscoveryFailure": (
        "False", "ResourcesDiscovered", "All resources successfully discovered",
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "False", "ParsedGroupVersions", "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A namespace and everything in it; `ca_pem` is the certificate that its pods trust."""

    namespace: Namespace
    content: tuple[Resource, ...]
    ca_pem: str
    now: datetime


@dataclass(frozen=True)
class Decision:
    actions: tuple[Action, ...]
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """A living namespace gets its account and certificate; a dying one is emptied, then let go."""
    if not seen.namespace.deleting:
        return Decision((*_account(seen), *_certificate(seen)))
    if not seen.content:
        return Decision(_let_go(seen.namespace))
    doomed = [Delete(item) for item in sorted(seen.content, key=_order) if not item.deleting]
    told = () if doomed else changed_status(seen.namespace, _held_up(seen))  # only if it takes longer
    return Decision((*doomed, *told), LOOK_AGAIN_S)


def _held_up(seen: Seen) -> Json:
    """The status that says what is left and what it waits for, in Kubernetes' words."""
    kinds = Counter(f"{item.plural}.{item.group}" for item in seen.content)
    marks = Counter(mark for item in seen.content for mark in item.finalizers)
    left = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
    held = ", ".join(f"{mark} in {count} resource instances" for mark, count in sorted(marks.items()))
    remaining = ("True", "SomeResourcesRemain", f"Some resources are remaining: {left}")
    finalizers = ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    if held:
        message = f"Some content in the namespace has finalizers remaining: {held}"
        finalizers = ("True", "SomeFinalizersRemain", message)
    conditions = seen.namespace.status.get("conditions")
    for type_, (status, reason, message) in {**_FINE, "NamespaceContentRemaining": remaining,
                                             "NamespaceFinalizersRemaining": finalizers}.items():  # fmt: skip
        new = {"type": type_, "status": status, "reason": reason, "message": message}
        conditions = p.with_condition(conditions, new, seen.now)
    return {**seen.namespace.status, "conditions": conditions}


def _order(item: Resource) -> tuple[int, str, str]:
    """Owners before what they would make again, events last."""
    makers = ("Deployment", "DaemonSet", "Job", "ReplicaSet")
    rank = makers.index(item.kind) if item.kind in makers else len(makers)
    return (rank + 10 * (item.kind == "Event"), item.kind, item.name)


def _let_go(namespace: Namespace) -> tuple[Action, ...]:
    left = [name for name in namespace.spec.get("finalizers") or [] if name != FINALIZER]
    if left == (namespace.spec.get("finalizers") or []) and left:
        return ()
    new = namespace.copy()
    new.raw["spec"] = {**namespace.spec, "finalizers": left}
    return (Update(new),)


def _account(seen: Seen) -> Sequence[Action]:
    if any(isinstance(item, ServiceAccount) and item.name == "default" for item in seen.content):
        return ()
    return (Create(ServiceAccount.new("default", seen.namespace.name)),)


def _certificate(seen: Seen) -> Sequence[Action]:
    data: Json = {"ca.crt": seen.ca_pem}
    have = next((i for i in seen.content if isinstance(i, ConfigMap) and i.name == ROOT_CA), None)
    if have is None:
        return (Create(ConfigMap.new(ROOT_CA, seen.namespace.name, data=data)),)
    if have.raw.get("data") == data:
        return ()
    new = have.copy()
    new.raw["data"] = data
    return (Update(new),)
