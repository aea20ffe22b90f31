"""What kube-apiserver refuses about a pod's volumes, and about references to the pod's own fields.

Source: Kubernetes' validation of core/v1 (paths and wording; v1.34).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api.meta import Json
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause

_NEEDED = {
    "hostPath": "path", "secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName",
    "csi": "driver",
    "nfs": "server",
}  # fmt: skip
_MODE_RULE = "must be a number between 0 and 0777 (octal), both inclusive"
_IN_ENV = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_IN_VOLUMES = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
# What the conversion knows; what of it may be used where is another question.
_FIELDS = {*_IN_ENV, *_IN_VOLUMES, "spec.restartPolicy", "spec.schedulerName", "status.phase"}


def volumes(found: list[Json], path: str, known: set[str]) -> Iterator[Cause]:
    """Everything wrong with the volumes; their names are added to `known`."""
    for index, one in enumerate(found):
        where, name = f"{path}[{index}]", str(one.get("name") or "")
        kinds = [key for key, value in one.items() if isinstance(value, dict)]
        for extra in kinds[1:]:
            yield causes.forbidden(f"{where}.{extra}", "may not specify more than 1 volume type")
        for kind in kinds[:1]:
            yield from _source(kind, one[kind], f"{where}.{kind}")
        if not name:
            yield causes.required(f"{where}.name")
        elif (told := names.dns1123_label(name)) != []:
            for sentence in told:
                yield causes.invalid(f"{where}.name", name, sentence)
        elif name in known:
            yield causes.duplicate(f"{where}.name", name)
        known.add(name)


def no_way_up(value: str, path: str) -> Iterator[Cause]:
    """A path must not lead out of where it begins."""
    if ".." in value.split("/"):
        yield causes.invalid(path, value, "must not contain '..'")


def _source(kind: str, source: Json, path: str) -> Iterator[Cause]:
    needed = _NEEDED.get(kind)
    if needed is not None and not source.get(needed):
        yield causes.required(f"{path}.{needed}")
    if kind == "hostPath":
        yield from no_way_up(str(source.get("path") or ""), f"{path}.path")
    yield from _mode(source.get("defaultMode"), f"{path}.defaultMode")
    if kind in ("secret", "configMap"):
        yield from _items(source, path)
    elif kind == "downwardAPI":
        yield from _fields(source, path)
    elif kind == "projected":
        for index, one in enumerate(source.get("sources") or ()):
            for part in ("secret", "configMap"):
                yield from _items(one.get(part) or {}, f"{path}.sources[{index}].{part}")
            yield from _fields(one.get("downwardAPI") or {}, f"{path}.sources[{index}].downwardAPI")


def _mode(value: Any, path: str) -> Iterator[Cause]:
    if value is not None and not 0 <= value <= 0o777:
        yield causes.invalid(path, value, _MODE_RULE)


def _items(source: Json, path: str) -> Iterator[Cause]:
    for index, one in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not one.get("key"):
            yield causes.required(f"{where}.key")
        yield from _place(str(one.get("path") or ""), f"{where}.path")
        yield from _mode(one.get("mode"), f"{where}.mode")


def _fields(source: Json, path: str) -> Iterator[Cause]:
    for one in source.get("items") or ():
        yield from _place(str(one.get("path") or ""), f"{path}.path")
        yield from _mode(one.get("mode"), f"{path}.mode")
        if isinstance(one.get("fieldRef"), dict):
            yield from field_path(one["fieldRef"], f"{path}.fieldRef", of_volume=True)


def _place(value: str, path: str) -> Iterator[Cause]:
    """Where a file goes below its volume."""
    if not value:
        yield causes.required(path)
    elif value.startswith("/"):
        yield causes.invalid(path, value, "must be a relative path")
    yield from no_way_up(value, path)


def field_path(ref: Json, path: str, *, of_volume: bool = False) -> Iterator[Cause]:
    """A reference to one of the pod's own fields."""
    name = str(ref.get("fieldPath") or "")
    if not name:
        yield causes.required(f"{path}.fieldPath")
        return
    keyed = re.fullmatch(r"(.+)\['(.*)'\]", name)
    plain = keyed[1] if keyed else name
    if keyed and plain not in ("metadata.annotations", "metadata.labels"):
        told = f"error converting fieldPath: field label does not support subscript: {name}"
        yield causes.invalid(f"{path}.fieldPath", name, told)
    elif plain not in _FIELDS:
        told = f"error converting fieldPath: field label not supported: {name}"
        yield causes.invalid(f"{path}.fieldPath", name, told)
    elif not keyed and name not in (allowed := _IN_VOLUMES if of_volume else _IN_ENV):
        yield causes.unsupported(f"{path}.fieldPath", name, allowed)
