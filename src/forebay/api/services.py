"""What a service is given and keeps: its address, its node ports, and what only some types have; pure.

Source: Kubernetes' service registry (dropTypeDependentFields, patchAllocatedValues, the allocators; v1.34).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause
from forebay.api.schema.service_rules import NODE_PORTS

_NETWORK = ipaddress.IPv4Network("10.96.0.0/16")  # kubeadm's own; nothing listens there on a laptop
API_ADDRESS = "10.96.0.1"  # the first one is the API's own, as on a cluster
_OUTSIDE = ("NodePort", "LoadBalancer")
_ADDRESSES, _FAMILIES = ("clusterIP", "clusterIPs"), ("ipFamilies", "ipFamilyPolicy")


def begun(raw: Json, others: Iterable[Json]) -> None:
    """Give a new service what it did not ask for. `raw` changes."""
    spec, there = raw["spec"], list(others)
    _give_address(spec, str(raw["metadata"].get("uid", "")), there)
    _give_ports(raw, there)


def changed(new: Json, old: Json, others: Iterable[Json]) -> None:
    """Keep what an update does not name, drop what the new type has not, give what it has now."""
    spec, was = new.get("spec"), old.get("spec") or {}
    if not isinstance(spec, dict):
        return
    there = [one for one in others if one["metadata"].get("uid") != new["metadata"].get("uid")]
    _keep_address(spec, was)
    _keep_ports(spec, was)
    _drop(spec, was)
    if not spec.get("clusterIP"):
        _give_address(spec, str(new["metadata"].get("uid", "")), there)
    _give_ports(new, there)


def taken(new: Json, old: Json | None, others: Iterable[Json]) -> Iterator[Cause]:
    """What the service asks for and another one has."""
    spec, was = new["spec"], (old or {}).get("spec") or {}
    there = [one for one in others if one["metadata"].get("uid") != new["metadata"].get("uid")]
    address = spec.get("clusterIP")
    if address and address not in ("None", was.get("clusterIP")) and spec.get("type") != "ExternalName":
        told = f"failed to allocate IP {address}: "
        if not _in_network(address):
            told += "the provided network does not match the current range"
            yield causes.invalid("spec.clusterIPs", [address], told)
        elif address in _addresses(there):
            told += "provided IP is already allocated"
            yield causes.invalid("spec.clusterIPs", [address], told)
    used, mine = _numbers(there), set[tuple[int, Any]]()
    for index, port in enumerate(_ports(spec)):
        number = port.get("nodePort")
        if not number:
            continue
        if number in used or (number, port.get("protocol")) in mine:
            told = "provided port is already allocated"
            yield causes.invalid(f"spec.ports[{index}].nodePort", number, told)
        mine.add((number, port.get("protocol")))


def _give_address(spec: Json, uid: str, others: Sequence[Json]) -> None:
    """A cluster address, unique among all services and the same for the same uid where it can be."""
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP"):
        if spec.get("clusterIPs"):
            return  # refused by the rules
        held, start = _addresses(others), _drawn(uid)
        places = (str(_NETWORK[(start + step) % 65_000 + 10]) for step in range(65_000))
        spec["clusterIP"] = next(ip for ip in places if ip not in held)
    if not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def _in_network(address: str) -> bool:
    """An address of the network that is neither its first nor its last."""
    ends = (_NETWORK.network_address, _NETWORK.broadcast_address)
    return (found := ipaddress.ip_address(address)) in _NETWORK and found not in ends


def _drawn(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _addresses(services: Iterable[Json]) -> set[str]:
    return {str((one.get("spec") or {}).get("clusterIP")) for one in services}


def _ports(spec: Json) -> list[Json]:
    found = spec.get("ports")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _numbers(services: Iterable[Json]) -> set[int]:
    return {port["nodePort"] for one in services for port in _ports(one["spec"]) if port.get("nodePort")}


def _has_node_ports(spec: Json) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def _give_ports(raw: Json, others: Sequence[Json]) -> None:
    """A port of the node for each port that has none; two protocols of one port share it."""
    spec = raw["spec"]
    if not _has_node_ports(spec):
        return
    used = _numbers(others) | _numbers([raw])
    shared = {(one.get("port"), one.get("protocol") or "TCP"): one.get("nodePort") for one in _ports(spec)}
    for port in _ports(spec):
        if port.get("nodePort"):
            continue
        number, protocol = port.get("port"), port.get("protocol") or "TCP"
        same = next((n for (p, kind), n in shared.items() if p == number and kind != protocol and n), None)
        start = _drawn(f"{raw['metadata'].get('uid', '')}/{number}")
        places = (NODE_PORTS[(start + step) % len(NODE_PORTS)] for step in range(len(NODE_PORTS)))
        found = same or next((place for place in places if place not in used), None)
        if found is not None:
            port["nodePort"] = shared[number, protocol] = found
            used.add(found)


def _keep_address(spec: Json, was: Json) -> None:
    if spec.get("type") == "ExternalName":
        return
    for name in _ADDRESSES:
        if was.get(name) and not spec.get(name):
            spec[name] = was[name]
    if spec.get("clusterIP") != was.get("clusterIP") and spec.get("clusterIPs") == was.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]  # a client that knows the old field alone


def _keep_ports(spec: Json, was: Json) -> None:
    """By the ports' names, unless the update gave the number to another one."""
    if not _has_node_ports(spec) or not _has_node_ports(was):
        return
    known = {one.get("name") or "": one.get("nodePort") for one in _ports(was)}
    used = {one.get("nodePort") for one in _ports(spec)} & set(known.values())
    for port in _ports(spec):
        before = known.get(port.get("name") or "")
        if not port.get("nodePort") and before and before not in used:
            port["nodePort"] = before
            used.add(before)


def _drop(spec: Json, was: Json) -> None:
    """What the old type had and the new one has not goes, if the update left it as it was."""
    kind, before = spec.get("type") or "ClusterIP", was.get("type") or "ClusterIP"
    if _has_node_ports(was) and kind not in _OUTSIDE:
        held = _numbers([{"spec": was}])
        for port in _ports(spec):
            if port.get("nodePort") in held:
                del port["nodePort"]
    gone: tuple[str, ...] = ()
    if before in _OUTSIDE and kind not in _OUTSIDE:
        gone += ("externalTrafficPolicy", "healthCheckNodePort")
    if before == "LoadBalancer" != kind:
        gone += ("allocateLoadBalancerNodePorts", "loadBalancerClass")
    if before != "ExternalName" == kind:
        gone += (*_ADDRESSES, *_FAMILIES, "internalTrafficPolicy")
    for name in gone:
        if spec.get(name) == was.get(name):
            spec.pop(name, None)
