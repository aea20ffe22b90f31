"""Which models the pods of a node use, as far as their objects tell: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from forebay.api.kinds import PersistentVolume, Pod
from forebay.api.meta import Json, Key
from forebay.api.names import LOCALMODEL_SOURCE, NODE_LABEL_PREFIX, storage_key
from forebay.cache.pins import Pin

_VIEW = re.compile(r"/models/([a-z0-9][a-z0-9-]{0,62})/?$")
_OVER = ("Succeeded", "Failed")


def pins_of(pods: Iterable[Pod], of_claim: Callable[[Key], str]) -> tuple[Pin, ...]:
    """One pin for each living pod that uses a model. `of_claim` gives a claim's storage key, or ""."""
    found = []
    for pod in pods:
        keys = keys_of(pod, of_claim) if pod.status.get("phase") not in _OVER else ()
        if keys:
            found.append(Pin(pod.uid, str(pod.key), tuple(sorted(keys))))
    return tuple(sorted(found, key=lambda pin: pin.uid))


def keys_of(pod: Pod, of_claim: Callable[[Key], str]) -> set[str]:
    """Storage keys: of mounted views (host paths and claims), of node labels that the pod requires, and of
    KServe's annotation.
    """
    found = {key for volume in pod.spec.get("volumes") or () if (key := _of_volume(pod, volume, of_claim))}
    found |= {
        label.removeprefix(NODE_LABEL_PREFIX)
        for label in _required_labels(pod)
        if label.startswith(NODE_LABEL_PREFIX)
    }
    source = pod.annotations.get(LOCALMODEL_SOURCE)
    if source:
        found.add(storage_key(source))
    return found


def key_of_path(path: str) -> str:
    """The storage key of a host path that is a view, or ""."""
    match = _VIEW.search(path)
    return match[1] if match else ""


def key_of_volume(volume: PersistentVolume) -> str:
    """The storage key of a serving volume, or ""."""
    for kind in ("hostPath", "local"):
        path = (volume.spec.get(kind) or {}).get("path")
        if path:
            return key_of_path(str(path))
    return ""


def claims_of(pod: Pod) -> set[Key]:
    """The claims that a pod mounts."""
    names = [(v.get("persistentVolumeClaim") or {}).get("claimName") for v in pod.spec.get("volumes") or ()]
    return {Key(pod.namespace, str(name)) for name in names if name}


def is_starting(pod: Pod) -> bool:
    """Whether the pod waits for its model: it runs or will run here, and is not ready yet."""
    conditions = pod.status.get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return not ready and not pod.deleting and pod.status.get("phase") not in _OVER


def _of_volume(pod: Pod, volume: Json, of_claim: Callable[[Key], str]) -> str:
    path = (volume.get("hostPath") or {}).get("path")
    if path:
        return key_of_path(str(path))
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    return of_claim(Key(pod.namespace, str(claim))) if claim else ""


def _required_labels(pod: Pod) -> list[str]:
    node = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    named = [str(e.get("key")) for term in terms for e in term.get("matchExpressions") or ()]
    return [*named, *(pod.spec.get("nodeSelector") or {})]
