"""Why a pod has not started, in the words of the scheduler or of the kubelet; pure."""

from __future__ import annotations

from forebay.api.kinds import Pod

NOT_STARTED = (
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "InvalidImageName",
    "RunContainerError",
)


def unplaced(pod: Pod) -> str:
    """What the scheduler says of a pod that no node takes, else an empty text."""
    for condition in pod.status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or "no node fits")
    return ""


def why_held(pod: Pod) -> str:
    """One sentence that names the pod, or an empty text for one that is on its way."""
    said = unplaced(pod)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in pod.status.get(kind) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if not said and waiting.get("reason") in NOT_STARTED:
                said = str(waiting.get("message") or waiting["reason"])
    return f"pod {pod.key} does not start: {said}" if said else ""
