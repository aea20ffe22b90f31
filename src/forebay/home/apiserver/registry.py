"""The kinds that are served right now: the built-in ones, ours, and those of posted definitions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema import is_builtin
from forebay.home.apiserver import autoscalers, events

if TYPE_CHECKING:
    from forebay.home.apiserver.context import Call

BODY_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _same(raw: Json) -> Json:
    return raw


@dataclass(frozen=True)
class Served:
    """One kind under one group and version.

    `stored` is the kind under which the store keeps it; `to_wire` and `from_wire` turn one form into the
    other (the two groups of Event share their objects). `deprecated` is a warning for every answer, or "";
    `inert` one for every object that is made or changed, of a kind that is stored and no more. `virtual`
    answers get and list, and nothing else is offered, of a kind that nobody stores.
    """

    kind: type[Resource]
    stored: type[Resource]
    to_wire: Callable[[Json], Json] = _same
    from_wire: Callable[[Json], Json] = _same
    deprecated: str = ""
    inert: str = ""
    virtual: Callable[[Call], Awaitable[Response]] | None = None

    @property
    def verbs(self) -> tuple[str, ...]:
        """What is offered on the kind itself."""
        if self.virtual is not None:
            return ("get", "list")
        # nobody empties a cluster in one request
        return tuple(v for v in BODY_VERBS if self.kind is not kinds.Namespace or v != "deletecollection")

    @property
    def builtin(self) -> bool:
        """Not a custom kind: takes strategic merge patches and updates without a revision."""
        return is_builtin(self.kind)

    @property
    def subresources(self) -> tuple[str, ...]:
        """Names of the served subresources that are no virtual objects of their own."""
        return (*(("status",) if self.kind.has_status else ()), *(("scale",) if self.kind.has_scale else ()))


_ROLES = (kinds.Role, kinds.RoleBinding, kinds.ClusterRole, kinds.ClusterRoleBinding)
_ROLES_ARE_FIXED = "stored, and grants nothing: who may do what is fixed in this home"
_OLD_ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


def _builtin(kind: type[Resource]) -> Served:
    if kind is kinds.EventV1:
        return Served(kind, kinds.Event, events.to_v1, events.from_v1)
    inert = _inert(kind)
    if kind is kinds.HorizontalPodAutoscalerV1:
        stored = kinds.HorizontalPodAutoscaler
        return Served(kind, stored, autoscalers.to_v1, autoscalers.from_v1, inert=inert)
    return Served(kind, kind, deprecated=_OLD_ENDPOINTS if kind is kinds.Endpoints else "", inert=inert)


def _inert(kind: type[Resource]) -> str:
    if kind in _ROLES:
        return _ROLES_ARE_FIXED
    scalers = (kinds.HorizontalPodAutoscaler, kinds.HorizontalPodAutoscalerV1)
    told = f"this {kind.kind} is stored, and nothing in this home acts on it"
    return told if kind in (*kinds.STORED, *scalers) else ""


class Registry:
    """Finds the kind for a path. `revision` grows with every change, for cached documents."""

    def __init__(self) -> None:
        self._fixed = {(k.group, k.version, k.plural): _builtin(k) for k in kinds.ALL}
        self._posted: dict[str, tuple[Served, ...]] = {}
        self._all: dict[tuple[str, str, str], Served] = dict(self._fixed)
        self.revision = 0

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """What is served there, or None."""
        return self._all.get((group, version, plural))

    def everything(self) -> list[Served]:
        """All kinds, built-in ones first, in a stable order."""
        return list(self._all.values())

    def groups(self) -> dict[str, list[str]]:
        """Group -> its versions, the preferred one first."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._all:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return {group: sorted(versions, key=_version_order) for group, versions in found.items()}

    def of(self, group: str, version: str) -> list[Served]:
        """The kinds of one group and version, in the order of their names: that of `kubectl get all`."""
        found = [(p, served) for (g, v, p), served in self._all.items() if (g, v) == (group, version)]
        return [served for _, served in sorted(found, key=lambda one: one[0])]

    def owns(self, group: str, plural: str) -> bool:
        """Whether a kind of that name is built in; a posted definition of it does not replace ours."""
        return any((g, p) == (group, plural) for g, _, p in self._fixed)

    def post(self, name: str, served: tuple[Served, ...]) -> None:
        """Serve the kinds of the definition called `name`."""
        if self._posted.get(name) != served:
            self._posted[name] = served
            self._rebuild()

    def drop(self, name: str) -> None:
        """Stop serving a definition's kinds."""
        if self._posted.pop(name, None) is not None:
            self._rebuild()

    def _rebuild(self) -> None:
        posted = {
            (s.kind.group, s.kind.version, s.kind.plural): s for many in self._posted.values() for s in many
        }
        self._all = posted | self._fixed
        self.revision += 1


def _version_order(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), "")
