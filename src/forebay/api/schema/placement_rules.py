"""What kube-apiserver refuses about where a pod may run: node selectors, affinity, tolerations, spreading.

Source: Kubernetes' validation of core/v1 (paths and wording; v1.34).
"""

from __future__ import annotations

from collections.abc import Iterator

from forebay.api.meta import Json
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def placement(spec: Json, path: str) -> Iterator[Cause]:
    """Everything of a PodSpec that the scheduler reads, save resources."""
    yield from names.labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    affinity, where = spec.get("affinity") or {}, f"{path}.affinity"
    yield from _node_affinity(affinity.get("nodeAffinity") or {}, f"{where}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity(affinity.get(name) or {}, f"{where}.{name}")
    for index, one in enumerate(spec.get("tolerations") or ()):
        yield from _toleration(one, f"{path}.tolerations[{index}]")
    for index, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _spread(one, f"{path}.topologySpreadConstraints[{index}]")


def node_selector(found: Json, path: str) -> Iterator[Cause]:
    """A NodeSelector: the required affinity of a pod or a volume."""
    terms = found.get("nodeSelectorTerms") or ()
    if not terms:
        yield causes.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from _term(term, f"{path}.nodeSelectorTerms[{index}]")


def _node_affinity(found: Json, path: str) -> Iterator[Cause]:
    if found.get(_REQUIRED) is not None:
        yield from node_selector(found[_REQUIRED], f"{path}.{_REQUIRED}")
    for index, one in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(one, where)
        yield from _term(one.get("preference") or {}, f"{where}.preference")


def _weight(one: Json, path: str) -> Iterator[Cause]:
    weight = one.get("weight") or 0
    if not 1 <= weight <= 100:
        yield causes.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _term(term: Json, path: str) -> Iterator[Cause]:
    for index, one in enumerate(term.get("matchExpressions") or ()):
        where, operator = f"{path}.matchExpressions[{index}]", one.get("operator") or ""
        values = one.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                told = "must be specified when `operator` is 'In' or 'NotIn'"
                yield causes.required(f"{where}.values", told)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                told = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield causes.forbidden(f"{where}.values", told)
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                told = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                yield causes.required(f"{where}.values", told)
        else:
            yield causes.invalid(f"{where}.operator", operator, "not a valid selector operator")
        for told in names.qualified_name(str(one.get("key") or "")):
            yield causes.invalid(f"{where}.key", one.get("key") or "", told)


def _pod_affinity(found: Json, path: str) -> Iterator[Cause]:
    for index, one in enumerate(found.get(_REQUIRED) or ()):
        yield from _topology(one, f"{path}.{_REQUIRED}[{index}]")
    for index, one in enumerate(found.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(one, where)
        yield from _topology(one.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")


def _topology(term: Json, path: str) -> Iterator[Cause]:
    key = str(term.get("topologyKey") or "")
    if not key:
        yield causes.required(f"{path}.topologyKey", "can not be empty")
    for told in names.qualified_name(key):
        yield causes.invalid(f"{path}.topologyKey", key, told)


def _toleration(one: Json, path: str) -> Iterator[Cause]:
    key, operator, value = (str(one.get(name) or "") for name in ("key", "operator", "value"))
    for told in names.qualified_name(key) if key else ():
        yield causes.invalid(f"{path}.key", key, told)
    if not key and operator != "Exists":
        told = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield causes.invalid(f"{path}.operator", operator, told)
    if one.get("tolerationSeconds") is not None and one.get("effect") != "NoExecute":
        told = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield causes.invalid(f"{path}.effect", one.get("effect") or "", told)
    if operator == "Exists" and value:
        yield causes.invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
    for told in names.label_value(value) if operator in ("Equal", "") else ():
        yield causes.invalid(f"{path}.operator", value, told)


def _spread(one: Json, path: str) -> Iterator[Cause]:
    skew = one.get("maxSkew") or 0
    if skew <= 0:
        yield causes.invalid(f"{path}.maxSkew", skew, "must be greater than zero")
    key = str(one.get("topologyKey") or "")
    if not key:
        yield causes.required(f"{path}.topologyKey", "can not be empty")
    if not one.get("whenUnsatisfiable"):
        yield causes.unsupported(f"{path}.whenUnsatisfiable", "", ("DoNotSchedule", "ScheduleAnyway"))
