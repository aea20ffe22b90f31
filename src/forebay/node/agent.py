"""The agent of one node and one node group: looks, decides, acts, reports. One owner, one pass at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.api import quantity, wishes
from forebay.api.kinds import (
    ConfigMap,
    Job,
    LocalModelNode,
    LocalModelNodeGroup,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
)  # fmt: skip
from forebay.api.meta import Json, Key
from forebay.api.names import CONFIG_MAP, JOB_NAMESPACE, SYSTEM_NAMESPACE, label_value
from forebay.cache import manifests, pins
from forebay.cache.gc import recover
from forebay.cache.root import Root, open_root, translated
from forebay.errors import Absent, Exhausted, ForebayError
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock
from forebay.kit.tasks import in_thread
from forebay.node.act import Hands
from forebay.node.chores import Checking, Chores
from forebay.node.decide import Check, Seen, Warm, decide, is_pulling
from forebay.node.dirwatch import watch_folders
from forebay.node.metrics import Metrics
from forebay.node.pods import claims_of, is_starting, key_of_volume, keys_of, pins_of
from forebay.node.sight import Eyes, Told, entries_of, job_view, jobs_of, limit_of, listed, neighbours_of
from forebay.node.status import PROGRESS_EVERY_S, applied, is_urgent, report
from forebay.store.informer import Informer
from forebay.store.protocol import Store, Where, edit_status

RESYNC_S = 60.0
RESYNC_LEAST_S = 1.0  # whatever is set: an agent that never waits looks without end
ROUNDS_MAX = 5
GATHER_S = 0.02  # events of one change come together
_log = logging.getLogger("forebay.node")


@dataclass(frozen=True)
class Settings:
    """Seconds between looks without an event, where download Jobs run, and how disks are checked."""

    resync_s: float = RESYNC_S
    job_namespace: str = JOB_NAMESPACE
    checking: Checking = field(default_factory=Checking)


async def run_agent(
    store: Store, *, node: str, group: str, root: Path, clock: Clock, listen: tuple[str, int] | None = None
) -> None:
    """Serve one root folder until cancelled; `listen` is where /metrics and /healthz are, if anywhere.

    Raises Unavailable or Exhausted if the folder cannot be used.
    """
    cache = await in_thread(lambda: open_root(root, clock=clock))
    for line in await in_thread(_recovered, cache):
        _log.warning("%s", line)
    agent = Agent(store, cache, node=node, group=group, settings=await _settings(store))
    await agent.run(listen)


def _recovered(root: Root) -> list[str]:
    with translated(f"the cache {root.layout.root}"):
        return recover(root)


class Agent:
    """Holds what was seen last; everything durable is on the disk or in the API."""

    def __init__(self, store: Store, root: Root, *, node: str, group: str, settings: Settings) -> None:
        self._store, self._root, self._node, self._group, self._settings = store, root, node, group, settings
        clock = root.clock
        self._nodes = Informer(store, LocalModelNode, Where(name=node), clock=clock)
        self._pods = Informer(store, Pod, Where(fields=f"spec.nodeName={node}"), clock=clock)
        self._jobs = Informer(
            store, Job, Where(settings.job_namespace, labels=f"node={label_value(node)}"), clock=clock
        )
        self._groups = Informer(store, LocalModelNodeGroup, clock=clock)
        self._eyes = Eyes(root)
        self._chores = Chores(root)
        self._chores.schedule = settings.checking
        self._hands = Hands(root, self._eyes.trouble, self._chores)
        self._metrics = Metrics(
            group,
            since=root.now(),
            evictions=lambda: self._hands.evictions,
            chores=self._chores,
        )
        self._claims: dict[Key, str] = {}
        self._pins: tuple[pins.Pin, ...] | None = None
        self._wake = asyncio.Event()
        self._synced: set[str] = set()
        self._written_at = float("-inf")

    async def run(self, listen: tuple[str, int] | None = None) -> None:
        """Until cancelled."""
        layout = self._root.layout
        folders = [layout.reservations, layout.manifests, layout.entitled]
        async with asyncio.TaskGroup() as tasks:
            informers: dict[str, Informer[Any]] = {
                "nodes": self._nodes,
                "pods": self._pods,
                "jobs": self._jobs,
                "groups": self._groups,
            }
            for name, informer in informers.items():
                tasks.create_task(informer.run(lambda event: self._wake.set()))
                tasks.create_task(self._note_sync(name, informer.wait_synced))
            tasks.create_task(watch_folders(folders, self._wake.set, clock=self._root.clock))
            tasks.create_task(self._chores.run(self._wake.set))
            if listen is not None:
                tasks.create_task(self._metrics.serve(*listen))
            await self._passes()

    async def _note_sync(self, name: str, wait: Callable[[], object]) -> None:
        await wait()  # type: ignore[misc]
        self._synced.add(name)
        self._wake.set()

    async def _passes(self) -> None:
        failures, wait_s = 0, 0.0
        while True:
            if not await self._woken(wait_s):
                self._eyes.trouble.clear()  # a resync tries again what went wrong
                self._chores.schedule = (await _settings(self._store)).checking
            try:
                wait_s, failures = await self._pass(), 0
            except ForebayError as error:
                _log.log(error.level, "%s", error.message)
                wait_s = backoff_s(failures, first_s=0.5, most_s=self._settings.resync_s)
                failures += 1
                await self._root.clock.sleep(min(wait_s, 5.0))

    async def _woken(self, wait_s: float) -> bool:
        """Wait for an event or until the time is over; then gather what comes with it."""
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        await self._root.clock.sleep(GATHER_S)
        self._wake.clear()
        return True

    async def _pass(self) -> float:
        """Look, decide, act until nothing is left to do; then report. Returns seconds until the next look."""
        seen = await self._look()
        self._chores.paused, self._chores.busy = seen.paused, bool(seen.wanted_by_pods) or is_pulling(seen)
        for _ in range(ROUNDS_MAX):
            actions = decide(seen)
            if not actions:
                break
            done = await in_thread(self._hands.carry_out, actions)
            if all(isinstance(action, Warm | Check) for action in actions):
                break
            seen = await self._look()
            if not done:
                self._wake_later()
                break
        return await self._report(seen)

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(1.0, self._wake.set)

    # what is seen

    async def _look(self) -> Seen:
        told = await self._told()
        if told.pods_known and told.pins != self._pins:
            try:
                changed = await in_thread(self._pin, told.pins)
                self._pins = told.pins
                _log.debug("pins of %d models changed", len(changed))
            except Exhausted as error:  # who is to make room has to go on; what is in use is known here
                _log.warning("%s", error.message)
                self._wake_later()
        return await in_thread(self._see, told)

    def _see(self, told: Told) -> Seen:
        with translated(f"the cache {self._root.layout.root}"):
            return self._eyes.look(told)

    def _pin(self, wanted: tuple[pins.Pin, ...]) -> frozenset[str]:
        with translated("the pins"):
            changed = pins.rebuild(self._root, wanted)
            manifests.touch(self._root, changed)
        return changed

    async def _told(self) -> Told:
        node = self._nodes.items.get(Key("", self._node))
        pods = list(self._pods.items.values())
        await self._resolve_claims(pods)
        starting = [(pod, keys_of(pod, self._of_claim)) for pod in pods if is_starting(pod)]
        waiting = {k for pod, keys in starting for k in keys if self._chores.is_cold(k, pod.uid)}
        return Told(
            entries=entries_of(node, self._group) if node is not None else None,
            neighbours=neighbours_of(node, self._group, self._groups.items.values())
            if node is not None
            else (),
            limit=limit_of(self._groups.items.get(Key("", self._group))),
            jobs=jobs_of(node, self._jobs.items.values()) if node is not None else {},
            pins=pins_of(pods, self._of_claim),
            pods_known={"pods", "nodes", "groups"} <= self._synced,
            waiting=frozenset(waiting),
            foreign_running=any(
                v.foreign and v.phase == "active" for v in map(job_view, self._jobs.items.values())
            ),
            wanted_by_pods=frozenset(k for _, keys in starting for k in keys),
            checking=self._chores.checking,
            warming=self._chores.warming,
            sweep=node.annotations.get(wishes.GC, "").strip() if node is not None else "",
            paused=node is not None and node.annotations.get(wishes.VERIFY_PAUSED) == "true",
        )

    def _of_claim(self, claim: Key) -> str:
        return self._claims.get(claim, "")

    async def _resolve_claims(self, pods: list[Pod]) -> None:
        """Which model a claim stands for is fixed once it is bound; unbound ones are asked again at the next
        pass."""
        wanted = {claim for pod in pods for claim in claims_of(pod)}
        for claim in wanted - self._claims.keys():
            try:
                volume = (await self._store.get(PersistentVolumeClaim, claim)).spec.get("volumeName")
                if volume:
                    found = await self._store.get(PersistentVolume, Key("", str(volume)))
                    self._claims[claim] = key_of_volume(found)
            except ForebayError as error:
                _log.debug("claim %s: %s", claim, error.message)
        for gone in self._claims.keys() - wanted:
            del self._claims[gone]

    # what is said

    async def _report(self, seen: Seen) -> float:
        node, mine = self._nodes.items.get(Key("", self._node)), report(seen, self._group)
        if seen.pods_known:
            self._metrics.saw(seen, mine.states)
        if node is None or seen.entries is None or not seen.pods_known:
            return self._settings.resync_s

        def change(item: LocalModelNode) -> None:
            item.raw["status"] = applied(item.status, mine, self._group, listed(item))

        after: Json = applied(node.status, mine, self._group, listed(node))
        if after == node.status:
            return self._settings.resync_s
        due_s = self._written_at + PROGRESS_EVERY_S - self._root.clock.monotonic()
        if due_s > 0 and not is_urgent(node.status, after):
            return due_s
        try:
            self._nodes.items[node.key] = await edit_status(self._store, LocalModelNode, node.key, change)
        except Absent:
            return self._settings.resync_s  # deleted meanwhile; the watch will tell
        self._written_at = self._root.clock.monotonic()
        return self._settings.resync_s


async def _settings(store: Store) -> Settings:
    """Job namespace and frequency from the ConfigMap's `localModel`, as KServe's agent reads them."""
    try:
        config = await store.get(
            ConfigMap, Key(os.environ.get("POD_NAMESPACE") or SYSTEM_NAMESPACE, CONFIG_MAP)
        )
        raw = json.loads((config.raw.get("data") or {}).get("localModel") or "{}")
        return Settings(
            resync_s=max(RESYNC_LEAST_S, float(raw.get("reconcilationFrequencyInSecs") or RESYNC_S)),
            job_namespace=str(raw.get("jobNamespace") or JOB_NAMESPACE),
            checking=_checking(raw),
        )
    except (ForebayError, ValueError, TypeError, AttributeError) as error:
        _log.debug("no settings in %s (%s); the defaults hold", CONFIG_MAP, error)
        return Settings()


def _checking(raw: Json) -> Checking:
    """Additive fields of `localModel`: hours between checks (0: none), and bytes a second."""
    plain = Checking()
    hours, rate = raw.get("verifyEveryHours"), raw.get("verifyBytesPerSecond")
    return Checking(
        every_s=plain.every_s if hours is None else max(0.0, float(hours) * 3600),
        bytes_s=plain.bytes_s if rate is None else max(1.0, float(quantity.value(rate))),
    )
