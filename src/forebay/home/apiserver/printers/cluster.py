"""Rows of Node, Namespace, Event, Service, EndpointSlice, Lease, ServiceAccount, RBAC and definitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.home.apiserver.printers.words import (
    NONE,
    UNKNOWN,
    age,
    condition,
    cut,
    label_map,
    objects,
    part,
    since,
)

NODE = (
    "Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image",
    "+Kernel-Version",
    "+Container-Runtime",
)  # fmt: skip
NAMESPACE = ("Name", "Status", "Age")
EVENT = (
    "Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+Count",
    "+Name",
)  # fmt: skip
SERVICE = ("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector")
ENDPOINT_SLICE = ("Name", "AddressType", "Ports", "Endpoints", "Age")
LEASE = ("Name", "Holder", "Age")
SERVICE_ACCOUNT = ("Name", "Secrets", "Age")
CREATED = ("Name", "Created At:date")
BINDING = ("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts")
_ROLE = "node-role.kubernetes.io/"


def node(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of NODE."""
    ready = condition(raw, "Ready").get("status")
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if part(raw, "spec").get("unschedulable"):
        words.append("SchedulingDisabled")
    labels = part(raw, "metadata", "labels")
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)} - {""}
    roles |= {labels["kubernetes.io/role"]} if labels.get("kubernetes.io/role") else set()
    info = part(raw, "status", "nodeInfo")
    systems = [info.get(name) or UNKNOWN for name in ("osImage", "kernelVersion", "containerRuntimeVersion")]
    return [
        raw["metadata"]["name"], ",".join(words), ",".join(sorted(roles)) or NONE, age(raw, now),
        info.get("kubeletVersion", ""), _address(raw, "InternalIP"), _address(raw, "ExternalIP"), *systems,
    ]  # fmt: skip


def _address(raw: Json, kind: str) -> str:
    found = (one for one in objects(raw, "status", "addresses") if one.get("type") == kind)
    return str(next(found, {}).get("address", NONE))


def namespace(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of NAMESPACE."""
    return [raw["metadata"]["name"], part(raw, "status").get("phase", ""), age(raw, now)]


def event(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of EVENT; for both groups of events."""
    about = part(raw, "involvedObject") or part(raw, "regarding")
    source = part(raw, "source") or part(raw, "deprecatedSource")
    first_at = raw.get("firstTimestamp") or raw.get("deprecatedFirstTimestamp") or raw.get("eventTime")
    first = since(first_at, now)
    last_at, series = raw.get("lastTimestamp") or raw.get("deprecatedLastTimestamp"), part(raw, "series")
    last = since(series.get("lastObservedTime") or last_at, now) if series or last_at else first
    count = series.get("count") or raw.get("count") or raw.get("deprecatedCount") or 1
    component = (
        source.get("component") or raw.get("reportingComponent") or raw.get("reportingController") or ""
    )
    host = source.get("host") or raw.get("reportingInstance") or ""
    return [
        last, raw.get("type", ""), raw.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}", about.get("fieldPath", ""),
        ", ".join(one for one in (component, host) if one), str(raw.get("message") or raw.get("note") or
        "").strip(),
        first, count, raw["metadata"]["name"],
    ]  # fmt: skip


def service(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of SERVICE."""
    spec = part(raw, "spec")
    addresses = spec.get("clusterIPs") or []
    ports = ",".join(_port(one) for one in objects(spec, "ports"))
    return [
        raw["metadata"]["name"], spec.get("type", ""), addresses[0] if addresses else NONE, _external(raw),
        ports or NONE, age(raw, now), label_map(part(spec, "selector")),
    ]  # fmt: skip


def _port(one: Json) -> str:
    node_port = f":{one['nodePort']}" if one.get("nodePort") else ""
    return f"{one.get('port')}{node_port}/{one.get('protocol', 'TCP')}"


def _external(raw: Json) -> str:
    spec = part(raw, "spec")
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(given) or NONE
        case "LoadBalancer":
            reached = objects(raw, "status", "loadBalancer", "ingress")
            found = sorted({str(one.get("ip") or one.get("hostname") or "") for one in reached} - {""})
            return ",".join([*found, *given]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return UNKNOWN


def endpoint_slice(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of ENDPOINT_SLICE."""
    ports = (str(one.get("port") or one.get("name") or "*") for one in objects(raw, "ports"))
    addresses = (str(address) for one in objects(raw, "endpoints") for address in one.get("addresses") or ())
    return [raw["metadata"]["name"], raw.get("addressType", ""), cut(ports), cut(addresses), age(raw, now)]


def lease(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of LEASE."""
    return [raw["metadata"]["name"], part(raw, "spec").get("holderIdentity", ""), age(raw, now)]


def service_account(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of SERVICE_ACCOUNT."""
    return [raw["metadata"]["name"], len(objects(raw, "secrets")), age(raw, now)]


def created(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of CREATED (roles, definitions)."""
    return [raw["metadata"]["name"], raw["metadata"].get("creationTimestamp")]


def binding(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of BINDING."""
    role, subjects = part(raw, "roleRef"), objects(raw, "subjects")

    def named(kind: str) -> str:
        return ", ".join(_subject(one) for one in subjects if one.get("kind") == kind)

    shown = f"{role.get('kind', '')}/{role.get('name', '')}"
    return [
        raw["metadata"]["name"],
        shown,
        age(raw, now),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]


def _subject(one: Json) -> str:
    space = one.get("namespace")
    return (
        f"{space}/{one.get('name', '')}"
        if one.get("kind") == "ServiceAccount" and space
        else str(one.get("name", ""))
    )
