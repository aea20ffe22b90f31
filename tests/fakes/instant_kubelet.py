"""A kubelet without processes: bound pods run at once, or end at once, as their labels say.

Labels of a pod: `ends: "0"` succeeds, `ends: "1"` fails, `ready: "no"` runs and never becomes ready.
"""

from __future__ import annotations

import json

from forebay.api.kinds import Lease, Node, Pod
from forebay.api.meta import Json, Key
from forebay.errors import Absent, Clash
from forebay.kit.clock import Clock, rfc3339
from forebay.store.loop import Watch
from forebay.store.protocol import Store, edit, edit_status

_READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}


class InstantKubelet:
    """One for all nodes. A controller, so that it runs on the same loop."""

    name = "instant-kubelet"

    def __init__(self, store: Store, *, clock: Clock, hold: bool = False) -> None:
        self._store, self._clock = store, clock
        self.hold = hold  # True: new pods stay Pending
        self.watches: tuple[Watch, ...] = (Watch(Pod),)
        self.slow_to_stop = False  # True: pods that shall go stay until this is False
        self.deaf: set[str] = set()  # nodes that do nothing any more
        self._port = 20000

    async def register(self, name: str, *, labels: dict[str, str] | None = None, **allocatable: str) -> None:
        """A ready node with room, and its lease."""
        room = {"cpu": "8", "memory": "32Gi", "pods": "110", **allocatable}
        node = Node.new(name, labels={"kubernetes.io/hostname": name, **(labels or {})}, spec={})
        made = await self._store.create(node)
        made.raw["status"] = {"allocatable": room, "capacity": room, "conditions": [_READY]}
        await self._store.update_status(made)
        lease = Lease.new(name, "kube-node-lease", spec={"renewTime": rfc3339(self._clock.now())})
        await self._store.create(lease)

    async def renew(self, name: str) -> None:
        """Report, as a living node does."""

        def now(lease: Lease) -> None:
            lease.raw["spec"]["renewTime"] = rfc3339(self._clock.now())

        def ready(node: Node) -> None:
            kept = [c for c in node.status.get("conditions") or [] if c["type"] != "Ready"]
            node.raw["status"] = {**node.status, "conditions": [*kept, _READY]}

        await edit(self._store, Lease, Key("kube-node-lease", name), now)
        await edit_status(self._store, Node, Key("", name), ready)

    async def reconcile(self, key: Key) -> float | None:
        try:
            pod = await self._store.get(Pod, key)
            if not pod.spec.get("nodeName") or pod.spec["nodeName"] in self.deaf:
                return None
            if pod.deleting and self.slow_to_stop:
                return 0.01
            if pod.deleting:
                await self._store.delete(Pod, key, uid=pod.uid, grace_s=0)
            elif not self.hold and pod.status.get("phase") in (None, "Pending"):
                await self._run(pod)
        except (Absent, Clash):
            return 0.01
        return None

    async def _run(self, pod: Pod) -> None:
        self._port += 1
        ports = {
            str(p["containerPort"]): self._port for c in pod.spec["containers"] for p in c.get("ports") or []
        }

        def with_ports(item: Pod) -> None:
            item.meta["annotations"] = {**item.annotations, "forebay.dev/ports": json.dumps(ports)}

        await edit(self._store, Pod, pod.key, with_ports)
        status = self._status(pod)

        def with_status(item: Pod) -> None:
            item.raw["status"] = {**item.status, **status}

        await edit_status(self._store, Pod, pod.key, with_status)

    def _status(self, pod: Pod) -> Json:
        now, ends = rfc3339(self._clock.now()), pod.labels.get("ends")
        ready = ends is None and pod.labels.get("ready") != "no"
        kept = [c for c in pod.status.get("conditions") or [] if c["type"] != "Ready"]
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}
        state: Json = {"running": {"startedAt": now}}
        if ends is not None:
            state = {"terminated": {"exitCode": int(ends), "finishedAt": now, "reason": "Completed"}}
        name = pod.spec["containers"][0]["name"]
        phase = {"0": "Succeeded", "1": "Failed"}.get(ends or "", "Running")
        return {
            "phase": phase, "podIP": "127.0.0.1", "hostIP": "127.0.0.1", "startTime": now,
            "conditions": [*kept, condition],
            "containerStatuses": [{"name": name, "ready": ready, "restartCount": 0, "state": state}],
        }  # fmt: skip
