"""Options of a request: its query, or the DeleteOptions of its body; pure.

Source: meta/v1 ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and their validation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from forebay.api.meta import Json
from forebay.home.apiserver.status import About, Refusal, bad_request, invalid

_VALIDATIONS = ("Ignore", "Strict", "Warn")
MANAGER_MAX = 128  # bytes
_PROPAGATIONS = ("Foreground", "Background", "Orphan")


def is_set(values: Mapping[str, str], name: str) -> bool:
    """Whether a flag of a query is there and neither 0 nor false."""
    return name in values and values[name].lower() not in ("0", "false")


@dataclass(frozen=True)
class Query:
    """The parameters of a URL, read with their types."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean, as Kubernetes reads it: there, and neither 0 nor false."""
        return is_set(self.values, name)

    def number(self, name: str) -> int | None:
        """An integer that is not negative, or None if it is absent. Raises Refusal (400)."""
        value = self.text(name)
        if not value:
            return None
        if not value.lstrip("-").isascii() or not value.lstrip("-").isdigit() or len(value) > 18:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        return int(value)

    def dry_run(self, options: str) -> bool:
        """Whether nothing is to be stored; `options` names the options' type. Raises Refusal (422), for a
        field manager that cannot be one too.
        """
        _check_manager(self.text("fieldManager"), options)
        return _dry_run(self.text("dryRun"), options)

    def field_validation(self, options: str) -> str:
        """Ignore, Warn or Strict; Warn if nothing was said. Raises Refusal (422)."""
        value = self.text("fieldValidation")
        if value and value not in _VALIDATIONS:
            supported = ", ".join(f'"{v}"' for v in ("", *_VALIDATIONS))
            message = f'Unsupported value: "{value}": supported values: {supported}'
            raise _refused(options, "fieldValidation", "FieldValueNotSupported", message)
        return value or "Warn"


def _refused(options: str, field: str, reason: str, message: str) -> Refusal:
    return invalid(About(group="meta.k8s.io", kind=options), ((field, reason, message),))


def _check_manager(name: str, options: str) -> None:
    """Who writes is not recorded here, but its name is looked at."""
    if len(name.encode()) > MANAGER_MAX:
        message = f"Too long: may not be more than {MANAGER_MAX} bytes"
        raise _refused(options, "fieldManager", "FieldValueTooLong", message)
    odd = next((at for at, char in enumerate(name) if not char.isprintable()), None)
    if odd is not None:
        told = f"invalid character U+{ord(name[odd]):04X} (at position {odd})"
        raise _refused(
            options, "fieldManager", "FieldValueInvalid", f"Invalid value: {json.dumps(name)}: {told}"
        )


def _dry_run(value: str, options: str) -> bool:
    if value not in ("", "All"):
        message = f'Unsupported value: ["{value}"]: supported values: "All"'
        raise _refused(options, "dryRun", "FieldValueNotSupported", message)
    return value == "All"


@dataclass(frozen=True)
class Deletion:
    """How to delete. `grace_s` None means the object's own."""

    propagation: str = "Background"
    grace_s: int | None = None
    uid: str = ""
    revision: str = ""
    dry_run: bool = False


def deletion(query: Query, body: Json) -> Deletion:
    """DeleteOptions of the body; of the query where the body is empty. Raises Refusal."""
    if not body:
        orphan = query.flag("orphanDependents") if query.text("orphanDependents") else None
        body = {
            "gracePeriodSeconds": query.number("gracePeriodSeconds"), "orphanDependents": orphan,
            "propagationPolicy": query.text("propagationPolicy") or None,
        }  # fmt: skip
    dry = query.dry_run("DeleteOptions") or any(
        _dry_run(str(v), "DeleteOptions") for v in body.get("dryRun") or ()
    )
    grace = body.get("gracePeriodSeconds")
    preconditions = body.get("preconditions") or {}
    if not isinstance(preconditions, dict) or not (grace is None or type(grace) is int):
        raise bad_request("DeleteOptions cannot be read: a field has the wrong type")
    if grace is not None and grace < 0:
        grace = 1  # as Kubernetes reads negative values
    return Deletion(
        _propagation(body), grace, str(preconditions.get("uid") or ""),
        str(preconditions.get("resourceVersion") or ""), dry,
    )  # fmt: skip


def _propagation(body: Json) -> str:
    policy, orphan = body.get("propagationPolicy"), body.get("orphanDependents")
    if policy is not None and orphan is not None:
        message = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise _refused("DeleteOptions", "propagationPolicy", "FieldValueInvalid", message)
    if policy is None:
        return "Orphan" if orphan else "Background"
    if policy not in _PROPAGATIONS:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        message = f'Unsupported value: "{policy}": supported values: {supported}'
        raise _refused("DeleteOptions", "propagationPolicy", "FieldValueNotSupported", message)
    return str(policy)
