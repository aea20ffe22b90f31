"""What kube-apiserver refuses about a pod's spec, in a pod or in a template.

Source: Kubernetes' validation of core/v1 (paths, wording and order; v1.34).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api import quantity
from forebay.api.meta import Json
from forebay.api.schema import causes, names, volume_rules
from forebay.api.schema.causes import Cause
from forebay.api.schema.placement_rules import placement
from forebay.errors import Invalid

STANDARD = ("cpu", "memory", "ephemeral-storage")
_NOT_NEGATIVE = "must be greater than or equal to 0"
_ENV_RULE = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROBE_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_OF_A_POD = ("spec.containers", "spec.initContainers")


def pod_spec(spec: Json, path: str) -> Iterator[Cause]:
    """Everything wrong with a PodSpec."""
    volumes = set[str]()
    yield from volume_rules.volumes(spec.get("volumes") or [], f"{path}.volumes", volumes)
    if not spec.get("containers"):
        yield causes.required(f"{path}.containers")
    seen = set[str]()
    for group in ("containers", "initContainers"):
        for index, one in enumerate(spec.get(group) or ()):
            where = f"{path}.{group}[{index}]"
            yield from _container(one, where, volumes)
            if one.get("name") in seen:
                yield causes.duplicate(f"{where}.name", one["name"])
            seen.add(str(one.get("name") or ""))
            passing = group == "initContainers" and one.get("restartPolicy") != "Always"
            yield from _probes(one, where, init=passing)
            yield from _lifecycle(one, where, init=passing)
    yield from placement(spec, path)
    yield from _names_and_addresses(spec, path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        yield causes.invalid(
            f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"
        )
    for field in ("serviceAccountName", "nodeName"):
        for told in names.dns1123_subdomain(str(spec[field])) if spec.get(field) else ():
            yield causes.invalid(f"{path}.{field}", spec[field], told)


def _names_and_addresses(spec: Json, path: str) -> Iterator[Cause]:
    for field in ("hostname", "subdomain"):
        for told in names.dns1123_label(str(spec[field])) if spec.get(field) else ():
            yield causes.invalid(f"{path}.{field}", spec[field], told)
    dns = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if dns is None:
            told = "must provide `dnsConfig` when `dnsPolicy` is None"
            yield causes.required(f"{path}.dnsConfig", told)
        elif not dns.get("nameservers"):
            told = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield causes.required(f"{path}.dnsConfig.nameservers", told)
    for index, one in enumerate((dns or {}).get("nameservers") or ()):
        yield from names.ip_address(one, f"{path}.dnsConfig.nameservers[{index}]")
    for index, one in enumerate(spec.get("hostAliases") or ()):
        yield from names.ip_address(one.get("ip") or "", f"{path}.hostAliases[{index}].ip")
    for index, one in enumerate(spec.get("readinessGates") or ()):
        for told in names.qualified_name(str(one.get("conditionType") or "")):
            where = f"{path}.readinessGates[{index}].conditionType"
            yield causes.invalid(where, one.get("conditionType") or "", told)


def _container(one: Json, path: str, volumes: set[str]) -> Iterator[Cause]:
    name = str(one.get("name") or "")
    if not name:
        yield causes.required(f"{path}.name")
    for told in names.dns1123_label(name) if name else ():
        yield causes.invalid(f"{path}.name", name, told)
    image = str(one.get("image") or "")
    if not image:
        yield causes.required(f"{path}.image")
    elif image != image.strip() and path.startswith(_OF_A_POD):  # templates pass
        yield causes.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from _ports(one.get("ports") or [], f"{path}.ports")
    yield from _env(one.get("env") or [], f"{path}.env")
    yield from _env_from(one.get("envFrom") or [], f"{path}.envFrom")
    yield from _mounts(one.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    yield from resources(one.get("resources") or {}, f"{path}.resources")


def port_number(path: str, value: Any) -> Iterator[Cause]:
    """A port between 1 and 65535."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        yield causes.invalid(path, value, "must be between 1 and 65535, inclusive")


def _ports(found: list[Json], path: str) -> Iterator[Cause]:
    seen = set[str]()
    for index, one in enumerate(found):
        where, name = f"{path}[{index}]", str(one.get("name") or "")
        told = port_name(name) if name else []
        for sentence in told:
            yield causes.invalid(f"{where}.name", name, sentence)
        if name in seen:
            yield causes.duplicate(f"{where}.name", name)
        if name and not told:
            seen.add(name)
        if not one.get("containerPort"):
            yield causes.required(f"{where}.containerPort")
        else:
            yield from port_number(f"{where}.containerPort", one["containerPort"])
        if one.get("hostPort"):
            yield from port_number(f"{where}.hostPort", one["hostPort"])


def port_name(value: str) -> list[str]:
    """What is wrong with the name of a port (IANA_SVC_NAME)."""
    tests = (
        (len(value) > 15, "must be no more than 15 characters"),
        (
            not re.fullmatch("[-a-z0-9]+", value),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (not re.search("[a-z]", value), "must contain at least one letter (a-z)"),
        ("--" in value, "must not contain consecutive hyphens"),
        (value[:1] == "-" or value[-1:] == "-", "must not begin or end with a hyphen"),
    )
    return [told for wrong, told in tests if wrong]


def _env(found: list[Json], path: str) -> Iterator[Cause]:
    for index, one in enumerate(found):
        where, name = f"{path}[{index}]", str(one.get("name") or "")
        if not name:
            yield causes.required(f"{where}.name")
        elif not re.fullmatch(r"[ -<>-~]+", name):
            yield causes.invalid(f"{where}.name", name, _ENV_RULE)
        source = one.get("valueFrom")
        if not isinstance(source, dict):
            continue
        given = [key for key in _SOURCES if isinstance(source.get(key), dict)]
        place = f"{where}.valueFrom"
        if not given:
            listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            yield causes.invalid(place, "", f"must specify one of: {listed}")
        elif one.get("value"):
            yield causes.invalid(place, "", "may not be specified when `value` is not empty")
        elif len(given) > 1:
            yield causes.invalid(place, "", "may not have more than one field specified at a time")
        for key in ("configMapKeyRef", "secretKeyRef"):
            if key in given and not source[key].get("key"):
                yield causes.required(f"{place}.{key}.key")
        if "fieldRef" in given:
            yield from volume_rules.field_path(source["fieldRef"], f"{place}.fieldRef")


def _env_from(found: list[Json], path: str) -> Iterator[Cause]:
    for index, one in enumerate(found):
        given = [key for key in ("configMapRef", "secretRef") if isinstance(one.get(key), dict)]
        for key in given:
            if not one[key].get("name"):
                yield causes.required(f"{path}[{index}].{key}.name")
        if not given:
            yield causes.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield causes.invalid(path, "", "may not have more than one field specified at a time")


def _mounts(found: list[Json], path: str, volumes: set[str]) -> Iterator[Cause]:
    seen = set[str]()
    for index, one in enumerate(found):
        where, name, place = f"{path}[{index}]", str(one.get("name") or ""), str(one.get("mountPath") or "")
        if not name:
            yield causes.required(f"{where}.name")
        if name not in volumes:
            yield causes.missing(f"{where}.name", name)
        if not place:
            yield causes.required(f"{where}.mountPath")
        elif place in seen:
            yield causes.invalid(f"{where}.mountPath", place, "must be unique")
        seen.add(place)
        below = str(one.get("subPath") or "")
        if below.startswith("/"):
            yield causes.invalid(f"{path}.subPath", below, "must be a relative path")
        elif ".." in below.split("/"):
            yield causes.invalid(f"{path}.subPath", below, "must not contain '..'")


def resources(found: Json, path: str) -> Iterator[Cause]:
    """Limits and requests of a container."""
    limits, requests = found.get("limits") or {}, found.get("requests") or {}
    for part, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            yield from _resource(str(name), amount, f"{path}.{part}[{name}]")
    for name, amount in requests.items():
        limit, extended = limits.get(name), "/" in str(name)
        if limit is None:
            if extended:
                yield causes.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif (compared := _compare(amount, limit)) is not None and compared > 0:
            told = f"must be less than or equal to {name} limit of {limit}"
            yield causes.invalid(f"{path}.requests", str(amount), told)
        elif extended and compared is not None and compared < 0:
            yield causes.invalid(f"{path}.requests", str(amount), f"must be equal to {name} limit of {limit}")


def _resource(name: str, amount: Any, where: str) -> Iterator[Cause]:
    told = names.qualified_name(name)
    for sentence in told:
        yield causes.invalid(where, name, sentence)
    if not told and "/" not in name and name not in STANDARD and not name.startswith("hugepages-"):
        yield causes.invalid(where, name, "must be a standard resource type or fully qualified")
        yield causes.invalid(where, name, "must be a standard resource for containers")
    value = _amount(amount)
    if value is not None and value < 0:
        yield causes.invalid(where, str(amount), _NOT_NEGATIVE)
    elif value is not None and "/" in name and value != int(value):
        yield causes.invalid(where, str(amount), "must be an integer")


def _amount(text: Any) -> Any:
    try:
        return quantity.parse(text)
    except Invalid:
        return None


def _compare(one: Any, other: Any) -> int | None:
    left, right = _amount(one), _amount(other)
    return None if left is None or right is None else (left > right) - (left < right)


def _probes(one: Json, path: str, *, init: bool) -> Iterator[Cause]:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe, where = one.get(name), f"{path}.{name}"
        if not isinstance(probe, dict):
            continue
        if init:
            yield causes.forbidden(where, "may not be set for init containers without restartPolicy=Always")
            continue
        yield from _handler(probe, where)
        for number in _PROBE_NUMBERS:
            if int(probe.get(number) or 0) < 0:
                yield causes.invalid(f"{where}.{number}", probe[number], _NOT_NEGATIVE)
        if name != "readinessProbe" and probe.get("successThreshold") not in (None, 1):
            yield causes.invalid(f"{where}.successThreshold", probe["successThreshold"], "must be 1")


def _lifecycle(one: Json, path: str, *, init: bool) -> Iterator[Cause]:
    hooks: Json = one.get("lifecycle") or {}
    if hooks and init:
        told = "may not be set for init containers without restartPolicy=Always"
        yield causes.forbidden(f"{path}.lifecycle", told)
        return
    for name in ("postStart", "preStop"):
        if isinstance(hooks.get(name), dict):
            yield from _handler(hooks[name], f"{path}.lifecycle.{name}", (*_HANDLERS[:-1], "sleep"))


def _handler(probe: Json, path: str, known: tuple[str, ...] = _HANDLERS) -> Iterator[Cause]:
    given = [key for key in known if isinstance(probe.get(key), dict)]
    if not given:
        yield causes.required(path, "must specify a handler type")
    for extra in given[1:]:
        yield causes.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for key in given[:1]:
        where, port = f"{path}.{key}.port", probe[key].get("port")
        if key == "sleep":
            continue
        if key == "exec":
            if not probe[key].get("command"):
                yield causes.required(f"{path}.exec.command")
        elif isinstance(port, str):
            for told in port_name(port):
                yield causes.invalid(where, port, told)
        else:
            yield from port_number(where, port or 0)
