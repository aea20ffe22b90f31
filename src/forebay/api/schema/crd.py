"""Posted CustomResourceDefinitions: the kinds they define, and what is wrong with them.

Source: apiextensions.k8s.io/v1 (API reference, structural schema rules).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api.meta import Json, Resource, dynamic_kind
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause
from forebay.api.schema.rules import pattern
from forebay.api.schema.structural import INT_OR_STRING, PRESERVE

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema")


def kind_of_crd(crd: Json, version: str) -> type[Resource]:
    """The kind that one version of a definition serves.

    It carries what a custom kind needs: `openapi` (structural schema), `columns` (additionalPrinterColumns),
    `scale` (the scale subresource's paths, or None). Raises KeyError when the definition has no such version.
    """
    spec, called = crd["spec"], crd["spec"]["names"]
    found = next((one for one in spec["versions"] if one["name"] == version), None)
    if found is None:
        raise KeyError(version)
    subresources = found.get("subresources") or {}
    kind = dynamic_kind(
        api=f"{spec['group']}/{version}", kind=called["kind"], plural=called["plural"],
        singular=called.get("singular") or called["kind"].lower(), namespaced=spec["scope"] == "Namespaced",
        has_status="status" in subresources, has_scale="scale" in subresources,
        short=tuple(called.get("shortNames") or ()), categories=tuple(called.get("categories") or ()),
    )  # fmt: skip
    schema = (found.get("schema") or {}).get("openAPIV3Schema") or {"type": "object", PRESERVE: True}
    if spec.get("preserveUnknownFields"):
        schema = {**schema, PRESERVE: True}
    for name, value in (
        ("openapi", schema), ("columns", found.get("additionalPrinterColumns")), ("scale",
        subresources.get("scale")),
    ):  # fmt: skip
        setattr(kind, name, value)
    return kind


def crd_trouble(crd: Json) -> list[Cause]:
    """What kube-apiserver would refuse about a definition."""
    spec = crd.get("spec") or {}
    called, group = spec.get("names") or {}, spec.get("group") or ""
    found: list[Cause] = []
    wanted = f"{called.get('plural', '')}.{group}"
    if called.get("plural") and group and (crd.get("metadata") or {}).get("name") != wanted:
        told = 'must be spec.names.plural+"."+spec.group'
        found.append(causes.invalid("metadata.name", (crd.get("metadata") or {}).get("name", ""), told))
    if not group:
        found.append(causes.required("spec.group"))
    elif "." not in group:
        found.append(causes.invalid("spec.group", group, "should be a domain with at least one dot"))
    for name in ("plural", "kind"):
        if not called.get(name):
            found.append(causes.required(f"spec.names.{name}"))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        if spec.get("scope"):
            found.append(causes.unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
        else:
            found.append(causes.required("spec.scope"))
    return [*found, *_versions(spec.get("versions") or [])]


def _versions(versions: list[Any]) -> Iterator[Cause]:
    if not versions:
        yield causes.required("spec.versions")
        return
    if sum(bool(one.get("storage")) for one in versions) != 1:
        named = [one.get("name") for one in versions]
        told = "must have exactly one version marked as storage version"
        yield causes.invalid("spec.versions", named, told)
    seen: set[str] = set()
    for index, one in enumerate(versions):
        path, name = f"spec.versions[{index}]", str(one.get("name") or "")
        for told in names.dns1035_label(name):
            yield causes.invalid(f"{path}.name", name, told)
        if name in seen:
            yield causes.invalid(path, name, "must contain unique version names")
        seen.add(name)
        schema = (one.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield causes.required(f"{path}.schema.openAPIV3Schema")
        else:
            # One schema for all versions is looked at in the place of the old API.
            place = "spec.validation" if len(versions) == 1 else f"{path}.schema"
            yield from _schema(schema, f"{place}.openAPIV3Schema", root=True)


def _schema(schema: Json, path: str, *, root: bool = False) -> Iterator[Cause]:
    given = schema.get("type")
    if root and given != "object":
        yield causes.invalid(f"{path}.type", given or "", "must be object at the root")
    if given is None and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield causes.required(f"{path}.type", "must not be empty for specified object fields")
    elif given is not None and given not in _TYPES:
        yield causes.unsupported(f"{path}.type", given, _TYPES)
    for name in _FORBIDDEN:
        if name in schema:
            yield causes.forbidden(f"{path}.{name}", f"{name} is not supported")
    if "properties" in schema and isinstance(schema.get("additionalProperties"), dict):
        yield causes.forbidden(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if given == "array" and not isinstance(schema.get("items"), dict):
        yield causes.required(f"{path}.items", "must be specified")
    if isinstance(schema.get("pattern"), str):
        try:
            pattern(schema["pattern"])
        except re.error as error:
            yield causes.invalid(
                f"{path}.pattern",
                schema["pattern"],
                f"must be a valid regular expression, but isn't: {error}",
            )
    for name, below in (schema.get("properties") or {}).items():
        if not (root and name in ("apiVersion", "kind", "metadata")):
            yield from _schema(below, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _schema(schema[name], f"{path}.{name}")
