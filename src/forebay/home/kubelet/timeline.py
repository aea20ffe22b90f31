"""When a pod's steps happened, to the millisecond: Kubernetes' own times have whole seconds.

Written once, when the pod is ready, as an annotation: `at`, when the kubelet saw the pod on its node (seconds
since 1970), and the others in seconds since then.
"""

from __future__ import annotations

import json

from forebay.api import names
from forebay.api.kinds import Pod
from forebay.api.meta import Json


def is_ready(pod: Pod) -> bool:
    """Whether its status says so."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or [])


class Timeline:
    """Moments of one life of a pod."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._mounted: float | None = None
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self.told = False

    def mounted(self, now: float) -> None:
        """The volumes are there."""
        if self._mounted is None:
            self._mounted = self._since(now)

    def started(self, container: str, now: float) -> None:
        """A container's process runs."""
        self._started.setdefault(container, self._since(now))

    def ended(self, container: str, now: float) -> None:
        """A container's process ended; the last time counts, as an init container may need several."""
        self._ended[container] = self._since(now)

    def annotation(self, now: float) -> Json:
        """The annotation of a pod that has just become ready."""
        told: Json = {"at": round(self._began, 3), "mounted": self._mounted, "started": self._started}
        told |= {"ended": self._ended, "ready": self._since(now)}
        return {names.TIMELINE: json.dumps(told)}

    def _since(self, now: float) -> float:
        return round(now - self._began, 3)
