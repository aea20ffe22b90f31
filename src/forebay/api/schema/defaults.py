"""Defaults of built-in kinds, as kube-apiserver gives them.

Source: Kubernetes' API reference (v1.34). Each function changes its argument; `old` is None on create.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema import pod_defaults


def apply_defaults(raw: Json, kind: type[Resource]) -> None:
    """Fill in the defaults of a built-in kind; kinds without defaults stay as they are."""
    change = _DEFAULTS.get(kind)
    if change is not None:
        change(raw)


def _section(raw: Json, name: str) -> Json:
    if not isinstance(raw.get(name), dict):
        raw[name] = {}
    return raw[name]  # type: ignore[no-any-return]


def _unset(place: Json, **values: Any) -> None:
    """Set what is absent or empty (zero and false count as set)."""
    for name, value in values.items():
        if place.get(name) is None or place.get(name) == "":
            place[name] = value


def _template(spec: Json) -> Json:
    template = _section(spec, "template")
    pod_defaults.template(_section(template, "spec"))
    return template


def _pod(raw: Json) -> None:
    spec = _section(raw, "spec")
    pod_defaults.template(spec)
    pod_defaults.pod(spec)
    _unset(_section(raw, "status"), phase="Pending", qosClass=pod_defaults.quality(spec))


def _deployment(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = _section(spec, "strategy")
    _unset(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _unset(_section(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replica_set(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, replicas=1)
    _template(spec)


def _daemon_set(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, revisionHistoryLimit=10)
    strategy = _section(spec, "updateStrategy")
    _unset(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _unset(_section(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    _template(spec)


def _job(raw: Json) -> None:
    spec = _section(raw, "spec")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    per_index = spec.get("backoffLimitPerIndex") is not None
    _unset(
        spec, parallelism=1, backoffLimit=2**31 - 1 if per_index else 6, completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
        manualSelector=False,
    )  # fmt: skip
    template = _template(spec)
    labels = (template.get("metadata") or {}).get("labels")
    if labels and not raw["metadata"].get("labels"):
        raw["metadata"]["labels"] = dict(labels)


def _service(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        _unset(_section(_section(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=10800)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _unset(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _unset(spec, allocateLoadBalancerNodePorts=True)
    if spec["type"] != "ExternalName":
        both = spec.get("clusterIP") == "None" and not spec.get("selector")  # nobody knows what stands behind
        families, policy = (["IPv4", "IPv6"], "RequireDualStack") if both else (["IPv4"], "SingleStack")
        _unset(spec, internalTrafficPolicy="Cluster", ipFamilies=families, ipFamilyPolicy=policy)
    for port in spec.get("ports") or ():
        _unset(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")


def _claim(raw: Json) -> None:
    _unset(_section(raw, "spec"), volumeMode="Filesystem")
    _unset(_section(raw, "status"), phase="Pending")


def _volume(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    if isinstance(spec.get("hostPath"), dict):
        spec["hostPath"].setdefault("type", "")
    _unset(_section(raw, "status"), phase="Pending")


def _secret(raw: Json) -> None:
    _unset(raw, type="Opaque")
    plain = raw.pop("stringData", None)
    if plain:
        data = _section(raw, "data")
        data.update({key: base64.b64encode(str(text).encode()).decode() for key, text in plain.items()})


def _namespace(raw: Json) -> None:
    meta = raw["metadata"]
    if meta.get("name"):
        _section(meta, "labels")["kubernetes.io/metadata.name"] = meta["name"]
    _unset(_section(raw, "status"), phase="Active")


def _node(raw: Json) -> None:
    status = raw.get("status") or {}
    if status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def _storage_class(raw: Json) -> None:
    _unset(raw, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _endpoint_slice(raw: Json) -> None:
    for port in raw.get("ports") or ():
        port.setdefault("name", "")
        _unset(port, protocol="TCP")


def _autoscaler(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _role_binding(raw: Json) -> None:
    group = "rbac.authorization.k8s.io"
    if isinstance(raw.get("roleRef"), dict):
        _unset(raw["roleRef"], apiGroup=group)
    for subject in raw.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _unset(subject, apiGroup=group)


def _definition(raw: Json) -> None:
    spec = _section(raw, "spec")
    names = _section(spec, "names")
    if names.get("kind"):
        _unset(names, singular=str(names["kind"]).lower(), listKind=f"{names['kind']}List")
    _unset(_section(spec, "conversion"), strategy="None")


def _stateful_set(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    _unset(_section(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    strategy = _section(spec, "updateStrategy")
    _unset(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _unset(_section(strategy, "rollingUpdate"), partition=0)
    _template(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        _unset(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _claim(claim)


def _replication_controller(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(spec, replicas=1)
    labels = (_template(spec).get("metadata") or {}).get("labels")
    for place, name in ((spec, "selector"), (raw["metadata"], "labels")):
        if labels and not place.get(name):
            place[name] = dict(labels)


def _cron_job(raw: Json) -> None:
    spec = _section(raw, "spec")
    _unset(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    _template(_section(_section(spec, "jobTemplate"), "spec"))


def _limit_range(raw: Json) -> None:
    for item in _section(raw, "spec").get("limits") or ():
        if item.get("type") != "Container":
            continue
        default = {**(item.get("max") or {}), **(item.get("default") or {})}
        request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
        item.update({k: v for k, v in (("default", default), ("defaultRequest", request)) if v})


def _endpoints(raw: Json) -> None:
    for subset in raw.get("subsets") or ():
        for port in subset.get("ports") or ():
            _unset(port, protocol="TCP")


def _network_policy(raw: Json) -> None:
    spec = _section(raw, "spec")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _unset(port, protocol="TCP")


def _ingress_class(raw: Json) -> None:
    parameters = (raw.get("spec") or {}).get("parameters")
    if isinstance(parameters, dict):
        _unset(parameters, scope="Cluster")


def _priority_class(raw: Json) -> None:
    _unset(raw, preemptionPolicy="PreemptLowerPriority")


_DEFAULTS: dict[type[Resource], Callable[[Json], None]] = {
    kinds.Pod: _pod,
    kinds.Deployment: _deployment,
    kinds.ReplicaSet: _replica_set,
    kinds.DaemonSet: _daemon_set,
    kinds.Job: _job,
    kinds.Service: _service,
    kinds.PersistentVolumeClaim: _claim,
    kinds.PersistentVolume: _volume,
    kinds.Secret: _secret,
    kinds.Namespace: _namespace,
    kinds.Node: _node,
    kinds.StorageClass: _storage_class,
    kinds.EndpointSlice: _endpoint_slice,
    kinds.HorizontalPodAutoscaler: _autoscaler,
    kinds.RoleBinding: _role_binding,
    kinds.ClusterRoleBinding: _role_binding,
    kinds.CustomResourceDefinition: _definition,
    kinds.ReplicationController: _replication_controller,
    kinds.StatefulSet: _stateful_set,
    kinds.CronJob: _cron_job,
    kinds.LimitRange: _limit_range,
    kinds.Endpoints: _endpoints,
    kinds.NetworkPolicy: _network_policy,
    kinds.IngressClass: _ingress_class,
    kinds.PriorityClass: _priority_class,
}
