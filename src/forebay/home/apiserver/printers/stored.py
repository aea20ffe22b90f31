"""Rows of the kinds that the home only stores, and of Endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from forebay.api.meta import Json
from forebay.home.apiserver.printers.words import (
    NONE,
    age,
    containers,
    label_map,
    objects,
    part,
    selector,
    since,
)

STATEFUL_SET = ("Name", "Ready", "Age", "+Containers", "+Images")
CRON_JOB = (
    "Name", "Schedule", "Timezone", "Suspend", "Active:integer", "Last Schedule", "Age", "+Containers",
    "+Images", "+Selector",
)  # fmt: skip
BUDGET = ("Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age")
QUOTA = ("Name", "Request", "Limit", "Age")
LIMIT_RANGE = ("Name", "Created At:date")
ENDPOINTS = ("Name", "Endpoints", "Age")
INGRESS = ("Name", "Class", "Hosts", "Address", "Ports", "Age")
INGRESS_CLASS = ("Name", "Controller", "Parameters", "Age")
NETWORK_POLICY = ("Name", "Pod-Selector", "Age")
PRIORITY_CLASS = ("Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy")
_SHOWN_MAX = 3


def stateful_set(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of STATEFUL_SET."""
    spec = part(raw, "spec")
    ready = f"{part(raw, 'status').get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    return [raw["metadata"]["name"], ready, age(raw, now), *containers(part(spec, "template", "spec"))]


def cron_job(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of CRON_JOB."""
    spec, status = part(raw, "spec"), part(raw, "status")
    last = status.get("lastScheduleTime")
    job = part(spec, "jobTemplate", "spec")
    return [
        raw["metadata"]["name"], spec.get("schedule", ""), spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False", len(objects(status, "active")),
        since(last, now) if last else NONE, age(raw, now), *containers(part(job, "template", "spec")),
        selector(job.get("selector")),
    ]  # fmt: skip


def budget(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of BUDGET."""
    spec = part(raw, "spec")
    bounds = [str(spec.get(name, "N/A")) for name in ("minAvailable", "maxUnavailable")]
    return [
        raw["metadata"]["name"],
        *bounds,
        part(raw, "status").get("disruptionsAllowed") or 0,
        age(raw, now),
    ]


def quota(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of QUOTA."""
    status = part(raw, "status")
    hard, used = part(status, "hard"), part(status, "used")
    shown = {name: f"{name}: {used.get(name, 0)}/{hard[name]}" for name in sorted(hard)}
    sides = [", ".join(text for name, text in shown.items() if name.startswith("limits.") is limits)
             for limits in (False, True)]  # fmt: skip
    return [raw["metadata"]["name"], *sides, age(raw, now)]


def endpoints(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of ENDPOINTS."""
    found = [
        f"{address.get('ip', '')}:{port.get('port')}"
        for subset in objects(raw, "subsets")
        for port in objects(subset, "ports")
        for address in objects(subset, "addresses")
    ]
    if not found:  # addresses alone, of a Service without ports
        alone = (one for subset in objects(raw, "subsets") for one in objects(subset, "addresses"))
        found = [str(one.get("ip", "")) for one in alone]
    shown = ",".join(found[:_SHOWN_MAX])
    if len(found) > _SHOWN_MAX:
        shown += f" + {len(found) - _SHOWN_MAX} more..."
    return [raw["metadata"]["name"], shown or NONE, age(raw, now)]


def ingress(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of INGRESS."""
    spec, rules = part(raw, "spec"), objects(raw, "spec", "rules")
    hosts = [str(rule["host"]) for rule in rules if rule.get("host")]
    shown = ",".join(hosts[:_SHOWN_MAX]) + (
        f" + {len(hosts) - _SHOWN_MAX} more..." if len(hosts) > _SHOWN_MAX else ""
    )
    reached = objects(raw, "status", "loadBalancer", "ingress")
    address = ",".join(str(one.get("ip") or one.get("hostname") or "") for one in reached)
    ports = "80, 443" if spec.get("tls") else "80"
    return [
        raw["metadata"]["name"],
        spec.get("ingressClassName") or NONE,
        shown or "*",
        address,
        ports,
        age(raw, now),
    ]


def ingress_class(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of INGRESS_CLASS."""
    spec, parameters = part(raw, "spec"), part(raw, "spec", "parameters")
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
    named = f"{parameters.get('kind')}{group}/{parameters.get('name')}" if parameters else NONE
    return [raw["metadata"]["name"], spec.get("controller", ""), named, age(raw, now)]


def network_policy(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of NETWORK_POLICY."""
    found = part(raw, "spec", "podSelector")
    plain = label_map(found.get("matchLabels") or {}) if not found.get("matchExpressions") else None
    return [raw["metadata"]["name"], plain or selector(found), age(raw, now)]


def priority_class(raw: Json, now: datetime) -> list[Any]:
    """Cells in the order of PRIORITY_CLASS."""
    default = bool(raw.get("globalDefault"))
    policy = raw.get("preemptionPolicy", "")
    return [raw["metadata"]["name"], raw.get("value") or 0, default, age(raw, now), policy]
