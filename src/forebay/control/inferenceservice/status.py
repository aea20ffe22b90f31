"""Status of an InferenceService; pure. Conditions, URL and modelStatus are KServe's, CacheHit is ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forebay.api import names
from forebay.api.conditions import Condition, find, merged, no, without, yes
from forebay.api.kinds import ClusterServingRuntime, Deployment, InferenceService
from forebay.api.meta import Json, Resource
from forebay.api.states import FailureReason, ServedState, Transition
from forebay.control.config import Settings
from forebay.control.inferenceservice.model import Plan, Seen
from forebay.control.inferenceservice.pods import PodsView, pods_view
from forebay.control.inferenceservice.predictor import stopped
from forebay.control.inferenceservice.storage import cache_of, matching, nodes_with_copy, opted_out
from forebay.control.when import rfc3339

_VARIABLE = re.compile(r"\{\{\s*\.(Name|Namespace|IngressDomain)\s*\}\}")
_LOOPBACK = re.compile(r"(127\.|localhost|\[::1\])")


@dataclass(frozen=True)
class Outcome:
    """What the decision knows when the status is written."""

    name: str  # of the Service
    plan: Plan | None = None  # the one in effect
    fresh: Plan | None = None  # the one that a rollout of this moment would use
    runtime: Resource | None = None
    unsupported: tuple[str, ...] = ()
    reason: FailureReason | None = None  # set if the spec cannot be served
    problem: str = ""
    ready_reason: str = ""  # of the conditions, where it says more than KServe's `reason` does


def status(seen: Seen, outcome: Outcome) -> Json:
    """The whole status, from what is there now."""
    service, view = seen.service, pods_view(seen.pods, seen.deployment)
    predictor = _predictor_ready(seen, outcome, view)
    claims = [
        predictor,
        _ingress_ready(predictor),
        _ready(service, predictor),
        _cache_hit(seen, outcome, view),
    ]
    gone = []
    if outcome.unsupported:
        claims.append(yes("Unsupported", "FieldsIgnored", "; ".join(outcome.unsupported), severity="Info"))
    else:
        gone.append("Unsupported")
    if stopped(service):
        claims.append(yes("Stopped", "Stopped", "annotation serving.kserve.io/stop is true", severity="Info"))
    else:
        gone.append("Stopped")
    before = without(service.status.get("conditions"), *gone)
    url = service_url(seen.settings, service)
    found: Json = {
        "conditions": merged(before, claims, now=rfc3339(seen.now), generation=service.generation),
        "observedGeneration": service.generation,
        "deploymentMode": "Standard",
        "modelStatus": _model_status(seen, outcome, view),
    }
    if not outcome.problem:
        found["url"] = url
        found["address"] = {"url": _address(seen.settings, service, outcome.name, url)}
        found["components"] = {"predictor": {"url": found["address"]["url"]}}
    if outcome.runtime is not None:
        cluster = isinstance(outcome.runtime, ClusterServingRuntime)
        found["clusterServingRuntimeName" if cluster else "servingRuntimeName"] = outcome.runtime.name
    return found


def service_url(settings: Settings, service: InferenceService) -> str:
    """Where clients reach the service: by path if the ConfigMap has a pathTemplate, else by host name."""
    values = {"Name": service.name, "Namespace": service.namespace, "IngressDomain": settings.domain}

    def filled(template: str) -> str:
        return _VARIABLE.sub(lambda m: values[m[1]], template)

    if settings.path_template:
        return f"{settings.url_scheme}://{settings.domain}{filled(settings.path_template)}"
    return f"{settings.url_scheme}://{filled(settings.domain_template)}"


def _address(settings: Settings, service: InferenceService, name: str, url: str) -> str:
    """The address in the cluster; on a loopback home names of Services mean nothing, so it is the URL."""
    return url if _LOOPBACK.match(settings.domain) else f"http://{name}.{service.namespace}.svc.cluster.local"


def _available(deployment: Deployment | None) -> bool:
    if deployment is None or int(deployment.status.get("observedGeneration") or 0) < deployment.generation:
        return False
    return find(deployment, "Available").get("status") == "True" and bool(
        deployment.status.get("availableReplicas")
    )


def _predictor_ready(seen: Seen, outcome: Outcome, view: PodsView) -> Condition:
    if outcome.problem:
        reason = outcome.ready_reason or outcome.reason or FailureReason.INVALID_PREDICTOR_SPEC
        return no("PredictorReady", str(reason), outcome.problem)
    if stopped(seen.service):
        return no("PredictorReady", "Stopped", "remove the annotation serving.kserve.io/stop to start it")
    if _available(seen.deployment):
        return yes("PredictorReady", "Available")
    if view.failure is not None:
        return no("PredictorReady", view.failure.kind, f"pod {view.failure.pod}: {view.failure.message}")
    waiting = _waiting_for_cache(seen, outcome.plan)
    if waiting:
        return no("PredictorReady", "WaitingForCache", waiting)
    return no(
        "PredictorReady", view.phase or "MinimumReplicasUnavailable", view.message or "no pod is ready yet"
    )


def _ingress_ready(predictor: Condition) -> Condition:
    if predictor.status == "True":
        return yes("IngressReady", "Routed")
    return no("IngressReady", "PredictorNotReady", "requests are answered once the predictor is ready")


def _ready(service: InferenceService, predictor: Condition) -> Condition:
    if predictor.status == "True":
        return yes("Ready", "Ready")
    return no("Ready", predictor.reason, predictor.message)


def _waiting_for_cache(seen: Seen, plan: Plan | None) -> str:
    if plan is None or plan.mode != "cache" or nodes_with_copy(seen, plan):
        return ""
    cache = cache_of(seen, plan)
    if cache is None:
        return (
            f"the cache {_shown(plan)} is gone; change the service, and the next rollout downloads the model"
        )
    said = find(cache, "Ready").get("message") or "it has no status yet"
    return (
        f"waiting for cache {_shown(plan)} ({said}); to download without it set annotation "
        "forebay.dev/when-uncached: pull"
    )


def _cache_hit(seen: Seen, outcome: Outcome, view: PodsView) -> Condition:
    status, reason, message = _source_told(seen, outcome, view)
    return Condition("CacheHit", status, reason, message, severity="Info")


def _source_told(seen: Seen, outcome: Outcome, view: PodsView) -> tuple[str, str, str]:
    """Status, reason and message of CacheHit: where the model comes from, and what would be better."""
    plan, fresh = outcome.plan, outcome.fresh
    if plan is None:
        return "Unknown", "NotServed", "the service has no pods yet; its Ready condition says why"
    if plan.mode == "none":
        return "False", "NoModel", "the predictor names no model to download"
    if plan.mode == "claim":
        return "False", "PersistentVolumeClaim", f"the model is read from claim {plan.claim}"
    if plan.mode == "cache":
        return _copy_told(seen, plan, view)
    if fresh is not None and fresh.mode == "cache":
        told = (
            f"the running pods downloaded {plan.uri} themselves; the next rollout uses cache {_shown(fresh)}"
        )
        return "False", "NextRollout", told
    if opted_out(seen.service):
        return (
            "False",
            "SwitchedOff",
            f"annotation {names.DISABLE_LOCALMODEL}: each pod downloads {plan.uri} itself",
        )
    return "False", "NotCached", f"each pod downloads {plan.uri} itself; {_spared(seen, plan)}"


def _copy_told(seen: Seen, plan: Plan, view: PodsView) -> tuple[str, str, str]:
    nodes, waiting = nodes_with_copy(seen, plan), _waiting_for_cache(seen, plan)
    if nodes:
        return "True", "Cached", f"served from cache {_shown(plan)} on {', '.join(nodes)}"
    if view.ready:
        return "True", "Cached", f"served from a copy of cache {_shown(plan)}; further pods: {waiting}"
    return "False", "WaitingForCache", waiting


def _spared(seen: Seen, plan: Plan) -> str:
    """What would spare the download."""
    if not seen.settings.enabled:
        return f"localModel.enabled is false in ConfigMap {names.CONFIG_MAP}"
    cached, elsewhere = matching(seen, plan), matching(seen, plan, any_group=True)
    if cached is None and elsewhere is not None:
        asked = f"annotation {names.NODEGROUP}: {seen.service.annotations[names.NODEGROUP]}"
        return f"cache {_shown(elsewhere)} is not in the node group that is asked for ({asked})"
    if cached is None:
        return "a LocalModelCache of it would spare that"
    cache = cache_of(seen, cached)
    said = (find(cache, "Ready").get("message") if cache is not None else "") or "it has no status yet"
    return f"{names.WHEN_UNCACHED}: pull does not wait for cache {_shown(cached)} ({said})"


def _shown(plan: Plan) -> str:
    return plan.cache.removeprefix("/")


def _model_status(seen: Seen, outcome: Outcome, view: PodsView) -> Json:
    """modelStatus as KServe fills it: the target is what the newest pod is at, or FailedToLoad where nothing
    can be started; active is what serves. Unlike there, the last failure goes once the model is loaded."""
    target, failure = view.target, view.failure.as_json() if view.failure is not None else None
    transition = {
        ServedState.LOADED: Transition.UP_TO_DATE,
        ServedState.FAILED_TO_LOAD: Transition.BLOCKED,
    }.get(target, Transition.IN_PROGRESS)
    if outcome.problem:
        target, transition = ServedState.FAILED_TO_LOAD, Transition.INVALID_SPEC
        reason = outcome.reason or FailureReason.INVALID_PREDICTOR_SPEC
        failure = {"reason": str(reason), "message": outcome.problem}
    elif failure is None and target is not ServedState.LOADED:
        failure = (seen.service.status.get("modelStatus") or {}).get("lastFailureInfo")
    active = ServedState.LOADED if view.ready else ServedState.NONE
    found: Json = {
        "transitionStatus": str(transition),
        "states": {"activeModelState": str(active), "targetModelState": str(target)},
        "copies": {"failedCopies": view.failed, "totalCopies": view.ready},
    }
    return {**found, "lastFailureInfo": failure} if failure else found
