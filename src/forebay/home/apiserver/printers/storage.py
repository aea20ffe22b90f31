"""Rows of PersistentVolume, PersistentVolumeClaim, StorageClass, Secret and ConfigMap."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.home.apiserver.printers.words import UNSET, age, part

VOLUME = (
    "Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass",
    "VolumeAttributesClass", "Reason", "Age", "+VolumeMode",
)  # fmt: skip
CLAIM = (
    "Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age",
    "+VolumeMode",
)  # fmt: skip
STORAGE_CLASS = (
    "Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age",
)  # fmt: skip
SECRET = ("Name", "Type", "Data", "Age")
CONFIG_MAP = ("Name", "Data", "Age")
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _modes(found: Any) -> str:
    return ",".join(short for long, short in _MODES.items() if long in (found or ()))


def _phase(raw: Json) -> str:
    return (
        "Terminating"
        if raw["metadata"].get("deletionTimestamp")
        else str(part(raw, "status").get("phase", ""))
    )


def _class(raw: Json) -> str:
    beta = part(raw, "metadata", "annotations").get(_CLASS)
    return str(beta if beta is not None else part(raw, "spec").get("storageClassName") or "")


def volume(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of VOLUME."""
    spec, claim = part(raw, "spec"), part(raw, "spec", "claimRef")
    return [
        raw["metadata"]["name"], str(part(spec, "capacity").get("storage", "0")),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""), _phase(raw),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", _class(raw),
        spec.get("volumeAttributesClassName", UNSET), part(raw, "status").get("reason", ""), age(raw, now),
        spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def claim(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of CLAIM."""
    spec, status = part(raw, "spec"), part(raw, "status")
    bound = spec.get("volumeName") or ""
    return [
        raw["metadata"]["name"], _phase(raw), bound,
        str(part(status, "capacity").get("storage", "0")) if bound else "",
        _modes(status.get("accessModes")) if bound else "", _class(raw),
        spec.get("volumeAttributesClassName", UNSET),
        age(raw, now), spec.get("volumeMode", UNSET),
    ]  # fmt: skip


def storage_class(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of STORAGE_CLASS."""
    notes = part(raw, "metadata", "annotations")
    name = raw["metadata"]["name"] + " (default)" * any(notes.get(one) == "true" for one in _DEFAULT)
    return [
        name, raw.get("provisioner", ""), raw.get("reclaimPolicy", "Delete"), raw.get("volumeBindingMode",
        "Immediate"),
        bool(raw.get("allowVolumeExpansion")), age(raw, now),
    ]  # fmt: skip


def secret(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of SECRET."""
    return [raw["metadata"]["name"], raw.get("type", ""), len(part(raw, "data")), age(raw, now)]


def config_map(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of CONFIG_MAP."""
    return [raw["metadata"]["name"], len(part(raw, "data")) + len(part(raw, "binaryData")), age(raw, now)]
