"""What kube-apiserver refuses about kinds that the embedded home only stores; no more than people meet.

Source: Kubernetes' validation of policy, networking, scheduling and core (paths and wording; v1.34).
"""

from __future__ import annotations

from collections.abc import Iterator

from forebay.api.meta import Json
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause

_PRIORITY_MAX = 1_000_000_000


def budget(raw: Json, old: Json | None) -> Iterator[Cause]:
    """PodDisruptionBudget."""
    spec = raw.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        names = ("MinAvailable", "Selector", "MaxUnavailable", "UnhealthyPodEvictionPolicy")
        shown = {name: spec.get(name[0].lower() + name[1:]) for name in names}
        yield causes.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")


def priority_class(raw: Json, old: Json | None) -> Iterator[Cause]:
    """PriorityClass."""
    value, name = raw.get("value") or 0, str(raw["metadata"].get("name", ""))
    if name.startswith("system-"):
        told = "priority class names with 'system-' prefix are reserved for system use only. error: "
        yield causes.forbidden("metadata.name", f"{told}{name} is not a known system priority class")
    elif value > _PRIORITY_MAX:
        told = f"maximum allowed value of a user defined priority is {_PRIORITY_MAX}"
        yield causes.forbidden("value", told)
    if old is not None and (old.get("value") or 0) != value:
        yield causes.forbidden("value", "may not be changed in an update.")


def ingress(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Ingress."""
    spec = raw.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield causes.invalid("spec", None, "either `defaultBackend` or `rules` must be specified")
    for number, rule in enumerate(spec.get("rules") or ()):
        http = rule.get("http")
        if http is None:
            continue
        at = f"spec.rules[{number}].http.paths"
        if not http.get("paths"):
            yield causes.required(at)
        for index, one in enumerate(http.get("paths") or ()):
            yield from _path(one, f"{at}[{index}]")


def _path(one: Json, at: str) -> Iterator[Cause]:
    kind, path = one.get("pathType"), str(one.get("path") or "")
    if not kind:
        yield causes.required(f"{at}.pathType", "pathType must be specified")
        return
    if kind in ("Exact", "Prefix") and not path.startswith("/"):
        yield causes.invalid(f"{at}.path", path, "must be an absolute path")
    service = (one.get("backend") or {}).get("service") or {}
    if service and not service.get("name"):
        yield causes.required(f"{at}.backend.service.name")
    port = service.get("port") or {}
    if service and not port.get("number") and not port.get("name"):
        yield causes.required(f"{at}.backend", "port name or number is required")


def ingress_class(raw: Json, old: Json | None) -> Iterator[Cause]:
    """IngressClass."""
    if not (raw.get("spec") or {}).get("controller"):
        yield causes.required("spec.controller")


def limit_range(raw: Json, old: Json | None) -> Iterator[Cause]:
    """LimitRange."""
    seen = set[str]()
    for index, one in enumerate((raw.get("spec") or {}).get("limits") or ()):
        kind = str(one.get("type") or "")
        if kind in seen:
            yield causes.duplicate(f"spec.limits[{index}].type", kind)
        seen.add(kind)
