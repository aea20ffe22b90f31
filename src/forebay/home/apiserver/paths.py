"""URL and method -> what is asked for; pure.

Source: Kubernetes' RequestInfo (k8s.io/apiserver, endpoints/request) and the API conventions on paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from forebay.home.apiserver.options import is_set

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_BY_METHOD = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Operation:
    """A verb on a resource, or on a path that is none (`resource` is "", `path` is the path).

    `verb` is one of get, list, watch, create, update, patch, delete, deletecollection; for paths that are no
    resource the method in lower case. `group` is "" for the core group.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def parse(method: str, path: str, query: Mapping[str, str]) -> Operation:
    """Read a request line. `path` is still percent-encoded, so that an encoded slash stays in its part."""
    parts = [unquote(part) for part in path.strip("/").split("/") if part]
    found = _group_version(parts)
    if found is None:
        return Operation(method.lower(), path)
    group, version, rest = found
    if not rest:
        return Operation(method.lower(), path)
    watches = rest[0] == "watch" and len(rest) > 1  # /api/v1/watch/...: old, still used by hand
    if watches:
        rest = rest[1:]
    namespace, resource, name, subresource = _place(rest)
    asked = "watch" if watches else _verb(method, name, query)
    return Operation(asked, path, group, version, namespace, resource, name, subresource)


def _group_version(parts: list[str]) -> tuple[str, str, list[str]] | None:
    if len(parts) >= 2 and parts[0] == "api":
        return "", parts[1], parts[2:]
    if len(parts) >= 3 and parts[0] == "apis":
        return parts[1], parts[2], parts[3:]
    return None


def _place(rest: list[str]) -> tuple[str, str, str, str]:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and not (rest[2] in NAMESPACE_SUBRESOURCES and len(rest) == 3):
            rest = rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    if len(rest) > 3:
        subresource = "/".join(rest[2:])
    return namespace, resource, name, subresource


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if is_set(query, "watch"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _BY_METHOD.get(method, method.lower())
