"""What is served, told to clients: groups, versions, resources, health and version; pure over the registry.

Source: meta/v1 APIGroupList and APIResourceList; apidiscovery.k8s.io/v2.
"""

from __future__ import annotations

from forebay.api.meta import Json, Resource
from forebay.home.apiserver import reviews
from forebay.home.apiserver.registry import Registry, Served

VERSION: Json = {
    "major": "1", "minor": "34", "gitVersion": "v1.34.4+forebay", "gitCommit": "", "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
}  # fmt: skip
_RW = ("get", "patch", "update")
# (group, plural) -> subresource -> (verbs, kind of its body as (group, version, kind))
_SPECIAL: dict[tuple[str, str], dict[str, tuple[tuple[str, ...], tuple[str, str, str]]]] = {
    ("", "pods"): {
        "binding": (("create",), ("", "v1", "Binding")),
        "eviction": (("create",), ("policy", "v1", "Eviction")),
        "log": (("get",), ("", "v1", "Pod")),
    },
    ("", "serviceaccounts"): {"token": (("create",), ("authentication.k8s.io", "v1", "TokenRequest"))},
    ("", "namespaces"): {"finalize": (("update",), ("", "v1", "Namespace"))},
}
_SCALE = ("autoscaling", "v1", "Scale")


def subresources(served: Served) -> dict[str, tuple[tuple[str, ...], tuple[str, str, str]]]:
    """Every subresource of a kind with its verbs and the kind of its body."""
    kind = served.kind
    found = dict(_SPECIAL.get((kind.group, kind.plural), {}))
    if kind.has_status:
        found["status"] = (_RW, (kind.group, kind.version, kind.kind))
    if kind.has_scale:
        found["scale"] = (_RW, _SCALE)
    return dict(sorted(found.items()))


def _review_kinds(group: str) -> list[tuple[str, str, bool]]:
    """(plural, kind, namespaced) of the questions of a group."""
    return [
        (plural, kind, kind.startswith("Local")) for (g, plural), kind in reviews.KINDS.items() if g == group
    ]


def _groups(registry: Registry) -> dict[str, list[str]]:
    groups = registry.groups()
    for group, _ in reviews.KINDS:
        groups.setdefault(group, ["v1"])
    return groups


def aggregated(registry: Registry, *, core: bool, version: str) -> Json:
    """All groups with all their resources in one document."""
    items = [
        {"metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
         "versions": [_version(registry, group, v) for v in versions]}
        for group, versions in _groups(registry).items()
        if (group == "") is core
    ]  # fmt: skip
    return {
        "kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {},
        "items": items,
    }  # fmt: skip


def _version(registry: Registry, group: str, version: str) -> Json:
    resources = [_resource(served) for served in registry.of(group, version)]
    for plural, kind, namespaced in _review_kinds(group):
        resources.append({
            "resource": plural, "responseKind": _gvk((group, "v1", kind)), "singularResource": kind.lower(),
            "scope": "Namespaced" if namespaced else "Cluster", "verbs": ["create"],
        })  # fmt: skip
    return {"version": version, "resources": resources, "freshness": "Current"}


def _resource(served: Served) -> Json:
    kind = served.kind
    subs = [
        {"subresource": name, "responseKind": _gvk(body), "verbs": list(verbs)}
        for name, (verbs, body) in subresources(served).items()
    ]
    return {
        "resource": kind.plural, "responseKind": _gvk((kind.group, kind.version, kind.kind)),
        "scope": "Namespaced" if kind.namespaced else "Cluster", "singularResource": kind.singular,
        "verbs": list(served.verbs), **_names(kind), **({"subresources": subs} if subs else {}),
    }  # fmt: skip


def _gvk(body: tuple[str, str, str]) -> Json:
    return {"group": body[0], "version": body[1], "kind": body[2]}


def _names(kind: type[Resource]) -> Json:
    short = {"shortNames": list(kind.short)} if kind.short else {}
    return {**short, **({"categories": list(kind.categories)} if kind.categories else {})}


def core_versions(address: str) -> Json:
    """The old answer of /api."""
    return {
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }  # fmt: skip


def group_list(registry: Registry) -> Json:
    """The old answer of /apis."""
    groups = [_group(name, versions) for name, versions in _groups(registry).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Json | None:
    """One group, or None."""
    versions = _groups(registry).get(name) if name else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resources(registry: Registry, group: str, version: str) -> Json | None:
    """The resources of one group and version, or None."""
    if version not in _groups(registry).get(group, ()):
        return None
    rows: list[Json] = []
    for served in registry.of(group, version):
        kind = served.kind
        rows.append({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": list(served.verbs), **_names(kind),
        })  # fmt: skip
        for name, (verbs, body) in subresources(served).items():
            foreign = {} if body[:2] == (group, version) else {"group": body[0], "version": body[1]}
            rows.append({
                "name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced, **foreign,
                "kind": body[2], "verbs": list(verbs),
            })  # fmt: skip
    for plural, kind_name, namespaced in _review_kinds(group):
        rows.append({
            "name": plural, "singularName": kind_name.lower(), "namespaced": namespaced, "kind": kind_name,
            "verbs": ["create"],
        })  # fmt: skip
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}
