"""CustomResourceDefinitions of our kinds, generated from their schemas.

Names, scopes, short names and InferenceService's print columns are KServe's; the columns of the cache
kinds are ours.
"""

from __future__ import annotations

from forebay.api import ours
from forebay.api.described import described
from forebay.api.kinds import OURS
from forebay.api.meta import Json, Resource


def _column(name: str, path: str, type_: str = "string", *, priority: int = 0) -> Json:
    column: Json = {"name": name, "type": type_, "jsonPath": path}
    return {**column, "priority": priority} if priority else column


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_READY = _column("Ready", ".status.conditions[?(@.type=='Ready')].status")
_CACHE = (
    _READY,
    _column("Available", ".status.copies.available", "integer"),
    _column("Total", ".status.copies.total", "integer"),
    _column("Progress", ".status.progress"),
    _column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
    _column("Source", ".spec.sourceModelUri", priority=1),
    _column("Revision", ".status.revision", priority=1),
    _AGE,
)
_RUNTIME = (
    _column("Disabled", ".spec.disabled", "boolean"),
    _column("ModelType", ".spec.supportedModelFormats[*].name"),
    _column("Containers", ".spec.containers[*].name"),
    _AGE,
)
_TRAFFIC = ".status.components.predictor.traffic"

COLUMNS: dict[str, tuple[Json, ...]] = {
    "LocalModelCache": _CACHE,
    "LocalModelNamespaceCache": _CACHE,
    "LocalModelNode": (
        _column("Ready", ".status.ready"),
        _column("State", ".status.state"),
        _column("Bytes", ".status.rounded.bytes"),
        _AGE,
    ),
    "LocalModelNodeGroup": (
        _READY,
        _column("Nodes", ".status.nodes", "integer"),
        _column("Limit", ".spec.storageLimit"),
        _column("Used", ".status.rounded.used"),
        _column("Available", ".status.rounded.available"),
        _column("Reason", ".status.conditions[?(@.type=='Ready')].reason", priority=1),
        _AGE,
    ),
    "ClusterStorageContainer": (
        _column("Workload", ".spec.workloadType"),
        _column("Image", ".spec.container.image", priority=1),
        _AGE,
    ),
    "ServingRuntime": _RUNTIME,
    "ClusterServingRuntime": _RUNTIME,
    "InferenceService": (
        _column("URL", ".status.url"),
        _READY,
        _column("Prev", f"{_TRAFFIC}[?(@.tag=='prev')].percent", "integer"),
        _column("Latest", f"{_TRAFFIC}[?(@.latestRevision==true)].percent", "integer"),
        _column("PrevRolledoutRevision", f"{_TRAFFIC}[?(@.tag=='prev')].revisionName"),
        _column("LatestReadyRevision", f"{_TRAFFIC}[?(@.latestRevision==true)].revisionName"),
        _AGE,
    ),
}
"""additionalPrinterColumns per kind."""


def crd(kind: type[Resource]) -> Json:
    """The CustomResourceDefinition of one of our kinds."""
    names: Json = {
        "kind": kind.kind, "listKind": kind.kind + "List", "plural": kind.plural, "singular": kind.singular,
    }  # fmt: skip
    if kind.short:
        names["shortNames"] = list(kind.short)
    version: Json = {
        "name": kind.version, "served": True, "storage": True,
        "schema": {"openAPIV3Schema": described(kind, ours.schemas()[kind])},
        "additionalPrinterColumns": list(COLUMNS[kind.kind]),
    }  # fmt: skip
    if kind.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def all_crds() -> list[Json]:
    """The definitions of all our kinds."""
    return [crd(kind) for kind in OURS]
