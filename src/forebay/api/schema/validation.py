"""What kube-apiserver would refuse about an object, as causes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.api.meta import Json, Resource
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause
from forebay.api.schema.cel import broken_rules
from forebay.api.schema.kind_rules import RULES
from forebay.api.schema.rules import violations
from forebay.api.schema.status_rules import status
from forebay.api.schema.structural import openapi_schema
from forebay.api.schema.tables import Struct, Type, struct, type_name

UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to "
    "complete validation"
)
_BLOCKING = (
    "FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany",
    "FieldValueNotSupported",
)  # fmt: skip
_ORDERS = {
    # Not by name, as all others are.
    "RestartPolicy": ("Always", "OnFailure", "Never"),
    "TerminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "TaintEffect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    "CompletionMode": ("NonIndexed", "Indexed"),
    "DNSPolicy": ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
}
_ELSEWHERE = (  # said by the rules of their kinds
    "DeploymentStrategyType", "PodManagementPolicyType", "NodeSelectorOperator",
    "DaemonSetUpdateStrategyType",
)  # fmt: skip


def validate(raw: Json, old: Json | None, kind: type[Resource]) -> list[Cause]:
    """All field errors of an object that was pruned and defaulted; `old` is what it replaces."""
    name = type_name(kind)
    found = list(names.metadata(raw, kind))
    if name:
        test = RULES.get(kind)
        found += test(raw, old) if test is not None else ()
        found += status(raw, old, kind) if old is not None else ()
        return [*found, *_enums(raw, struct(name), "")]
    schema = openapi_schema(kind)
    if schema is None:
        return found
    found += violations(raw, schema, object_root=True)
    if not any(reason in _BLOCKING for _, reason, _ in found):
        return [*found, *broken_rules(raw, old, schema)]
    if _has_rules(schema):
        found.append(causes.invalid("<nil>", None, UNCHECKED))
    return found


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(_has_rules(one) for one in schema.values())
    return isinstance(schema, list) and any(_has_rules(one) for one in schema)


def _enums(raw: Json, shape: Struct, path: str) -> Iterator[Cause]:
    for key, value in raw.items():
        field = shape.fields.get(key)
        if field is not None and not (not path and key in ("status", "metadata")):
            yield from _enum(value, field.type, f"{path}.{key}" if path else key)


def _enum(value: Any, kind: Type, path: str) -> Iterator[Cause]:
    if kind.code == "@" and isinstance(value, dict):
        yield from _enums(value, struct(kind.struct), path)
    elif kind.code == "[" and isinstance(value, list) and kind.item is not None and kind.item.code in "@s":
        for index, item in enumerate(value):
            # Lists of plain words are refused as a whole.
            yield from _enum(item, kind.item, f"{path}[{index}]" if kind.item.code == "@" else path)
    elif kind.enum and value not in kind.enum and value not in ("", None):
        name = kind.go.rsplit(".", 1)[-1]
        if name not in _ELSEWHERE:
            yield causes.unsupported(path, value, _ORDERS.get(name, kind.enum))
