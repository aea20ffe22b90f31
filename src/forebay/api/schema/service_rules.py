"""What kube-apiserver refuses about services.

Source: Kubernetes' validation of core/v1 (paths and wording; v1.34).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause
from forebay.api.schema.pod_rules import port_name, port_number

NODE_PORTS = range(30000, 32768)
_OUTSIDE = ("NodePort", "LoadBalancer")


def service(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a service beyond its metadata."""
    spec = raw["spec"]
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        yield causes.required("spec.ports")
    if spec.get("type") == "ExternalName":
        name = str(spec.get("externalName") or "").removesuffix(".")
        if not name:
            yield causes.required("spec.externalName")
        for told in names.dns1123_subdomain(name) if name else ():
            yield causes.invalid("spec.externalName", name, told)
    yield from names.labels(spec.get("selector"), "spec.selector")
    yield from _ports(spec)
    yield from _reached(spec)
    yield from _families(spec)
    yield from _address_kept(spec, old)


def _ports(spec: Json) -> Iterator[Cause]:
    ports = spec.get("ports") or []
    seen, numbers = set[str](), set[tuple[Any, Any]]()
    for index, one in enumerate(ports):
        path, name = f"spec.ports[{index}]", str(one.get("name") or "")
        if not name and len(ports) > 1:
            yield causes.required(f"{path}.name")
        for told in names.dns1123_label(name) if name else ():
            yield causes.invalid(f"{path}.name", name, told)
        if name and name in seen:
            yield causes.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from port_number(f"{path}.port", one.get("port") or 0)
        target = one.get("targetPort")
        if isinstance(target, str):
            for told in port_name(target):
                yield causes.invalid(f"{path}.targetPort", target, told)
        elif target is not None:
            yield from port_number(f"{path}.targetPort", target)
        yield from _node_port(one, path, str(spec.get("type") or ""))
        key = (one.get("port"), one.get("protocol"))
        if key in numbers:
            shown = {"Name": "", "Protocol": key[1], "AppProtocol": None, "Port": key[0]}
            yield causes.duplicate(path, {**shown, "TargetPort": 0, "NodePort": 0})
        numbers.add(key)


def _node_port(one: Json, path: str, kind: str) -> Iterator[Cause]:
    number = one.get("nodePort")
    if not number:
        return
    if kind == "ClusterIP":
        yield causes.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
    elif number not in NODE_PORTS:
        told = (
            "provided port is not in the valid range. The range of valid ports is "
            f"{NODE_PORTS[0]}-{NODE_PORTS[-1]}"
        )
        yield causes.invalid(f"{path}.nodePort", number, told)


def _reached(spec: Json) -> Iterator[Cause]:
    """From where: the addresses, and what is said about traffic from outside."""
    yield from _addresses(spec)
    outside = spec.get("type") in _OUTSIDE or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not outside:
        told = "may only be set for externally-accessible services"
        yield causes.invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], told)
    for index, one in enumerate(spec.get("externalIPs") or ()):
        yield from names.ip_address(one, f"spec.externalIPs[{index}]")


def _addresses(spec: Json) -> Iterator[Cause]:
    address, listed = str(spec.get("clusterIP") or ""), spec.get("clusterIPs") or []
    if spec.get("type") == "ExternalName":
        if address or listed:
            yield causes.forbidden("spec.clusterIPs", "may not be set for ExternalName services")
        return
    if listed and not address:
        yield causes.invalid("spec.clusterIPs", listed, "must be empty when `clusterIP` is not specified")
    elif listed and listed[0] != address:
        yield causes.invalid("spec.clusterIPs", listed, "first value must match `clusterIP`")
    elif address == "None" and spec.get("type") in _OUTSIDE:
        told = f"may not be set to 'None' for {spec['type']} services"
        yield causes.invalid("spec.clusterIPs[0]", "None", told)
    elif address not in ("", "None"):
        refused = list(names.ip_address(address, "spec.clusterIPs[0]"))
        if not refused and ":" in address:
            told = "IPv6 is not configured on this cluster"
            refused = [causes.invalid("spec.clusterIPs[0]", [address], told)]
        yield from refused


def _families(spec: Json) -> Iterator[Cause]:
    """This home has addresses of IPv4 alone; of what stands behind no selector it knows nothing."""
    if spec.get("type") == "ExternalName" or (spec.get("clusterIP") == "None" and not spec.get("selector")):
        return
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    twice = next((index for index, one in enumerate(families) if one in families[:index]), None)
    if twice is not None:
        yield causes.duplicate(f"spec.ipFamilies[{twice}]", families[twice])
        return
    if policy == "RequireDualStack":
        told = "this cluster is not configured for dual-stack services"
        yield causes.invalid("spec.ipFamilyPolicy", policy, told)
    if policy == "SingleStack" and len(families) > 1:
        told = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        yield causes.invalid("spec.ipFamilyPolicy", policy, told)
        return
    for index, one in enumerate(families):
        if one == "IPv6":
            yield causes.invalid(f"spec.ipFamilies[{index}]", one, "not configured on this cluster")


def _address_kept(spec: Json, old: Json | None) -> Iterator[Cause]:
    was = (old or {}).get("spec") or {}
    if not was.get("clusterIP") or "ExternalName" in (was.get("type"), spec.get("type")):
        return
    if spec.get("clusterIP") != was["clusterIP"]:
        yield causes.invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [], "may not change once set")
