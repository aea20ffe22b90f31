"""What the decision about one InferenceService may look at, and the plan for its model; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from forebay.api.kinds import (
    ClusterServingRuntime,
    ClusterStorageContainer,
    Deployment,
    HorizontalPodAutoscaler,
    InferenceService,
    LocalModelNode,
    LocalModelNodeGroup,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Service,
    ServingRuntime,
)  # fmt: skip
from forebay.api.meta import Resource
from forebay.control.config import Settings
from forebay.control.credentials import NO_SOURCES, Sources
from forebay.control.trust import NO_TRUST, Trust

PLAN_NOTE = "forebay.dev/storage-plan"  # on the Deployment: where its pods take the model from
ROLLOUT_NOTE = "forebay.dev/rollout"  # on the Deployment: hash of what the user and the runtime say


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at. Nothing else exists. `now` in seconds since 1970."""

    service: InferenceService
    settings: Settings
    now: float
    runtimes: tuple[ServingRuntime, ...] = ()  # of the service's namespace
    cluster_runtimes: tuple[ClusterServingRuntime, ...] = ()
    caches: tuple[Resource, ...] = ()  # cluster-wide ones and those of the namespace
    groups: Mapping[str, LocalModelNodeGroup] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    model_nodes: tuple[LocalModelNode, ...] = ()
    containers: tuple[ClusterStorageContainer, ...] = ()
    sources: Sources = NO_SOURCES  # credentials of the service's namespace
    trust: Trust = NO_TRUST  # of its init containers
    deployment: Deployment | None = None
    endpoint: Service | None = None
    autoscaler: HorizontalPodAutoscaler | None = None
    pods: tuple[Pod, ...] = ()
    claims: tuple[PersistentVolumeClaim, ...] = ()  # of the service's namespace
    volumes: tuple[PersistentVolume, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Where the pods take the model from. `mode` is none, cache, pull or claim.

    `path` lies below the volume's root; `reason` and `message` are the CacheHit condition's.
    """

    mode: str = "none"
    uri: str = ""
    mount: str = "/mnt/models"
    path: str = ""
    cache: str = ""  # "<namespace>/<name>"
    cache_uid: str = ""
    source: str = ""  # the cache's sourceModelUri
    group: str = ""
    key: str = ""
    claim: str = ""
    volume: str = ""

    def as_text(self) -> str:
        """The plan as an annotation."""
        return json.dumps({k: v for k, v in asdict(self).items() if v}, sort_keys=True)


def plan_of(deployment: Deployment | None) -> Plan | None:
    """The plan that a Deployment was made by, or None where it has none."""
    if deployment is None:
        return None
    try:
        said = json.loads(deployment.annotations.get(PLAN_NOTE, ""))
    except ValueError:
        return None
    known = (
        {k: str(v) for k, v in said.items() if k in Plan.__dataclass_fields__}
        if isinstance(said, dict)
        else {}
    )
    return Plan(**known) if known else None
