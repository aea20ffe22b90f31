"""Objects -> route table. Pure: the same objects in any order give the same table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from forebay.api.kinds import EndpointSlice, InferenceService, Service
from forebay.api.meta import Key

Address = tuple[str, int]
WAIT_DEFAULT_S = 60.0
WAIT_MOST_S = 3600.0
WAIT_ANNOTATION = "forebay.dev/wait-seconds"
OPENAI_ANNOTATION = "forebay.dev/openai-prefix"
STOP_ANNOTATION = "serving.kserve.io/stop"
SERVICE_LABEL = "kubernetes.io/service-name"
_MODEL_FLAGS = ("--model_name", "--model-name", "--served-model-name", "--served_model_name")
_HOPELESS = frozenset({"BlockedByFailedLoad", "InvalidSpec"})


@dataclass(frozen=True)
class Route:
    """One InferenceService as the data plane sees it.

    `served` is the model name its engine knows; `wait_s` how long a request may wait for the first ready pod;
    `hopeless` that no pod is to be expected; `why` what a person is told then; `first_byte_s` 0 means the
    default.
    """

    key: Key
    served: str
    endpoints: tuple[Address, ...]
    wait_s: float = WAIT_DEFAULT_S
    hopeless: bool = False
    why: str = ""
    first_byte_s: float = 0.0
    openai_prefix: str | None = None


@dataclass(frozen=True)
class RouteTable:
    """Where requests go. `version` grows with each table that differs from the one before."""

    version: int = 0
    routes: Mapping[Key, Route] = field(default_factory=dict)
    models: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    hosts: Mapping[str, Key] = field(default_factory=dict)

    def for_model(self, name: str) -> tuple[Key, ...]:
        """Services that answer to the model name: one, none, or several that must be told apart."""
        return self.models.get(name, ())

    def for_host(self, host: str) -> Key | None:
        """`<name>.<ns>.<domain>` or `<name>-<ns>.<domain>`, with or without a port."""
        first, dot, rest = host.partition(".")
        if not dot:
            return None
        second = rest.partition(".")[0].partition(":")[0]
        return self.hosts.get(f"{first}.{second}") or self.hosts.get(first)


def build(
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    isvcs: Iterable[InferenceService],
    *,
    before: RouteTable,
) -> RouteTable:
    """The table for these objects; `before` itself when nothing that matters has changed."""
    ports = {service.key: _port_name(service) for service in services}
    by_service: dict[Key, list[EndpointSlice]] = {}
    for item in slices:
        by_service.setdefault(Key(item.namespace, item.labels.get(SERVICE_LABEL, "")), []).append(item)
    routes: dict[Key, Route] = {}
    for isvc in sorted(isvcs, key=lambda item: item.key):
        if isvc.deleting:
            continue
        backing = Key(isvc.namespace, f"{isvc.name}-predictor")
        found = _endpoints(by_service.get(backing, ()), ports.get(backing)) if backing in ports else ()
        routes[isvc.key] = _route(isvc, found)
    table = RouteTable(before.version, routes, _models(routes), _hosts(routes))
    return before if table == before else replace(table, version=before.version + 1)


def _port_name(service: Service) -> str:
    """The name of the port that speaks HTTP: one that says so, else the first."""
    ports = service.spec.get("ports") or [{}]
    for port in ports:
        if str(port.get("name") or "").startswith("http") or port.get("appProtocol") == "http":
            return str(port.get("name") or "")
    return str(ports[0].get("name") or "")


def _endpoints(slices: Iterable[EndpointSlice], port_name: str | None) -> tuple[Address, ...]:
    found: set[Address] = set()
    for item in slices:
        port = _slice_port(item, port_name or "")
        if port is None or item.raw.get("addressType") == "FQDN":
            continue
        for endpoint in item.raw.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready")
            addresses = endpoint.get("addresses") or ()
            if ready is not False and addresses:  # unknown counts as ready (discovery/v1 EndpointConditions)
                found.add((str(addresses[0]), port))
    return tuple(sorted(found))


def _slice_port(item: EndpointSlice, name: str) -> int | None:
    for port in item.raw.get("ports") or ():
        if str(port.get("name") or "") == name and port.get("port"):
            return int(port["port"])
    return None


def _route(isvc: InferenceService, endpoints: tuple[Address, ...]) -> Route:
    hopeless, why = _outlook(isvc)
    timeout = (isvc.spec.get("predictor") or {}).get("timeout")
    return Route(
        key=isvc.key,
        served=_served_name(isvc),
        endpoints=endpoints,
        wait_s=_wait_s(isvc.annotations.get(WAIT_ANNOTATION, "")),
        hopeless=hopeless and not endpoints,
        why="" if endpoints else why,
        first_byte_s=float(timeout) if isinstance(timeout, int | float) and timeout > 0 else 0.0,
        openai_prefix=_openai_prefix(isvc.annotations.get(OPENAI_ANNOTATION)),
    )


def _wait_s(text: str) -> float:
    """Seconds from the annotation; what is not a number counts as absent."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        return WAIT_DEFAULT_S
    return min(float(text), WAIT_MOST_S)


def _openai_prefix(text: str | None) -> str | None:
    return text.rstrip("/") if text is not None and re.fullmatch(r"(/[a-z0-9_-]+)*/?", text) else None


def _outlook(isvc: InferenceService) -> tuple[bool, str]:
    """(no pod is to be expected, what to tell a person)."""
    if isvc.annotations.get(STOP_ANNOTATION) == "true":
        return True, f"it is stopped; remove the annotation {STOP_ANNOTATION} to start it"
    model_status = isvc.status.get("modelStatus") or {}
    failure = model_status.get("lastFailureInfo") or {}
    why = _condition(isvc.status.get("conditions") or ())
    if failure.get("message"):
        why = str(failure["message"])
    return model_status.get("transitionStatus") in _HOPELESS, why


def _condition(conditions: Iterable[Mapping[str, Any]]) -> str:
    """The most telling condition that is not True: Ready only if nothing below it speaks."""
    open_ = [
        item for item in conditions
        if item.get("status") != "True" and item.get("type") != "Stopped" and item.get("severity") != "Info"
    ]  # fmt: skip
    open_.sort(key=lambda item: (not item.get("message"), item.get("type") == "Ready", str(item.get("type"))))
    for item in open_:
        text = ": ".join(str(item[part]) for part in ("reason", "message") if item.get(part))
        return f"{item.get('type')} is {item.get('status')}" + (f": {text}" if text else "")
    return ""


def _served_name(isvc: InferenceService) -> str:
    predictor = isvc.spec.get("predictor") or {}
    blocks = [block for block in predictor.values() if isinstance(block, dict)] + list(
        predictor.get("containers") or ()
    )
    for block in blocks:
        args = [str(arg) for arg in [*(block.get("command") or ()), *(block.get("args") or ())]]
        for position, arg in enumerate(args):
            flag, equals, value = arg.partition("=")
            if flag in _MODEL_FLAGS:
                value = value if equals else "".join(args[position + 1 : position + 2])
                if value and "{{" not in value and "$(" not in value:
                    return value
    return isvc.name


def _models(routes: Mapping[Key, Route]) -> dict[str, tuple[Key, ...]]:
    """Model name -> services. `ns/name` wins over a bare name, a bare name over what engines call
    themselves.
    """
    served: dict[str, list[Key]] = {}
    bare: dict[str, list[Key]] = {}
    exact: dict[str, list[Key]] = {}
    for key, route in routes.items():
        served.setdefault(route.served, []).append(key)
        bare.setdefault(key.name, []).append(key)
        exact.setdefault(f"{key.namespace}/{key.name}", []).append(key)
    return {name: tuple(sorted(keys)) for name, keys in {**served, **bare, **exact}.items()}


def _hosts(routes: Mapping[Key, Route]) -> dict[str, Key]:
    """Host labels -> service; of two services that share a joined label, neither gets it."""
    joined: dict[str, set[Key]] = {}
    hosts: dict[str, Key] = {}
    for key in routes:
        for name in (key.name, f"{key.name}-predictor"):
            hosts[f"{name}.{key.namespace}"] = key
            joined.setdefault(f"{name}-{key.namespace}", set()).add(key)
    hosts.update(
        {label: next(iter(keys)) for label, keys in joined.items() if len(keys) == 1 and label not in hosts}
    )
    return hosts
