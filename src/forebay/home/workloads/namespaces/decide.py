"""What a namespace is born with, and when a dying one may go; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.kinds import ConfigMap, Namespace, ServiceAccount
from forebay.api.meta import Json, Resource
from forebay.home.workloads.actions import Action, Create, Delete, Update

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
LOOK_AGAIN_S = 0.5


@dataclass(frozen=True)
class Seen:
    """A namespace and everything in it; `ca_pem` is the certificate that its pods trust."""

    namespace: Namespace
    content: tuple[Resource, ...]
    ca_pem: str


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
    doomed = [item for item in seen.content if not item.deleting]
    return Decision(tuple(Delete(item) for item in sorted(doomed, key=_order)), LOOK_AGAIN_S)


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
