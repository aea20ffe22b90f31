"""EndpointSlices of a Service (Kubernetes' endpointslice controller) with the real ports of pods; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.kinds import Endpoints, EndpointSlice, Pod, Service
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Update
from forebay.home.workloads.endpoints.mirror import mirrored

PORTS = "forebay.dev/ports"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
ENDPOINTS_MAX = 100

Ports = tuple[tuple[str, str, int], ...]  # (name, protocol, port)


@dataclass(frozen=True)
class Seen:
    """A Service, the pods that its selector matches, the slices we made for it, and the old form of them."""

    service: Service
    pods: tuple[Pod, ...]
    slices: tuple[EndpointSlice, ...]
    endpoints: Endpoints | None = None


def decide(seen: Seen) -> tuple[Action, ...]:
    """One slice per distinct set of ports (at most 100 endpoints each); what is no longer wanted goes.

    The old Endpoints say the same.
    """
    if not seen.service.spec.get("selector") or seen.service.spec.get("type") == "ExternalName":
        return ()
    if seen.service.deleting:
        return ()
    have = {item.name: item for item in seen.slices}
    wanted = {item.name: item for item in _wanted(seen)}
    actions: list[Action] = []
    for name, item in sorted(wanted.items()):
        if name not in have:
            actions.append(Create(item))
        elif not _same(have[name], item):
            actions.append(Update(_merged(have[name], item)))
    actions += [Delete(item) for name, item in sorted(have.items()) if name not in wanted]
    slices = [item for _, item in sorted(wanted.items())]
    return (*actions, *mirrored(seen.service, slices, seen.endpoints))


def _wanted(seen: Seen) -> list[EndpointSlice]:
    groups: dict[Ports, list[Pod]] = {}
    for pod in sorted(seen.pods, key=lambda pod: pod.key):
        if pod.status.get("podIP") and not p.finished(pod):
            groups.setdefault(resolved(seen.service, pod), []).append(pod)
    if not groups:
        groups[()] = []  # as in Kubernetes, a Service without pods has one empty slice
    return [
        _slice(seen.service, ports, pods[at : at + ENDPOINTS_MAX], at // ENDPOINTS_MAX)
        for ports, pods in groups.items()
        for at in range(0, max(1, len(pods)), ENDPOINTS_MAX)
    ]


def resolved(service: Service, pod: Pod) -> Ports:
    """The Service's ports on this pod: targetPort as number or name, through the real ports that the pod has.

    A port whose name no container declares is left out, as in Kubernetes.
    """
    real, found = _real(pod), []
    for port in service.spec.get("ports") or []:
        target = port.get("targetPort", port["port"])
        number = (
            _named(pod, str(target), port.get("protocol") or "TCP")
            if isinstance(target, str)
            else int(target)
        )
        if number is not None:
            found.append((port.get("name") or "", port.get("protocol") or "TCP", real.get(number, number)))
    return tuple(found)


def _real(pod: Pod) -> dict[int, int]:
    """containerPort -> the port that the pod's process really listens on."""
    try:
        found = json.loads(pod.annotations.get(PORTS, "{}"))
        return {int(port): int(real) for port, real in found.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _named(pod: Pod, name: str, protocol: str) -> int | None:
    if name.isdecimal():
        return int(name)
    for container in pod.spec.get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _slice(service: Service, ports: Ports, pods: Sequence[Pod], number: int) -> EndpointSlice:
    name = f"{service.name[:57]}-{p.suffix(json.dumps([service.uid, ports, number]))}"
    labels = {k: v for k, v in service.labels.items() if k not in (SERVICE_NAME, MANAGED_BY)}
    labels |= {SERVICE_NAME: service.name, MANAGED_BY: MANAGER}
    if service.spec.get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    made = EndpointSlice.new(
        name,
        service.namespace,
        labels=labels,
        addressType="IPv4",
        endpoints=[_endpoint(service, pod) for pod in pods],
        ports=[{"name": name, "protocol": protocol, "port": port} for name, protocol, port in ports],
    )
    made.meta["ownerReferences"] = [service.owner_reference()]
    return made


def _endpoint(service: Service, pod: Pod) -> Json:
    serving = p.ready(pod)
    ready = service.spec.get("publishNotReadyAddresses") or (serving and not pod.deleting)
    endpoint: Json = {
        "addresses": [pod.status["podIP"]],
        "conditions": {"ready": bool(ready), "serving": serving, "terminating": pod.deleting},
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    }
    if pod.spec.get("nodeName"):
        endpoint["nodeName"] = pod.spec["nodeName"]
    if pod.spec.get("hostname") and pod.spec.get("subdomain") == service.name:
        endpoint["hostname"] = pod.spec["hostname"]
    return endpoint


def _same(have: EndpointSlice, wanted: EndpointSlice) -> bool:
    fields = ("endpoints", "ports", "addressType")
    return have.labels == wanted.labels and all(
        (have.raw.get(f) or []) == (wanted.raw.get(f) or []) for f in fields
    )


def _merged(have: EndpointSlice, wanted: EndpointSlice) -> EndpointSlice:
    new = have.copy()
    new.meta["labels"] = wanted.labels
    for name in ("endpoints", "ports"):
        new.raw[name] = wanted.raw[name]
    return new
