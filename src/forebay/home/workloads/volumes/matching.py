"""Which volume satisfies a claim (Kubernetes' FindMatchingVolume and checkVolumeSatisfyClaim); pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from forebay.api import affinity, quantity
from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim
from forebay.api.meta import Resource
from forebay.api.selectors import match_expressions
from forebay.errors import Invalid

CLASS = "volume.beta.kubernetes.io/storage-class"


def storage_class(item: Resource) -> str:
    """Class of a volume or claim: the old annotation wins, as in Kubernetes."""
    return str(item.annotations.get(CLASS, item.spec.get("storageClassName") or ""))


def capacity(volume: PersistentVolume) -> int:
    """Bytes of the volume; 0 if unreadable."""
    return _bytes((volume.spec.get("capacity") or {}).get("storage"))


def asked(claim: PersistentVolumeClaim) -> int:
    """Bytes that the claim asks for."""
    return _bytes(((claim.spec.get("resources") or {}).get("requests") or {}).get("storage"))


def _bytes(text: str | int | None) -> int:
    try:
        return quantity.value(text if text is not None else 0)
    except Invalid:
        return 0


def reserved_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume's claimRef names this claim (by uid, if it has one)."""
    ref = volume.spec.get("claimRef") or {}
    if (ref.get("namespace"), ref.get("name")) != (claim.namespace, claim.name):
        return False
    return not ref.get("uid") or ref["uid"] == claim.uid


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why the volume cannot serve the claim, or ""; claimRef is not looked at."""
    if capacity(volume) < asked(claim):
        return "requested PV is too small"
    if storage_class(volume) != storage_class(claim):
        return "storageClassName does not match"
    if (volume.spec.get("volumeMode") or "Filesystem") != (claim.spec.get("volumeMode") or "Filesystem"):
        return "incompatible volumeMode"
    if not set(claim.spec.get("accessModes") or ()) <= set(volume.spec.get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def find(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], node: Node | None = None
) -> PersistentVolume | None:
    """The volume for the claim: one reserved for it, otherwise the smallest that is free and large enough.

    With a node, only volumes that can be used there.
    """
    fitting = [
        v for v in volumes
        if not v.deleting and not mismatch(v, claim) and (node is None or affinity.volume_allows(v, node))
    ]  # fmt: skip
    reserved = [v for v in fitting if reserved_for(v, claim)]
    if reserved:
        return _smallest(reserved)
    selector = claim.spec.get("selector")
    free = [
        v
        for v in fitting
        if not v.spec.get("claimRef") and v.status.get("phase") in (None, "Pending", "Available")
    ]
    return _smallest([v for v in free if selector is None or match_expressions(selector, v.labels)])


def _smallest(volumes: Sequence[PersistentVolume]) -> PersistentVolume | None:
    return min(volumes, key=lambda v: (capacity(v), v.name), default=None)
