"""A virtual node: registers itself and gives every pod that is bound to it a worker."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from forebay.api.kinds import Node, Pod
from forebay.api.meta import Key
from forebay.errors import Absent, ForebayError
from forebay.home.kubelet import ports, stats
from forebay.home.kubelet.node import capacity_of, node_labels, node_status, register, renew_lease
from forebay.home.kubelet.pod import PodWorker
from forebay.home.kubelet.processes import kill_leftovers
from forebay.home.kubelet.settings import NodeSettings
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock, SystemClock
from forebay.kit.tasks import in_thread
from forebay.store.informer import follow
from forebay.store.protocol import Event, Store, Where, edit_status

log = logging.getLogger("forebay.kubelet")
LEASE_EVERY_S, STATUS_EVERY_S = 10.0, 300.0
RESTART_S = 1.0


class Kubelet:
    """One node. `run()` works until cancelled or stopped; pods of an earlier life start anew."""

    def __init__(
        self,
        store: Store,
        settings: NodeSettings,
        *,
        clock: Clock | None = None,
        book: ports.PortBook = ports.SHARED,
    ) -> None:
        self._store, self._settings, self._clock, self._book = store, settings, clock or SystemClock(), book
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over: set[str] = set()  # uids that were taken out of the store but may be shown to us once more
        self._running: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self._settings.name

    async def run(self) -> None:
        """Register, then work. Cancelling it ends the processes of all pods at once."""
        if self._stopped:
            return
        self._running = asyncio.current_task()
        await self._settle_in()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._heartbeat())
                await self._follow()
        except asyncio.CancelledError:
            if not self._stopped:
                raise

    async def _settle_in(self) -> None:
        """Clean up and register; what keeps it from that (a full disk) may pass, and ends no home."""
        failures = 0
        while not await self._has_registered():
            await self._clock.sleep(backoff_s(failures, first_s=0.5, most_s=LEASE_EVERY_S))
            failures += 1

    async def _has_registered(self) -> bool:
        try:
            await in_thread(self._clean_folders)
            await self._register()
        except (ForebayError, OSError) as error:
            log.warning("node %s: cannot register yet: %s", self.name, error)
            return False
        return True

    async def stop(self, grace_s: float, *, first: Callable[[Pod], bool] = lambda pod: False) -> None:
        """End all pods within `grace_s` each: those that `first` names, then the others; then run() returns.

        Their objects stay as they are, so that the next life starts them anew.
        """
        self._stopped = True
        workers = list(self._workers.values())
        for chosen in (True, False):
            await asyncio.gather(*(w.stop(grace_s) for w in workers if first(w.pod) is chosen))
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def pids(self, namespace: str, name: str) -> dict[str, int]:
        """First process of every running container of a pod; {} for a pod that is not here."""
        found = (w for w in self._workers.values() if w.pod.key == Key(namespace, name))
        return next((worker.pids for worker in found), {})

    def stats(self) -> dict[Key, dict[str, stats.Usage]]:
        """Memory and CPU of every running container, by pod and container."""
        workers = list(self._workers.values())
        table = stats.processes()
        return {w.pod.key: {name: stats.usage(pid, table) for name, pid in w.pids.items()} for w in workers}

    def _clean_folders(self) -> None:
        """Kill what an earlier life left behind, if anything, before its folders are used again."""
        killed = kill_leftovers(self._settings.dir)
        if killed:
            log.warning("node %s: ended %d processes of an earlier life", self.name, killed)
        self._settings.root.mkdir(parents=True, exist_ok=True)

    async def _register(self) -> None:
        capacity = capacity_of(self._settings.capacity, self._settings.dir)
        status = node_status({}, name=self.name, capacity=capacity, now=self._clock.now())
        labels = node_labels(self.name, self._settings.labels)
        await register(self._store, name=self.name, labels=labels, status=status)

    async def _heartbeat(self) -> None:
        next_status = self._clock.monotonic() + STATUS_EVERY_S
        while True:
            try:
                await renew_lease(self._store, name=self.name, now=self._clock.now())
                if self._clock.monotonic() >= next_status or not await self._says_ready():
                    await self._report()
                    next_status = self._clock.monotonic() + STATUS_EVERY_S
            except ForebayError as error:
                log.warning("node %s: heartbeat: %s", self.name, error.message)
            await self._clock.sleep(LEASE_EVERY_S)

    async def _says_ready(self) -> bool:
        try:
            node = await self._store.get(Node, Key("", self.name))
        except Absent:  # someone deleted it; it lives, so it comes back
            await self._register()
            return True
        conditions = node.status.get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _report(self) -> None:
        capacity = capacity_of(self._settings.capacity, self._settings.dir)

        def change(node: Node) -> None:
            now = self._clock.now()
            node.raw["status"] = node_status(node.status, name=self.name, capacity=capacity, now=now)

        await edit_status(self._store, Node, Key("", self.name), change)

    async def _follow(self) -> None:
        where = Where(fields=f"spec.nodeName={self.name}")
        async for event in follow(self._store, Pod, where, clock=self._clock, synced=self._collect):
            self._hear(event)

    def _hear(self, event: Event[Pod]) -> None:
        uid, worker = event.item.uid, self._workers.get(event.item.uid)
        if event.type == "DELETED":
            self._over.discard(uid)
            if worker is not None:
                worker.gone()
        elif worker is not None:
            worker.tell(event.item)
        elif uid not in self._over and not self._stopped:
            self._begin(event.item)

    def _begin(self, pod: Pod) -> None:
        worker = PodWorker(
            pod, store=self._store, settings=self._settings, clock=self._clock, book=self._book
        )
        self._workers[pod.uid] = worker
        self._tasks[pod.uid] = self._group.create_task(self._work(worker), name=f"pod {pod.key}")

    async def _work(self, worker: PodWorker) -> None:
        """Run a worker; what nobody foresaw ends this pod's processes, and it is begun anew."""
        uid = worker.pod.uid
        try:
            await worker.run()
        except Exception:  # a control loop: one pod stops, the node goes on
            log.exception("pod %s: its worker failed; it starts anew", worker.pod.key)
            await self._clock.sleep(RESTART_S)
            self._forget(uid)
            await self._again(worker.pod)
            return
        self._over.add(uid)
        self._forget(uid)

    async def _again(self, pod: Pod) -> None:
        try:
            there = await self._store.get(Pod, pod.key)
        except ForebayError:
            return
        if there.uid == pod.uid:
            self._begin(there)

    def _forget(self, uid: str) -> None:
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)

    def _collect(self) -> None:
        """After a full list: remove folders and logs of pods that are no more, beside the loop."""
        known = set(self._workers)
        doomed = [
            entry
            for parent in (self._settings.dir / "pods", self._settings.dir / "logs")
            for entry in (parent.iterdir() if parent.is_dir() else ())
            if entry.name.rpartition("_")[2] not in known  # UID, or NAMESPACE_NAME_UID
        ]
        if doomed:
            self._group.create_task(in_thread(_remove, doomed), name="old folders")


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
