"""PVs and PVCs from a node group's templates; pure.

The download PV shows the group's whole root, to the job namespace only. A serving PV shows one model's view
and is mounted read-only, so that no pod of a service ever sees another model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from forebay.api.kinds import LocalModelNodeGroup, PersistentVolume, PersistentVolumeClaim
from forebay.api.meta import Json

_PATHS = ("local", "hostPath", "nfs")


@dataclass(frozen=True)
class Pair:
    """Names and marks of a volume and its claim. `size` overrides the template's capacity if given."""

    volume: str
    claim: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    size: str = ""


def root_path(group: LocalModelNodeGroup) -> str:
    """The folder on each node that the group's volume template names, or "" if it names none."""
    spec = group.spec.get("persistentVolumeSpec") or {}
    return next((str(spec[kind]["path"]) for kind in _PATHS if (spec.get(kind) or {}).get("path")), "")


def group_terms(group: LocalModelNodeGroup) -> list[Json]:
    """nodeSelectorTerms of the group; none match no node."""
    spec = group.spec.get("persistentVolumeSpec") or {}
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    return list(required.get("nodeSelectorTerms") or [])


def download_volume(group: LocalModelNodeGroup, pair: Pair) -> PersistentVolume:
    """The group's root, for its download Jobs."""
    spec = _volume_spec(group, pair)
    return PersistentVolume.new(pair.volume, labels=pair.labels, annotations=pair.annotations, spec=spec)


def serving_volume(group: LocalModelNodeGroup, pair: Pair, key: str) -> PersistentVolume:
    """One model's view, read-only."""
    spec = _volume_spec(group, pair)
    for kind in _PATHS:
        if (spec.get(kind) or {}).get("path"):
            spec[kind]["path"] = f"{spec[kind]['path'].rstrip('/')}/models/{key}"
    if "hostPath" in spec:
        spec["hostPath"]["type"] = "Directory"  # DirectoryOrCreate would make an empty model
    spec["mountOptions"] = [o for o in spec.get("mountOptions") or [] if o not in ("rw", "ro")] + ["ro"]
    return PersistentVolume.new(pair.volume, labels=pair.labels, annotations=pair.annotations, spec=spec)


def claim(group: LocalModelNodeGroup, pair: Pair) -> PersistentVolumeClaim:
    """The claim for that volume. `volumeName` of the template is always replaced, as in KServe."""
    spec = copy.deepcopy(group.spec.get("persistentVolumeClaimSpec") or {})
    spec["volumeName"] = pair.volume
    if pair.size:
        spec.setdefault("resources", {}).setdefault("requests", {})["storage"] = pair.size
    return PersistentVolumeClaim.new(
        pair.claim, pair.namespace, labels=pair.labels, annotations=pair.annotations, spec=spec
    )


def _volume_spec(group: LocalModelNodeGroup, pair: Pair) -> Json:
    spec: Json = copy.deepcopy(group.spec.get("persistentVolumeSpec") or {})
    if pair.size:
        spec.setdefault("capacity", {})["storage"] = pair.size
    # The volume is one claim's alone, and its files are the agent's to delete, never the volume controller's.
    spec["claimRef"] = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": pair.claim, "namespace": pair.namespace,
    }  # fmt: skip
    spec["persistentVolumeReclaimPolicy"] = "Retain"
    return spec
