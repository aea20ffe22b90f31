"""Field errors in Kubernetes' words: (field path, reason, message).

Source: k8s.io/apimachinery pkg/util/validation/field (wording and quoting of values).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from forebay.api.meta import Resource
from forebay.errors import Invalid

Cause = tuple[str, str, str]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(path: str, detail: str = "") -> Cause:
    """`Required value`."""
    return path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else "")


def invalid(path: str, value: Any, detail: str) -> Cause:
    """`Invalid value: "x": detail`."""
    return path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}"


def type_invalid(path: str, value: Any, detail: str) -> Cause:
    """As invalid(), for a value of the wrong type."""
    return path, "FieldValueTypeInvalid", f"Invalid value: {_shown(value)}: {detail}"


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> Cause:
    """`Unsupported value: "x": supported values: "a", "b"`."""
    values = ", ".join(json.dumps(str(one)) for one in allowed)
    return (
        path,
        "FieldValueNotSupported",
        f"Unsupported value: {_shown(value)}" + (f": supported values: {values}" if values else ""),
    )


def duplicate(path: str, value: Any) -> Cause:
    """`Duplicate value: "x"`."""
    return path, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}"


def missing(path: str, value: Any) -> Cause:
    """`Not found: "x"`."""
    return path, "FieldValueNotFound", f"Not found: {_shown(value)}"


def forbidden(path: str, detail: str) -> Cause:
    """`Forbidden: detail`."""
    return path, "FieldValueForbidden", f"Forbidden: {detail}"


def too_long(path: str, length_max: int) -> Cause:
    """`Too long: may not be more than 63 bytes`."""
    return (
        path,
        "FieldValueTooLong",
        f"Too long: may not be more than {length_max} byte{'s' * (length_max != 1)}",
    )


def too_many(path: str, count: int, count_max: int) -> Cause:
    """`Too many: 5: must have at most 3 items`."""
    what = "item" if count_max == 1 else "items"
    return path, "FieldValueTooMany", f"Too many: {count}: must have at most {count_max} {what}"


def refusal(kind: type[Resource], name: str, causes: Iterable[Cause]) -> Invalid:
    """All causes as one error: `Deployment.apps "x" is invalid: spec.selector: Required value`."""
    unique = tuple(dict.fromkeys(causes))
    lines = [f"{path}: {message}" for path, _, message in unique]
    said = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    label = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    return Invalid(f'{label} "{name}" is invalid: {said}', causes=unique, reason="Invalid")
