"""meta.k8s.io/v1 Tables of every kind, as `kubectl get` prints them.

Built-in kinds have Kubernetes' own columns; custom kinds those of their definition (NAME and AGE without
any).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from forebay.api import crds, kinds
from forebay.api.meta import Json, Resource, dynamic_kind
from forebay.home.apiserver import autoscalers
from forebay.home.apiserver.printers import cluster, pods, storage, stored, workloads
from forebay.home.apiserver.printers.jsonpath import find
from forebay.home.apiserver.printers.words import Row, age, columns, moment, since

SCALE = dynamic_kind(api="autoscaling/v1", kind="Scale", plural="scales")  # what /scale answers
_BUILT_IN: dict[type[Resource], tuple[tuple[str, ...], Row]] = {
    kinds.Pod: (pods.COLUMNS, pods.row),
    kinds.Deployment: (workloads.DEPLOYMENT, workloads.deployment),
    kinds.ReplicaSet: (workloads.REPLICA_SET, workloads.replica_set),
    kinds.DaemonSet: (workloads.DAEMON_SET, workloads.daemon_set),
    kinds.Job: (workloads.JOB, workloads.job),
    kinds.ControllerRevision: (workloads.CONTROLLER_REVISION, workloads.controller_revision),
    kinds.HorizontalPodAutoscaler: (workloads.AUTOSCALER, workloads.autoscaler),
    kinds.PersistentVolume: (storage.VOLUME, storage.volume),
    kinds.PersistentVolumeClaim: (storage.CLAIM, storage.claim),
    kinds.StorageClass: (storage.STORAGE_CLASS, storage.storage_class),
    kinds.Secret: (storage.SECRET, storage.secret),
    kinds.ConfigMap: (storage.CONFIG_MAP, storage.config_map),
    kinds.Node: (cluster.NODE, cluster.node),
    kinds.Namespace: (cluster.NAMESPACE, cluster.namespace),
    kinds.Event: (cluster.EVENT, cluster.event),
    kinds.EventV1: (cluster.EVENT, cluster.event),
    kinds.Service: (cluster.SERVICE, cluster.service),
    kinds.EndpointSlice: (cluster.ENDPOINT_SLICE, cluster.endpoint_slice),
    kinds.Lease: (cluster.LEASE, cluster.lease),
    kinds.ServiceAccount: (cluster.SERVICE_ACCOUNT, cluster.service_account),
    kinds.Role: (cluster.CREATED, cluster.created),
    kinds.ClusterRole: (cluster.CREATED, cluster.created),
    kinds.RoleBinding: (cluster.BINDING, cluster.binding),
    kinds.ClusterRoleBinding: (cluster.BINDING, cluster.binding),
    kinds.CustomResourceDefinition: (cluster.CREATED, cluster.created),
    kinds.HorizontalPodAutoscalerV1: (
        workloads.AUTOSCALER,
        lambda raw, now: workloads.autoscaler(autoscalers.from_v1(raw), now),
    ),
    kinds.ReplicationController: (workloads.REPLICA_SET, workloads.replication_controller),
    SCALE: (workloads.SCALE, workloads.scale),
    kinds.Endpoints: (stored.ENDPOINTS, stored.endpoints),
    kinds.StatefulSet: (stored.STATEFUL_SET, stored.stateful_set),
    kinds.CronJob: (stored.CRON_JOB, stored.cron_job),
    kinds.PodDisruptionBudget: (stored.BUDGET, stored.budget),
    kinds.ResourceQuota: (stored.QUOTA, stored.quota),
    kinds.LimitRange: (stored.LIMIT_RANGE, cluster.created),
    kinds.Ingress: (stored.INGRESS, stored.ingress),
    kinds.IngressClass: (stored.INGRESS_CLASS, stored.ingress_class),
    kinds.NetworkPolicy: (stored.NETWORK_POLICY, stored.network_policy),
    kinds.PriorityClass: (stored.PRIORITY_CLASS, stored.priority_class),
}
_AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def table(
    kind: type[Resource], items: Sequence[Resource], *, now: datetime, include: str = "Metadata"
) -> Json:
    """A Table of `items`. `include` (None, Metadata, Object) says what of the object each row carries."""
    built_in = _BUILT_IN.get(kind)
    if built_in is not None:
        heads, fill = columns(*built_in[0]), built_in[1]
        rows = [_row(item.raw, fill(item.raw, now), include) for item in items]
    else:
        own = _own_columns(kind)
        heads = [*columns("Name"), *(_head(one) for one in own)]
        rows = [_row(item.raw, _custom(item.raw, own, now), include) for item in items]
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": heads, "rows":
        rows,
    }  # fmt: skip


def _row(raw: Json, cells: list[Any], include: str) -> Json:
    if include == "Object":
        return {"cells": cells, "object": raw}
    if include == "None":
        return {"cells": cells, "object": None}
    head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {"cells": cells, "object": {**head, "metadata": raw["metadata"]}}


def _own_columns(kind: type[Resource]) -> Sequence[Json]:
    carried = getattr(kind, "columns", None)
    if carried is None and kind in kinds.OURS:
        carried = crds.COLUMNS.get(kind.kind)
    return carried or (_AGE,)


def _head(column: Json) -> Json:
    return {
        "name": column["name"], "type": column["type"], "format": column.get("format", ""),
        "description": column.get("description", ""), "priority": column.get("priority", 0),
    }  # fmt: skip


def _custom(raw: Json, own: Sequence[Json], now: datetime) -> list[Any]:
    cells: list[Any] = [raw["metadata"]["name"]]
    for column in own:
        if column["jsonPath"] == ".metadata.creationTimestamp" and column["type"] == "date":
            cells.append(age(raw, now))
            continue
        found = find(raw, column["jsonPath"])
        cells.append(_cell(found[0], column["type"], now) if found else None)
    return cells


def _cell(value: Any, kind: str, now: datetime) -> Any:
    """One cell as its column's type wants it; None (printed empty) where the value is of another type."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        case "integer":
            return int(value) if number else None
        case "number":
            return float(value) if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return since(value, now) if moment(value) is not None else "<invalid>"
    return None
