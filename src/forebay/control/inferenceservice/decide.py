"""What to do about one InferenceService. Pure: the same sight gives the same decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forebay.api import names
from forebay.api.conditions import find
from forebay.api.kinds import Deployment, PersistentVolumeClaim
from forebay.api.meta import Json, Resource
from forebay.api.states import FailureReason
from forebay.control.actions import Action, Create, Note, Replace, delete
from forebay.control.containers import sourceless
from forebay.control.inferenceservice import children
from forebay.control.inferenceservice.model import PLAN_NOTE, ROLLOUT_NOTE, Plan, Seen, plan_of
from forebay.control.inferenceservice.pods import begun
from forebay.control.inferenceservice.predictor import Predictor, predictor_of, unsupported
from forebay.control.inferenceservice.prepare import prepared
from forebay.control.inferenceservice.runtime import Selected, select
from forebay.control.inferenceservice.status import Outcome, status
from forebay.control.inferenceservice.storage import (
    Source,
    cache_of,
    initializer,
    may_read,
    plan_for,
    pull_credentials,
    source_of,
    suffixes_of,
    with_model,
)  # fmt: skip
from forebay.control.inferenceservice.template import pod_template
from forebay.control.when import LOOK_S, corrected_s, elapsed_s

TOGETHER_S = 10.0  # objects of one apply arrive within this time


@dataclass(frozen=True)
class Decision:
    """Actions in order, the status to report (None leaves it), and seconds until the next look."""

    actions: tuple[Action, ...] = ()
    status: Json | None = None
    look_again_s: float | None = None


def decide(seen: Seen) -> Decision:
    """The next steps for one service. A service that cannot be served keeps what it has, and says why."""
    if seen.service.deleting:
        return Decision()  # its children have it as owner and go with it; the cache stays
    predictor = predictor_of(seen.service)
    name = children.endpoint_name(seen.service)
    told = tuple(unsupported(seen.service, predictor))
    if predictor.problem:
        return _refused(seen, name, told, FailureReason.INVALID_PREDICTOR_SPEC, predictor.problem)
    selected = Selected() if predictor.model is None else select(
        predictor.model, seen.runtimes, seen.cluster_runtimes)  # fmt: skip
    if selected.reason is not None:
        return _refused(seen, name, told, selected.reason, selected.message)
    template = pod_template(seen.service, predictor, selected.runtime)
    source = source_of(seen, predictor)
    fresh = _complete(seen, plan_for(seen, source))
    problem = _problem(seen, predictor, source, fresh, template)
    if problem:
        lacking = problem in (source.problem, pull_credentials(seen).problem)  # what a corrected Secret mends
        refused = _refused(seen, name, told, FailureReason.INVALID_PREDICTOR_SPEC, problem, lacking=lacking)
        if not lacking:
            return refused
        since = find(seen.service, "Ready").get("lastTransitionTime")
        return replace(refused, look_again_s=corrected_s(since, seen.now))
    rollout = children.rollout_hash(seen.service, template, source.uri)
    plan = _plan_in_effect(seen, fresh, rollout)
    mounted = plan.mount if plan.mode != "none" else ""
    wanted = prepared(
        with_model(seen, predictor, plan, template), selected.runtime, mounted, suffixes_of(seen, plan)
    )
    actions = [
        *_storage(seen, plan),
        *_children(seen, predictor, wanted, plan, rollout),
        *_labels(seen, plan),
    ]
    actions += _notes(seen, plan)
    outcome = Outcome(name=name, plan=plan, fresh=fresh, runtime=selected.runtime, unsupported=told)
    return Decision(tuple(actions), status(seen, outcome), LOOK_S)


def _refused(seen: Seen, name: str, told: tuple[str, ...], reason: FailureReason, problem: str,
             *, lacking: bool = False) -> Decision:  # fmt: skip
    outcome = Outcome(
        name=name, plan=plan_of(seen.deployment), unsupported=told, reason=reason, problem=problem,
        ready_reason="CredentialsMissing" if lacking else "",
    )  # fmt: skip
    return Decision(status=status(seen, outcome), look_again_s=LOOK_S)


def _problem(seen: Seen, predictor: Predictor, source: Source, plan: Plan, template: Json) -> str:
    if source.problem:
        return source.problem
    if not template["spec"]["containers"]:
        return "the runtime has no container; correct it or name another"
    if plan.mode == "pull":
        chosen = initializer(seen, predictor, plan)
        if isinstance(chosen, str):
            return chosen
        image = (chosen.spec.get("container") or {}).get("image") if chosen is not None else ""
        why = sourceless(str(image or seen.settings.initializer_image), plan.uri)
        return why or pull_credentials(seen).problem or seen.trust.problem
    if plan.mode == "claim" and not plan.claim:
        return f"{plan.uri}: no claim is named; write pvc://<claim>/<path>"
    taken = seen.deployment is not None and seen.deployment.controller_uid() != seen.service.uid
    if taken and seen.deployment is not None:
        return f"Deployment {seen.deployment.name} belongs to someone else; delete it or rename the service"
    return ""


def _complete(seen: Seen, plan: Plan) -> Plan:
    """A cache plan with the names of its volume and claim."""
    if plan.mode != "cache":
        return plan
    pair = children.serving_pair(seen, plan)
    return replace(plan, claim=pair.claim, volume=pair.volume)


def _plan_in_effect(seen: Seen, fresh: Plan, rollout: str) -> Plan:
    """The plan of the pods that are there, unless a rollout is due or nothing is lost by another plan.

    So a later change of the cache never rolls running pods; but a service and a cache that were applied
    together, in whatever order, find each other.
    """
    there, current = seen.deployment, plan_of(seen.deployment)
    if there is None or current is None or there.annotations.get(ROLLOUT_NOTE) != rollout:
        return fresh
    if not there.spec.get("replicas") and not there.status.get("replicas"):
        return fresh
    if there.status.get("readyReplicas"):
        return current
    dead = current.mode == "cache" and (cache_of(seen, current) is None or current.group not in seen.groups)
    young = elapsed_s(there.meta.get("creationTimestamp"), seen.now) < TOGETHER_S
    return fresh if dead or young or not any(begun(pod) for pod in seen.pods) else current


# --- volumes


def _storage(seen: Seen, plan: Plan) -> list[Action]:
    """The claim and volume of a cached model: made where a service uses it, let go where none does."""
    found: list[Action] = seen.trust.copying() if plan.mode == "pull" else []
    group, kept = seen.groups.get(plan.group), {plan.claim}
    if plan.mode == "cache" and group is not None and not seen.settings.disable_volume_management:
        found += _serving(seen, plan)
        kept.add(children.serving_pair(seen, plan).claim)  # else it would be made and let go for ever
    if _settled(seen.deployment):
        found += [_released(seen, c) for c in seen.claims if c.name not in kept and _is_user(seen, c)]
    return found


def _serving(seen: Seen, plan: Plan) -> list[Action]:
    claim, volume = children.serving(seen, plan, seen.groups[plan.group])
    there = next((c for c in seen.claims if c.name == claim.name), None)
    held = next((v for v in seen.volumes if v.name == volume.name), None)
    if held is not None and held.status.get("phase") in ("Released", "Failed"):
        return [] if held.deleting else [delete(held)]  # its claim is gone; the next pass makes a new one
    found: list[Action] = []
    if there is None:
        found.append(Create(claim))  # before the volume: a volume without a claim is swept away
    elif not _is_user(seen, there) and not there.deleting:
        item = there.copy()
        item.meta["ownerReferences"] = [*there.owners, children.used_by(seen.service)]
        found.append(Replace(item))
    if held is None and may_read(seen, plan):
        found.append(Create(volume))
    return found


def _is_user(seen: Seen, claim: PersistentVolumeClaim) -> bool:
    serving = claim.labels.get(names.ROLE_LABEL) == "serving"
    return serving and not claim.deleting and any(o.get("uid") == seen.service.uid for o in claim.owners)


def _released(seen: Seen, claim: PersistentVolumeClaim) -> Action:
    left = [o for o in claim.owners if o.get("uid") != seen.service.uid]
    if not left:
        return delete(claim)
    item = claim.copy()
    item.meta["ownerReferences"] = left
    return Replace(item)


def _settled(deployment: Deployment | None) -> bool:
    """Whether only pods of the newest template are left."""
    if deployment is None or int(deployment.status.get("observedGeneration") or 0) < deployment.generation:
        return False
    told, wanted = deployment.status, int(deployment.spec.get("replicas") or 0)
    return int(told.get("updatedReplicas") or 0) == int(told.get("replicas") or 0) == wanted


# --- children


def _children(seen: Seen, predictor: Predictor, template: Json, plan: Plan, rollout: str) -> list[Action]:
    wanted = children.deployment(seen, predictor, template, plan, rollout)
    found: list[Action] = _deployment(seen.deployment, wanted)
    found += _same(seen.endpoint, children.endpoint(seen, predictor, template), ("ports", "selector"))
    scaler = children.autoscaler(seen, predictor)
    if scaler is not None:
        found += _same(seen.autoscaler, scaler, ("minReplicas", "maxReplicas", "metrics", "scaleTargetRef"))
    elif seen.autoscaler is not None and seen.autoscaler.controller_uid() == seen.service.uid:
        found.append(delete(seen.autoscaler))
    return found


def _deployment(there: Deployment | None, wanted: Deployment) -> list[Action]:
    if there is None:
        return [Create(wanted)]
    item = there.copy()
    spec = dict(there.spec)
    spec["replicas"] = wanted.spec["replicas"]
    notes = {k: there.annotations.get(k) for k in (PLAN_NOTE, ROLLOUT_NOTE)}
    if notes != {k: wanted.annotations[k] for k in notes}:  # only then: a server's defaults are no difference
        spec["template"], spec["strategy"] = wanted.spec["template"], wanted.spec["strategy"]
        item.meta["annotations"] = {**there.annotations, **wanted.annotations}
    elif not _covers(there.spec.get("strategy"), wanted.spec["strategy"]):
        spec["strategy"] = wanted.spec["strategy"]
    item.raw["spec"] = spec
    return [Replace(item)] if item.raw != there.raw else []


def _same(there: Resource | None, wanted: Resource, fields: Sequence[str]) -> list[Action]:
    """Create, or bring the named fields of the spec to what is wanted."""
    if there is None:
        return [Create(wanted)]
    if all(_covers(there.spec.get(f), wanted.spec.get(f)) for f in fields):
        return []
    item = there.copy()
    item.raw["spec"] = {**there.spec, **{f: wanted.spec[f] for f in fields}}
    return [Replace(item)]


def _covers(there: object, wanted: object) -> bool:
    """Whether everything wanted is there; what a server added is no difference."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_covers(there.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(_covers, there, wanted))
    return there == wanted


# --- the service's own marks


def _labels(seen: Seen, plan: Plan) -> list[Action]:
    """The labels and annotations that KServe's webhook would have set."""
    service = seen.service
    labels = {
        k: v for k, v in service.labels.items() if k not in (names.LOCALMODEL, names.LOCALMODEL_NAMESPACE)
    }
    notes = {
        k: v
        for k, v in service.annotations.items()
        if k not in (names.LOCALMODEL_SOURCE, names.LOCALMODEL_PVC)
    }
    if plan.mode == "cache":
        namespace, _, name = plan.cache.rpartition("/")
        labels[names.LOCALMODEL] = names.label_value(name)
        if namespace:
            labels[names.LOCALMODEL_NAMESPACE] = namespace
        notes[names.LOCALMODEL_SOURCE] = plan.source
        notes[names.LOCALMODEL_PVC] = plan.claim
    if labels == service.labels and notes == service.annotations:
        return []
    item = service.copy()
    item.meta["labels"], item.meta["annotations"] = labels, notes
    return [Replace(item)]


def _notes(seen: Seen, plan: Plan) -> list[Action]:
    if plan_of(seen.deployment) == plan:
        return []
    told = {
        "cache": f"the model is read from cache {plan.cache.removeprefix('/')} (node group {plan.group})",
        "pull": f"each pod downloads {plan.uri}",
        "claim": f"the model is read from claim {plan.claim}",
    }.get(plan.mode)
    return [Note("ModelSource", told)] if told else []
