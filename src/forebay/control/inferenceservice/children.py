"""Deployment, Service and autoscaler of a predictor, and the volume it reads a cached model through; pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

from forebay.api import names
from forebay.api.kinds import (
    Deployment,
    HorizontalPodAutoscaler,
    InferenceService,
    LocalModelNodeGroup,
    PersistentVolume,
    PersistentVolumeClaim,
    Service,
)
from forebay.api.meta import Json, Resource
from forebay.control.inferenceservice.model import PLAN_NOTE, ROLLOUT_NOTE, Plan, Seen
from forebay.control.inferenceservice.predictor import Predictor, stopped
from forebay.control.inferenceservice.template import pod_labels, port_of
from forebay.control.volumes import Pair, claim, serving_volume

_ROLLING: Json = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}}


def child_name(service: InferenceService, predictor: Predictor) -> str:
    """Name of Deployment and autoscaler."""
    plain = names.predictor(service.name, str(predictor.raw.get("name") or ""))
    return names.fitting(plain, service.name, {})


def endpoint_name(service: InferenceService) -> str:
    """Name of the Service: the same whatever variant serves."""
    return names.fitting(names.predictor(service.name), service.name, {})


def rollout_hash(service: InferenceService, template: Json, source: str) -> str:
    """Changes with what the user and the runtime say, not with what caches do."""
    switches = {
        k: service.annotations.get(k)
        for k in (names.DISABLE_LOCALMODEL, names.NODEGROUP, names.READONLY, names.WHEN_UNCACHED)
    }
    return names.digest(json.dumps([template, source, switches], sort_keys=True), 16)


def replicas(service: InferenceService, predictor: Predictor, there: Deployment | None) -> int:
    """Pods wanted: the minimum, or what an autoscaler has chosen within the bounds."""
    if stopped(service):
        return 0
    least = max(
        1, int(predictor.raw.get("minReplicas", 1) if predictor.raw.get("minReplicas") is not None else 1)
    )
    current = int(there.spec.get("replicas") or 0) if there is not None else 0
    if current and scales(service, predictor):
        most = int(predictor.raw.get("maxReplicas") or 0)
        return max(least, min(current, most) if most else current)
    return least


def scales(service: InferenceService, predictor: Predictor) -> bool:
    """Whether something other than this controller chooses the number of pods."""
    kind = service.annotations.get(names.AUTOSCALER_CLASS, "hpa")
    if kind in ("external", "keda"):
        return True
    least, most = int(predictor.raw.get("minReplicas") or 1), int(predictor.raw.get("maxReplicas") or 0)
    return kind == "hpa" and most > least


def deployment(seen: Seen, predictor: Predictor, template: Json, plan: Plan, rollout: str) -> Deployment:
    """The Deployment as it shall be if a rollout happens now."""
    service = seen.service
    item = Deployment.new(
        child_name(service, predictor),
        service.namespace,
        labels=pod_labels(service),
        annotations={PLAN_NOTE: plan.as_text(), ROLLOUT_NOTE: rollout},
        spec={
            "replicas": replicas(service, predictor, seen.deployment),
            "selector": {"matchLabels": {"app": pod_labels(service)["app"]}},
            "strategy": copy.deepcopy(predictor.raw.get("deploymentStrategy") or _ROLLING),
            "progressDeadlineSeconds": 3600,
            "template": template,
        },
    )
    item.meta["ownerReferences"] = [service.owner_reference()]
    return item


def endpoint(seen: Seen, predictor: Predictor, template: Json) -> Service:
    """The Service in front of the predictor: port 80 to the container's port."""
    service = seen.service
    item = Service.new(
        endpoint_name(service),
        service.namespace,
        labels=pod_labels(service),
        spec={
            "selector": {"app": pod_labels(service)["app"]},
            "ports": [
                {"name": "http1", "port": 80, "protocol": "TCP", "targetPort": port_of(template["spec"])}
            ],
        },
    )
    item.meta["ownerReferences"] = [service.owner_reference()]
    return item


def autoscaler(seen: Seen, predictor: Predictor) -> HorizontalPodAutoscaler | None:
    """The HorizontalPodAutoscaler, or None where none is wanted."""
    service, raw = seen.service, predictor.raw
    if service.annotations.get(names.AUTOSCALER_CLASS, "hpa") != "hpa" or not scales(service, predictor):
        return None
    if stopped(service):
        return None
    name = child_name(service, predictor)
    spec: Json = {
        "scaleTargetRef": {"apiVersion": Deployment.api_version, "kind": Deployment.kind, "name": name},
        "minReplicas": max(1, int(raw.get("minReplicas") or 1)),
        "maxReplicas": int(raw["maxReplicas"]),
        "metrics": _metrics(raw),
    }
    if (raw.get("autoScaling") or {}).get("behavior"):
        spec["behavior"] = raw["autoScaling"]["behavior"]
    item = HorizontalPodAutoscaler.new(name, service.namespace, labels=pod_labels(service), spec=spec)
    item.meta["ownerReferences"] = [service.owner_reference()]
    return item


def _metrics(raw: Json) -> list[Json]:
    listed = (raw.get("autoScaling") or {}).get("metrics") or []
    told = [m.get("resource") or {} for m in listed if m.get("type") == "Resource"]
    named = [_resource_metric(str(r["name"]), r.get("target") or {}) for r in told if r.get("name")]
    if named:
        return named
    name = raw.get("scaleMetric") if raw.get("scaleMetric") in ("cpu", "memory") else "cpu"
    share = name == "cpu" and not raw.get("scaleTarget")  # of CPU nobody can guess an amount
    usual = "Utilization" if name == "cpu" else "AverageValue"
    target: Json = {"type": "Utilization" if share else raw.get("scaleMetricType") or usual}
    if target["type"] == "Utilization":
        target["averageUtilization"] = int(raw.get("scaleTarget") or 80)
    else:
        target["averageValue"] = (
            f"{raw.get('scaleTarget') or 1024}Mi" if name == "memory" else str(raw["scaleTarget"])
        )
    return [_resource_metric(str(name), target)]


def _resource_metric(name: str, target: Json) -> Json:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def serving_pair(seen: Seen, plan: Plan) -> Pair:
    """Names of the volume and claim through which this namespace reads the copy: kept, or computed."""
    cache = plan.cache.rpartition("/")
    labels = {
        names.UID_LABEL: plan.cache_uid,
        names.CACHE_LABEL: names.label_value(cache[2]),
        names.ROLE_LABEL: "serving",
        names.GROUP_LABEL: names.label_value(plan.group),
    }
    if cache[0]:
        labels[names.CACHE_NAMESPACE_LABEL] = cache[0]
    home = seen.service.namespace
    claims = _labelled(seen.claims, labels)
    volumes = [
        v for v in _labelled(seen.volumes, labels) if (v.spec.get("claimRef") or {}).get("namespace") == home
    ]
    identity = f"{plan.cache_uid}/{plan.group}/{home}"
    return Pair(
        volume=volumes[0].name
        if volumes
        else names.fitting(
            names.serving_pv(cache[2], plan.group, home), identity, {v.name: "" for v in seen.volumes}
        ),
        claim=claims[0].name
        if claims
        else names.fitting(
            names.serving_pvc(cache[2], plan.group), identity, {c.name: "" for c in seen.claims}
        ),
        namespace=home,
        labels=labels,
        annotations={"forebay.dev/owner": plan.cache},
    )


def serving(
    seen: Seen, plan: Plan, group: LocalModelNodeGroup
) -> tuple[PersistentVolumeClaim, PersistentVolume]:
    """Claim and volume of a cached model. The claim lives as long as one of the services that use it."""
    pair = serving_pair(seen, plan)
    made = claim(group, pair)
    made.meta["ownerReferences"] = [used_by(seen.service)]
    return made, serving_volume(group, pair, plan.key)


def used_by(service: InferenceService) -> Json:
    """The owner reference of a shared claim: one of several, so none controls it."""
    return service.owner_reference(controller=False, block=False)


def _labelled(items: Sequence[Resource], labels: Mapping[str, str]) -> list[Resource]:
    return sorted((i for i in items if labels.items() <= i.labels.items()), key=lambda i: i.name)
