"""What kube-apiserver refuses about what makes pods: Deployment, ReplicaSet, DaemonSet, Job, and a pod
itself.

Source: Kubernetes' validation of apps, batch and core (paths and wording; v1.34).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api import selectors
from forebay.api.meta import Json
from forebay.api.schema import causes, names
from forebay.api.schema.causes import Cause
from forebay.api.schema.pod_rules import pod_spec
from forebay.errors import Invalid

IMMUTABLE = "field is immutable"
_INDEXED_MAX = 100_000
_CRON_NAME_MAX = 52  # eleven less than a label may have: the name of a job gets a suffix
NOT_NEGATIVE = "must be greater than or equal to 0"
_PERCENT = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "


def _not_negative(spec: Json, *fields: str) -> Iterator[Cause]:
    for name in fields:
        value = spec.get(name)
        if isinstance(value, int) and value < 0:
            yield causes.invalid(f"spec.{name}", value, NOT_NEGATIVE)


def same(new: Json, old: Json | None, path: str) -> Iterator[Cause]:
    """An immutable field, by its dotted path."""
    if old is None:
        return
    was, now = old, new
    for name in path.split("."):
        was, now = (was or {}).get(name), (now or {}).get(name)  # type: ignore[assignment]
    if was != now:
        yield causes.invalid(path, now, IMMUTABLE)


def pod(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a pod beyond its metadata."""
    yield from pod_spec(raw.get("spec") or {}, "spec")
    if old is None and raw["spec"].get("ephemeralContainers"):
        yield causes.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if old is not None:
        yield from _only_tightened(raw["spec"], old["spec"])
    if old is not None and _frozen(raw["spec"]) != _frozen(old["spec"], nodeName=raw["spec"].get("nodeName")):
        fields = (
            "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
            "`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        yield causes.forbidden("spec", f"pod updates may not change fields other than {fields}")


def _only_tightened(spec: Json, was: Json) -> Iterator[Cause]:
    """Tolerations are only added, a deadline comes only nearer."""
    now = [_but_seconds(one) for one in spec.get("tolerations") or ()]
    if any(_but_seconds(one) not in now for one in was.get("tolerations") or ()):
        told = "existing toleration can not be modified except its tolerationSeconds"
        yield causes.forbidden("spec.tolerations", told)
    before, after = was.get("activeDeadlineSeconds"), spec.get("activeDeadlineSeconds")
    if before is not None and after is None:
        told = "must not update from a positive integer to nil value"
        yield causes.invalid("spec.activeDeadlineSeconds", after, told)
    elif before is not None and after > before:
        told = "must be less than or equal to previous value"
        yield causes.invalid("spec.activeDeadlineSeconds", after, told)


def _but_seconds(toleration: Json) -> Json:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _frozen(spec: Json, **bound: Any) -> Json:
    """What of a pod's spec may not change; an unbound pod may be bound to a node."""
    loose = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers")
    out = {key: value for key, value in spec.items() if key not in loose}
    for group in ("containers", "initContainers"):
        out[group] = [{key: v for key, v in one.items() if key != "image"} for one in spec.get(group) or ()]
    if bound and not out.get("nodeName"):
        out.update(bound)
    return {key: value for key, value in out.items() if value not in (None, [])}


def _workload(raw: Json, word: str) -> Iterator[Cause]:
    """Selector and template, as Deployment, ReplicaSet and DaemonSet have them."""
    spec = raw.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    labels = dict(sorted(((template.get("metadata") or {}).get("labels") or {}).items()))
    yield from _not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    if selector is None and word != "daemonset":
        yield causes.required("spec.selector")
    elif selector is not None:
        yield from _selector(selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield causes.invalid("spec.selector", selector, f"empty selector is invalid for {word}")
    if not _valid(selector):
        yield causes.invalid("spec.selector", selector, "invalid label selector")
    elif not _matches(selector, labels):
        told = "`selector` does not match template `labels`"
        yield causes.invalid("spec.template.metadata.labels", labels or None, told)
    yield from _template(template, "spec.template")
    pods = template.get("spec") or {}
    if pods.get("restartPolicy") not in ("Always", None):
        yield causes.unsupported("spec.template.spec.restartPolicy", pods["restartPolicy"], ("Always",))
    if pods.get("activeDeadlineSeconds") is not None:
        owner = "DaemonSet" if word == "daemonset" else "ReplicaSet"
        told = f"activeDeadlineSeconds in {owner} is not Supported"
        yield causes.forbidden("spec.template.spec.activeDeadlineSeconds", told)


def _template(template: Json, path: str) -> Iterator[Cause]:
    meta = template.get("metadata") or {}
    yield from names.labels(meta.get("labels"), f"{path}.labels")
    yield from names.annotation_map(meta.get("annotations"), f"{path}.annotations")
    yield from pod_spec(template.get("spec") or {}, f"{path}.spec")


def _selector(selector: Json) -> Iterator[Cause]:
    yield from names.labels(selector.get("matchLabels"), "spec.selector.matchLabels")
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        path, operator = f"spec.selector.matchExpressions[{index}]", one.get("operator")
        if operator in ("In", "NotIn") and not one.get("values"):
            yield causes.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and one.get("values"):
            told = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield causes.forbidden(f"{path}.values", told)
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield causes.invalid(f"{path}.operator", operator or "", "not a valid selector operator")
        for told in names.qualified_name(str(one.get("key") or "")):
            yield causes.invalid(f"{path}.key", one.get("key") or "", told)


def _valid(selector: Json | None) -> bool:
    try:
        selectors.from_object(selector or {})
    except Invalid:
        return False
    return True


def _matches(selector: Json | None, labels: Json) -> bool:
    """An absent selector matches nothing, an empty one everything."""
    try:
        return selector is not None and selectors.match_expressions(selector, labels)
    except Invalid:
        return True  # said already, about the selector itself


def deployment(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a deployment beyond its metadata."""
    yield from _workload(raw, "deployment")
    spec = raw["spec"]
    strategy, path = spec.get("strategy") or {}, "spec.strategy"
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        yield causes.forbidden(
            f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
        )
    elif strategy.get("type") not in ("Recreate", "RollingUpdate"):
        shown = {"Type": strategy.get("type", ""), "RollingUpdate": rolling}
        yield causes.unsupported(path, shown, ("Recreate", "RollingUpdate"))
    elif rolling is not None:
        yield from _rolling(rolling, f"{path}.rollingUpdate")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        yield causes.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    yield from same(raw, old, "spec.selector")


def _rolling(rolling: Json, path: str) -> Iterator[Cause]:
    numbers = []
    for name in ("maxUnavailable", "maxSurge"):
        value = rolling.get(name, 0)
        if isinstance(value, str) and not re.fullmatch("[0-9]+%", value):
            yield causes.invalid(
                f"{path}.{name}", value, _PERCENT + "regex used for validation is '[0-9]+%')"
            )
            return
        number = int(value.rstrip("%")) if isinstance(value, str) else int(value)
        if number < 0:
            yield causes.invalid(f"{path}.{name}", value, NOT_NEGATIVE)
        numbers.append(number)
    if numbers == [0, 0]:
        told = "may not be 0 when `maxSurge` is 0"
        yield causes.invalid(f"{path}.maxUnavailable", rolling.get("maxUnavailable", 0), told)
    if isinstance(rolling.get("maxUnavailable"), str) and numbers[0] > 100:
        yield causes.invalid(
            f"{path}.maxUnavailable", rolling["maxUnavailable"], "must not be greater than 100%"
        )


def replica_set(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a replica set beyond its metadata."""
    yield from _workload(raw, "deployment")
    yield from same(raw, old, "spec.selector")


def daemon_set(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a daemon set beyond its metadata."""
    yield from _workload(raw, "daemonset")
    strategy, path = raw["spec"].get("updateStrategy") or {}, "spec.updateStrategy"
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") not in ("OnDelete", "RollingUpdate"):
        shown = {"Type": strategy.get("type", ""), "RollingUpdate": rolling}
        yield causes.unsupported(path, shown, ("RollingUpdate", "OnDelete"))
    elif rolling and all(rolling.get(name) in (0, "0%", None) for name in ("maxUnavailable", "maxSurge")):
        yield causes.required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
    yield from same(raw, old, "spec.selector")


_CLAIMED = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def stateful_set(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a stateful set beyond its metadata."""
    yield from _workload(raw, "statefulset")
    policy = raw["spec"].get("podManagementPolicy")
    if policy not in ("OrderedReady", "Parallel"):
        yield causes.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    if old is None:
        return
    was, now = ({k: v for k, v in one["spec"].items() if k not in _CLAIMED} for one in (old, raw))
    if was != now:
        *first, last = (f"'{name}'" for name in _CLAIMED)
        told = (
            f"updates to statefulset spec for fields other than {', '.join(first)} and {last} are forbidden"
        )
        yield causes.forbidden("spec", told)


def replication_controller(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a replication controller beyond its metadata; its selector is a plain map."""
    spec = raw["spec"]
    template, selector = spec.get("template"), spec.get("selector")
    yield from _not_negative(spec, "minReadySeconds")
    if not selector:
        yield causes.required("spec.selector")
    yield from _not_negative(spec, "replicas")
    labels = ((template or {}).get("metadata") or {}).get("labels") or {}
    if selector and not selector.items() <= labels.items():
        told = "`selector` does not match template `labels`"
        yield causes.invalid("spec.template.metadata.labels", labels or None, told)
    yield from _template(template or {}, "spec.template")
    policy = ((template or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("Always", None):
        yield causes.unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def job(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a job beyond its metadata."""
    spec = raw["spec"]
    numbers = (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    )
    if not spec.get("manualSelector") and old is None:
        yield from _generated_selector(raw)
    yield from _not_negative(spec, *numbers)
    if spec.get("selector") is None:
        yield causes.required("spec.selector")
    template = spec.get("template") or {}
    labels = dict(sorted(((template.get("metadata") or {}).get("labels") or {}).items()))
    if not _matches(spec.get("selector"), labels):
        told = "`selector` does not match template `labels`"
        yield causes.invalid("spec.template.metadata.labels", labels or None, told)
    yield from _ending_template(template, "spec.template")
    yield from _indexed(spec)
    if old is not None:
        if spec.get("completionMode") != "Indexed":
            yield from same(raw, old, "spec.completions")
        yield from same(raw, old, "spec.selector")
        if not (old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime")):
            yield from same(raw, old, "spec.template")
        for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"):
            yield from same(raw, old, f"spec.{field}")


def _indexed(spec: Json) -> Iterator[Cause]:
    """What belongs to Indexed jobs alone."""
    if spec.get("completionMode") == "Indexed":
        if spec.get("completions") is None:
            told = "when completion mode is Indexed"
            yield causes.required("spec.completions", told)
        if (spec.get("parallelism") or 0) > _INDEXED_MAX:
            told = f"must be less than or equal to {_INDEXED_MAX} when completion mode is Indexed"
            yield causes.invalid("spec.parallelism", spec["parallelism"], told)
        return
    for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if spec.get(name) is not None:
            yield causes.invalid(f"spec.{name}", spec[name], "requires indexed completion mode")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield causes.required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified")


def _ending_template(template: Json, path: str) -> Iterator[Cause]:
    """The template of pods that come to an end."""
    yield from _template(template, path)
    policy, path = (template.get("spec") or {}).get("restartPolicy"), f"{path}.spec.restartPolicy"
    if policy in ("Always", "", None):
        yield causes.required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield causes.unsupported(path, policy, ("OnFailure", "Never"))


def cron_job(raw: Json, old: Json | None) -> Iterator[Cause]:
    """Everything wrong with a cron job beyond its metadata."""
    spec, name = raw["spec"], str(raw["metadata"].get("name", ""))
    schedule = str(spec.get("schedule") or "")
    if not schedule:
        yield causes.required("spec.schedule")
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        count = len(schedule.split())
        told = f"expected exactly 5 fields, found {count}: [{schedule}]"
        yield causes.invalid("spec.schedule", schedule, told)
    yield from _not_negative(
        spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    yield from _ending_template(template, "spec.jobTemplate.spec.template")
    if len(name) > _CRON_NAME_MAX:
        yield causes.invalid("metadata.name", name, f"must be no more than {_CRON_NAME_MAX} characters")


def _generated_selector(raw: Json) -> Iterator[Cause]:
    meta, spec = raw["metadata"], raw["spec"]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    wanted = {}
    for prefix in ("", "batch.kubernetes.io/"):
        for key, value in (("controller-uid", meta.get("uid", "")), ("job-name", meta.get("name", ""))):
            wanted[prefix + key] = value
            if labels.get(prefix + key) != value:
                told = f"must be '{value}'"
                path = "spec.template.metadata.labels"
                yield causes.invalid(path, labels or None, told)
    if not _matches(spec.get("selector") or {}, wanted):
        yield causes.invalid("spec.selector", spec.get("selector"), "`selector` not auto-generated")
