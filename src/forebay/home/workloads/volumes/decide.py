"""Bind claims to volumes, release and reclaim them, keep both while in use (persistentvolume controllers)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from forebay.api.kinds import Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from forebay.api.meta import Json, Key, Resource
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Delete, Note, Status, Update
from forebay.home.workloads.volumes import matching as m

COMPLETED, BY_CONTROLLER = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
CLAIM_HELD, VOLUME_HELD = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


@dataclass(frozen=True)
class Seen:
    """All volumes, claims, classes, nodes, and the pods that mount claims."""

    volumes: tuple[PersistentVolume, ...]
    claims: tuple[PersistentVolumeClaim, ...]
    classes: tuple[StorageClass, ...]
    pods: tuple[Pod, ...]
    nodes: tuple[Node, ...]
    now: str = ""


@dataclass
class _World:
    """Working copies; what differs from `seen` at the end is written."""

    volumes: dict[str, PersistentVolume]
    claims: dict[Key, PersistentVolumeClaim]
    now: str = ""
    notes: list[Action] = field(default_factory=list)
    removals: list[Action] = field(default_factory=list)


def decide(seen: Seen) -> tuple[Action, ...]:
    """Everything that can be settled at once: volumes are written before the claims that name them."""
    world = _World({v.name: v.copy() for v in seen.volumes}, {c.key: c.copy() for c in seen.claims}, seen.now)
    for claim in sorted(world.claims.values(), key=lambda c: (p.created(c), c.key)):
        _bind(seen, world, claim)
    for name in sorted(world.volumes):
        _settle_volume(world, world.volumes[name])
    for claim in world.claims.values():
        _protect_claim(seen, claim)
    actions = list(world.notes)
    for before in sorted(seen.volumes, key=lambda v: v.name):
        actions += _written(before, world.volumes[before.name])
    for before_claim in sorted(seen.claims, key=lambda c: c.key):
        actions += _written(before_claim, world.claims[before_claim.key])
    return (*actions, *world.removals)


def _bind(seen: Seen, world: _World, claim: PersistentVolumeClaim) -> None:
    wanted = claim.spec.get("volumeName")
    if claim.deleting:
        return
    if COMPLETED in claim.annotations:
        _check_bound(world, claim)
    elif wanted:
        _bind_named(world, claim, world.volumes.get(wanted))
    elif (found := _choice(seen, world, claim)) is not None:
        _join(found, claim)
        claim.raw["spec"]["volumeName"] = found.name
        claim.meta["annotations"] = {**claim.annotations, BY_CONTROLLER: "yes"}
    else:
        _pending(world, claim, *_why_pending(seen, claim))


def _choice(seen: Seen, world: _World, claim: PersistentVolumeClaim) -> PersistentVolume | None:
    """The volume to bind now; a class that waits for a consumer waits until the scheduler names the node."""
    volumes = list(world.volumes.values())
    if not waits_for_pod(claim, seen.classes):
        return m.find(claim, volumes)
    if any(m.reserved_for(v, claim) for v in volumes):
        return m.find(claim, volumes)
    chosen = claim.annotations.get(SELECTED_NODE)
    node = next((n for n in seen.nodes if n.name == chosen), None)
    return m.find(claim, volumes, node) if node is not None else None


def waits_for_pod(claim: PersistentVolumeClaim, classes: tuple[StorageClass, ...]) -> bool:
    """Whether the claim's class has volumeBindingMode WaitForFirstConsumer."""
    name = m.storage_class(claim)
    return any(c.name == name and c.raw.get("volumeBindingMode") == "WaitForFirstConsumer" for c in classes)


def _why_pending(seen: Seen, claim: PersistentVolumeClaim) -> tuple[str, str, str]:
    """(type, reason, message) of the event that tells it, in Kubernetes' words."""
    wanted = m.storage_class(claim)
    if not wanted:
        told = "no persistent volumes available for this claim and no storage class is set"
        return "Normal", "FailedBinding", told
    found = next((one for one in seen.classes if one.name == wanted), None)
    if found is None:
        return "Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{wanted}" not found'
    if waits_for_pod(claim, seen.classes):
        return "Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
    provisioner = found.raw.get("provisioner")
    if provisioner == "kubernetes.io/no-provisioner":
        return "Warning", "ProvisioningFailed", f"no volume plugin matched name: {provisioner}"
    told = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or "
        "manually by the system administrator. If volume creation is delayed, please verify that the "
        "provisioner is running and correctly registered."
    )
    return "Normal", "ExternalProvisioning", told


def _bind_named(world: _World, claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> None:
    """The user named a volume: it is taken if it fits, is free, or is reserved for this claim."""
    if volume is None or volume.deleting:
        return _set_phase(claim, "Pending")
    if volume.spec.get("claimRef") and not m.reserved_for(volume, claim):
        message = f'volume "{volume.name}" already bound to a different claim.'
        return _pending(world, claim, "Warning", "FailedBinding", message)
    if why := m.mismatch(volume, claim):
        message = f'Cannot bind to requested volume "{volume.name}": {why}'
        return _pending(world, claim, "Warning", "VolumeMismatch", message)
    _join(volume, claim)
    return None


def _join(volume: PersistentVolume, claim: PersistentVolumeClaim) -> None:
    """Both sides name each other."""
    mine = m.reserved_for(volume, claim)
    volume.raw["spec"]["claimRef"] = {
        **(volume.spec.get("claimRef") or {}), "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace, "name": claim.name, "uid": claim.uid,
    }  # fmt: skip
    if not mine:
        volume.meta["annotations"] = {**volume.annotations, BY_CONTROLLER: "yes"}
    claim.meta["annotations"] = {**claim.annotations, COMPLETED: "yes"}
    status = dict(claim.status)
    status.update(phase="Bound", accessModes=list(volume.spec.get("accessModes") or []),
                  capacity=copy.deepcopy(volume.spec.get("capacity") or {}))  # fmt: skip
    claim.raw["status"] = status


def _check_bound(world: _World, claim: PersistentVolumeClaim) -> None:
    volume = world.volumes.get(claim.spec.get("volumeName") or "")
    if volume is None:
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return _lost(world, claim, message)
    if volume.spec.get("claimRef") and not m.reserved_for(volume, claim):
        message = "Two claims are bound to the same volume, this one is bound incorrectly"
        return _lost(world, claim, message)
    _join(volume, claim)
    return None


def _lost(world: _World, claim: PersistentVolumeClaim, message: str) -> None:
    if claim.status.get("phase") != "Lost":
        world.notes.append(Note(claim, "Warning", "ClaimLost", message))
        _set_phase(claim, "Lost")


def _pending(world: _World, claim: PersistentVolumeClaim, kind: str, reason: str, message: str) -> None:
    """Said at every look; the controller leaves out what it said at the last one."""
    world.notes.append(Note(claim, kind, reason, message))
    _set_phase(claim, "Pending")


def _set_phase(claim: PersistentVolumeClaim, phase: str) -> None:
    claim.raw["status"] = {**claim.status, "phase": phase}


def _settle_volume(world: _World, volume: PersistentVolume) -> None:
    ref = volume.spec.get("claimRef")
    claim = world.claims.get(Key(ref.get("namespace", ""), ref.get("name", ""))) if ref else None
    if VOLUME_HELD not in volume.finalizers and not volume.deleting:
        volume.meta["finalizers"] = [*volume.finalizers, VOLUME_HELD]
    if not ref or not ref.get("uid"):
        _volume_phase(world, volume, "Available")
    elif claim is not None and claim.uid == ref["uid"]:
        bound = claim.spec.get("volumeName") == volume.name and claim.status.get("phase") == "Bound"
        _volume_phase(world, volume, "Bound" if bound else "Available")
    else:
        _volume_phase(world, volume, "Released")
        if (volume.spec.get("persistentVolumeReclaimPolicy") or "Retain") == "Delete" and not volume.deleting:
            world.removals.append(Delete(volume))
    if volume.deleting and volume.status.get("phase") != "Bound":
        volume.meta["finalizers"] = [f for f in volume.finalizers if f != VOLUME_HELD]


def _volume_phase(world: _World, volume: PersistentVolume, phase: str) -> None:
    if volume.status.get("phase") != phase:
        moved = {"lastPhaseTransitionTime": world.now} if world.now else {}
        volume.raw["status"] = {**volume.status, "phase": phase, **moved}


def _protect_claim(seen: Seen, claim: PersistentVolumeClaim) -> None:
    if not claim.deleting:
        if CLAIM_HELD not in claim.finalizers:
            claim.meta["finalizers"] = [*claim.finalizers, CLAIM_HELD]
    elif not any(_mounts(pod, claim) for pod in seen.pods):
        claim.meta["finalizers"] = [f for f in claim.finalizers if f != CLAIM_HELD]


def _mounts(pod: Pod, claim: PersistentVolumeClaim) -> bool:
    """Whether a pod that still runs, or may run, uses the claim.

    One that is on no node yet does not: it will not start with a claim that leaves, and if it held the claim,
    both would wait for ever.
    """
    mine = pod.namespace == claim.namespace and claim.name in claims_of(pod)
    return mine and bool(pod.spec.get("nodeName")) and not p.finished(pod)


def claims_of(pod: Pod) -> list[str]:
    """Names of the claims that a pod mounts."""
    volumes = pod.spec.get("volumes") or []
    return [str(c["claimName"]) for v in volumes if (c := v.get("persistentVolumeClaim"))]


def _written(before: Resource, after: Resource) -> list[Action]:
    """The body and the status are two writes; only what differs is written."""
    actions: list[Action] = []
    if _body(before) != _body(after):
        actions.append(Update(after))
    if before.status != after.status and not (after.deleting and not after.finalizers):
        only = after.copy()
        only.meta.pop("resourceVersion", None)
        actions.append(Status(only))
    return actions


def _body(item: Resource) -> Json:
    return {name: value for name, value in item.raw.items() if name != "status"}
