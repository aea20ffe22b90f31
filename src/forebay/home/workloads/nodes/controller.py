"""Reads and writes for the life of nodes."""

from __future__ import annotations

from forebay.api.kinds import Lease, Node, Pod
from forebay.api.meta import Key
from forebay.errors import Absent
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.nodes.decide import Seen, decide
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where

LEASES = "kube-node-lease"


class NodeLifecycleController:
    """Notices nodes that stop reporting. Leases are read, not watched: they change every few seconds."""

    name = "node-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._heard: dict[str, tuple[str, float]] = {}  # node -> renewTime, and when we first saw it
        self.watches: tuple[Watch, ...] = (Watch(Node), Watch(Pod, wakes=_node_of))

    async def reconcile(self, key: Key) -> float | None:
        try:
            node = await self._store.get(Node, key)
        except Absent:
            self._heard.pop(key.name, None)
            return None
        pods = (await self._store.list(Pod, Where(fields=f"spec.nodeName={key.name}"))).items
        decision = decide(Seen(node, await self._silent_s(node), pods, self._clock.now()))
        await carry_out(self._store, decision.actions, component=self.name, clock=self._clock)
        return decision.look_again_s

    async def _silent_s(self, node: Node) -> float:
        """Seconds since we saw the node's lease change."""
        try:
            lease = await self._store.get(Lease, Key(LEASES, node.name))
            renewed = str(lease.spec.get("renewTime"))
        except Absent:
            renewed = ""
        now = self._clock.monotonic()
        before = self._heard.get(node.name)
        if before is None or before[0] != renewed:
            self._heard[node.name] = (renewed, now)
            return 0.0
        return now - before[1]


def _node_of(pod: Pod) -> tuple[Key, ...]:
    """A pod that was just bound may not tolerate its node; later changes are of no concern."""
    fresh = pod.spec.get("nodeName") and pod.status.get("phase") in (None, "", "Pending")
    return (Key("", str(pod.spec["nodeName"])),) if fresh else ()
