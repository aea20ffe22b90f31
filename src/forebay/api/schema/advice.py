"""What kube-apiserver takes and warns of; sentences for Warning headers; pure.

Source: Kubernetes' pkg/api/pod and the WarningsOnCreate of its registries (wording, order; v1.34).
"""

from __future__ import annotations

from collections.abc import Iterator

from forebay.api import kinds, quantity
from forebay.api.meta import Json, Resource
from forebay.errors import Invalid

_NAMES_PODS = (kinds.Deployment, kinds.ReplicaSet, kinds.Job, kinds.CronJob)
_IN_BYTES = ("memory", "ephemeral-storage", "storage")
_SURPRISE = "which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"


def advice(raw: Json, kind: type[Resource]) -> list[str]:
    """Sentences about an object that validation has passed."""
    found: list[str] = []
    dotted = "." in str(raw["metadata"].get("name") or "")
    if dotted and kind is kinds.Pod:
        found.append(f"metadata.name: this is used in the Pod's hostname, {_SURPRISE}")
    elif dotted and kind in _NAMES_PODS:
        found.append(f"metadata.name: this is used in Pod names and hostnames, {_SURPRISE}")
    spec = raw.get("spec") or {}
    for path, pod in _pod_specs(spec, kind):
        found += _pod(pod, path)
    if kind is kinds.PersistentVolumeClaim:
        found += _fractions((spec.get("resources") or {}).get("requests") or {}, "spec.resources.requests")
    if kind is kinds.PersistentVolume and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        told = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic"
        found.append(f"spec.persistentVolumeReclaimPolicy: {told} provisioning.")
    return found


def _pod_specs(spec: Json, kind: type[Resource]) -> Iterator[tuple[str, Json]]:
    if kind is kinds.Pod:
        yield "spec", spec
    elif kind is kinds.CronJob:
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        yield "spec.jobTemplate.spec.template.spec", (job.get("template") or {}).get("spec") or {}
    elif isinstance(spec.get("template"), dict):
        yield "spec.template.spec", spec["template"].get("spec") or {}


def _pod(spec: Json, path: str) -> Iterator[str]:
    for index, one in enumerate(spec.get("imagePullSecrets") or ()):
        if not one.get("name"):
            yield f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'
    places = [
        (f"{path}.{part}[{index}]", one)
        for part in ("initContainers", "containers")
        for index, one in enumerate(spec.get(part) or ())
    ]
    for at, one in places:
        for part in ("limits", "requests"):
            yield from _fractions((one.get("resources") or {}).get(part) or {}, f"{at}.resources.{part}")
        yield from _twice(one, at)


def _fractions(amounts: Json, path: str) -> Iterator[str]:
    for name in _IN_BYTES:
        try:
            thousandths = quantity.parse(amounts.get(name, 0)) * 1000
        except Invalid:
            continue
        if thousandths % 1000:
            told = f'fractional byte value "{-(-thousandths // 1)}m" is invalid, must be an integer'
            yield f"{path}[{name}]: {told}"


def _twice(container: Json, path: str) -> Iterator[str]:
    """What a client-side apply would merge into one."""
    variables = [one.get("name") for one in container.get("env") or ()]
    for index, one in enumerate(container.get("env") or ()):
        refers = f"$({one.get('name')})" in str(one.get("value") or "")
        if one.get("name") in variables[:index] and not refers:
            told = f'hides previous definition of "{one.get("name")}", which may be dropped when using apply'
            yield f"{path}.env[{index}]: {told}"
    ports = [
        (one.get("containerPort"), one.get("protocol") or "TCP", one.get("hostPort"), one.get("hostIP"))
        for one in container.get("ports") or ()
    ]
    for index, port in enumerate(ports):
        if port in ports[:index]:
            first = f"{path}.ports[{ports.index(port)}]"
            yield f"{path}.ports[{index}]: duplicate port definition with {first}"
