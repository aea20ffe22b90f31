"""`spec.podFailurePolicy` of a Job: which failures end it, count, or are ignored; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.api.kinds import Job, Pod
from forebay.home.workloads import pods as p


def ignores(job: Job, pod: Pod) -> bool:
    """Whether the failure of this pod does not count."""
    return _verdict(job, pod)[0] == "Ignore"


def fatal(job: Job, pods: Sequence[Pod]) -> str | None:
    """The sentence for the first pod whose failure ends the Job, or None."""
    for pod in sorted(pods, key=lambda pod: pod.name):
        if pod.status.get("phase") == "Failed":
            action, why = _verdict(job, pod)
            if action == "FailJob":
                return why
    return None


def _verdict(job: Job, pod: Pod) -> tuple[str, str]:
    for at, rule in enumerate((job.spec.get("podFailurePolicy") or {}).get("rules") or []):
        why = _exit_code(rule.get("onExitCodes"), pod) or _pod_condition(rule.get("onPodConditions"), pod)
        if why:
            action = str(rule.get("action", "Count"))
            return action, f"{why} matching {action} rule at index {at}"
    return "Count", ""


def _exit_code(rule: Mapping[str, Any] | None, pod: Pod) -> str:
    if not rule:
        return ""
    for status in [
        *(pod.status.get("initContainerStatuses") or []),
        *(pod.status.get("containerStatuses") or []),
    ]:
        ended = (status.get("state") or {}).get("terminated")
        if (
            not ended
            or not ended.get("exitCode")
            or rule.get("containerName") not in (None, "", status["name"])
        ):
            continue
        if (int(ended["exitCode"]) in (rule.get("values") or [])) is (rule.get("operator") == "In"):
            return (
                f"Container {status['name']} for pod {pod.namespace}/{pod.name} failed with exit code "
                f"{ended['exitCode']}"
            )
    return ""


def _pod_condition(rules: Sequence[Mapping[str, Any]] | None, pod: Pod) -> str:
    for rule in rules or ():
        found = p.condition(pod, str(rule.get("type")))
        if found is not None and found.get("status") == (rule.get("status") or "True"):
            return f"Pod {pod.namespace}/{pod.name} has condition {rule.get('type')}"
    return ""
