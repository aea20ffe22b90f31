"""Names, labels, annotations and the rest of metadata: Kubernetes' syntax and sentences.

Source: k8s.io/apimachinery pkg/util/validation and pkg/api/validation (wording, limits).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema import causes
from forebay.api.schema.causes import Cause
from forebay.api.schema.tables import is_builtin, struct

ANNOTATIONS_BYTES_MAX = 256 * 1024
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_ENDS = "and must start and end with an alphanumeric character"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_QUALIFIED_RULE = f"must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}"


def _rule(said: str, form: str, *examples: str) -> str:
    shown = "".join(
        f"'{one}',  " if i + 1 < len(examples) else f"'{one}', " for i, one in enumerate(examples)
    )
    shown = shown.replace(",  '", ",  or '")
    return f"{said} (e.g. {shown}regex used for validation is '{form}')"


def _too_long(length_max: int) -> str:
    return f"must be no more than {length_max} characters"


def _in_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def dns1123_label(value: str) -> list[str]:
    """What is wrong with a lowercase RFC 1123 label (63 bytes)."""
    found = [_too_long(63)] if _in_bytes(value) > 63 else []
    if not re.fullmatch(_LABEL, value):
        said = (
            f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}"
        )
        dots = re.fullmatch(_SUBDOMAIN, value)
        found.append("must not contain dots" if dots else _rule(said, _LABEL, "my-name", "123-abc"))
    return found


def dns1123_subdomain(value: str) -> list[str]:
    """What is wrong with a lowercase RFC 1123 subdomain (253 bytes)."""
    found = [_too_long(253)] if _in_bytes(value) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        said = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            + _ENDS
        )
        found.append(_rule(said, _SUBDOMAIN, "example.com"))
    return found


def dns1035_label(value: str) -> list[str]:
    """What is wrong with a DNS-1035 label (63 bytes)."""
    found = [_too_long(63)] if _in_bytes(value) > 63 else []
    if not re.fullmatch(_DNS1035, value):
        said = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character"
        )
        found.append(_rule(said, _DNS1035, "my-name", "abc-123"))
    return found


def path_segment(value: str) -> list[str]:
    """What is wrong with a name that only has to fit into a path (roles and their bindings)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{one}'" for one in "/%" if one in value]


def qualified_name(value: str) -> list[str]:
    """What is wrong with `prefix/name`, the syntax of label keys and finalizers."""
    parts = value.split("/")
    rule = _rule(_QUALIFIED_RULE, _QUALIFIED, "MyName", "my.name", "123-abc")
    if len(parts) > 2:
        more = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {rule} {more}"]
    name, found = parts[-1], []
    if len(parts) == 2:
        if not parts[0]:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {one}" for one in dns1123_subdomain(parts[0])]
    if not name:
        found.append("name part must be non-empty")
    elif _in_bytes(name) > 63:
        found.append(f"name part {_too_long(63)}")
    if not re.fullmatch(_QUALIFIED, name):
        found.append(f"name part {rule}")
    return found


def label_value(value: str) -> list[str]:
    """What is wrong with the value of a label."""
    found = [_too_long(63)] if _in_bytes(value) > 63 else []
    if not re.fullmatch(_LABEL_VALUE, value):
        said = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            + _ENDS
        )
        found.append(_rule(said, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return found


def ip_address(value: str, path: str) -> Iterator[Cause]:
    """An address of either family."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        told = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield causes.invalid(path, value, told)


_NAMES: Mapping[type[Resource], Callable[[str], list[str]]] = {
    kinds.Namespace: dns1123_label,
    kinds.Service: dns1035_label,
    kinds.Role: path_segment,
    kinds.RoleBinding: path_segment,
    kinds.ClusterRole: path_segment,
    kinds.ClusterRoleBinding: path_segment,
}


def metadata(raw: Json, kind: type[Resource]) -> Iterator[Cause]:
    """Everything wrong with an object's metadata."""
    meta: Json = raw.get("metadata") or {}
    test = _NAMES.get(kind, dns1123_subdomain)
    name = str(meta.get("name") or "")
    if not name:
        yield causes.required("metadata.name", "name or generateName is required")
    else:
        for told in test(name):
            yield causes.invalid("metadata.name", name, told)
    namespace = str(meta.get("namespace") or "")
    if kind.namespaced and not namespace:
        yield causes.required("metadata.namespace")
    elif kind.namespaced:
        for told in dns1123_label(namespace):
            yield causes.invalid("metadata.namespace", namespace, told)
    elif namespace:
        yield causes.forbidden("metadata.namespace", "not allowed on this type")
    yield from labels(meta.get("labels"), "metadata.labels")
    yield from annotation_map(meta.get("annotations"), "metadata.annotations")
    yield from _owners([one or {} for one in meta.get("ownerReferences") or []])  # to Go a null is empty
    core = is_builtin(kind) and kind.group != "apiextensions.k8s.io"
    yield from _finalizers([one or "" for one in meta.get("finalizers") or []], core=core)


def labels(found: Any, path: str) -> Iterator[Cause]:
    """Syntax of labels, of metadata or of a selector."""
    for key, value in (found or {}).items():
        for told in qualified_name(key):
            yield causes.invalid(path, key, told)
        for told in label_value(str(value)):
            yield causes.invalid(path, value, told)


def annotation_map(found: Any, path: str) -> Iterator[Cause]:
    """Syntax and size of annotations."""
    total = 0
    for key, value in (found or {}).items():
        total += _in_bytes(key) + _in_bytes(str(value))
        for told in qualified_name(key.lower()):
            yield causes.invalid(path, key, told)
    if total > ANNOTATIONS_BYTES_MAX:
        yield causes.too_long(path, ANNOTATIONS_BYTES_MAX)


def _owners(found: list[Json]) -> Iterator[Cause]:
    path, controller = "metadata.ownerReferences", ""
    for one in found:
        if not one.get("apiVersion"):
            yield causes.invalid(f"{path}.apiVersion", "", "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not one.get(name):
                yield causes.invalid(f"{path}.{name}", "", "must not be empty")
        if one.get("controller"):
            this = f"{one.get('kind')}/{one.get('name')}"
            if controller:
                told = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {this}"
                )
                yield causes.invalid(path, [_in_order(each) for each in found], told)
            controller = this


def _in_order(one: Json) -> Json:
    """An owner reference with its fields in the order in which Go prints them."""
    return {name: one[name] for name in struct("meta.v1.OwnerReference").fields if name in one}


def _finalizers(found: list[str], *, core: bool) -> Iterator[Cause]:
    path = "metadata.finalizers"
    for one in found:
        for told in qualified_name(one):
            yield causes.invalid(path, one, told)
    if "orphan" in found and "foregroundDeletion" in found:
        yield causes.invalid(path, found, "finalizer orphan and foregroundDeletion cannot be both set")
    for index, one in enumerate(found) if core else ():
        if "/" not in one and one not in _STANDARD_FINALIZERS:
            told = "name is neither a standard finalizer name nor is it fully qualified"
            yield causes.invalid(f"{path}[{index}]", one, told)
