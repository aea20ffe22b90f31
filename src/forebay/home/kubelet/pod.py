"""One pod: the task that owns its processes, its folder and its status."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from typing import Any

from forebay.api.kinds import Pod
from forebay.api.meta import Json
from forebay.errors import Absent, Clash, Exhausted, ForebayError
from forebay.home.kubelet import ports
from forebay.home.kubelet.decide import RESET_S, Action, Decision, Kill, Mount, Remove, Start, Stop, decide
from forebay.home.kubelet.env import ConfigError
from forebay.home.kubelet.ground import prepare_ground
from forebay.home.kubelet.launch import BadImage, NoImage, PodGround
from forebay.home.kubelet.processes import Exited, StartFailed
from forebay.home.kubelet.runs import Runs
from forebay.home.kubelet.settings import NodeSettings
from forebay.home.kubelet.state import (
    ContainerPlan,
    ContainerSeen,
    Ended,
    Running,
    Waiting,
    earlier,
    pod_plan,
    recovered,
    restarts,
)
from forebay.home.kubelet.status import About, pod_status
from forebay.home.kubelet.timeline import Timeline, is_ready
from forebay.home.kubelet.volumes import MountFailed
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock, Setbacks
from forebay.kit.tasks import in_thread
from forebay.store.events import record
from forebay.store.protocol import Store, edit, edit_status

log = logging.getLogger("forebay.kubelet")
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0
NOTES_S = 5.0


class PodWorker:
    """Owns one pod from binding to removal. Others only call `tell`, `gone` and `stop`."""

    def __init__(
        self, pod: Pod, *, store: Store, settings: NodeSettings, clock: Clock, book: ports.PortBook
    ) -> None:
        self.pod = pod
        self._store, self._settings, self._clock, self._book = store, settings, clock, book
        first, most = settings.backoff_first_s, settings.backoff_most_s
        self._plan = pod_plan(pod.spec, backoff_first_s=first, backoff_most_s=most)
        self._seen = recovered(self._plan, pod.status, self._now())
        self._runs = Runs(settings.pod_dir(pod.uid), owner=self, clock=clock)
        self._ground: PodGround | None = None
        self._setbacks = Setbacks(clock)
        self._timeline = Timeline(self._now())
        self._mount_failures = 0
        self._notes: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._done = self._keep = False
        self._ending: asyncio.Future[None] | None = None
        self.tell(pod)

    @property
    def pids(self) -> dict[str, int]:
        """First process of every running container."""
        return self._runs.pids

    def tell(self, pod: Pod) -> None:
        """The object changed."""
        self.pod = pod
        if pod.deleting:
            grace = float(pod.meta.get("deletionGracePeriodSeconds") or 0)
            self._seen = replace(self._seen, deleting_grace_s=grace)
        self._wake.set()

    def gone(self) -> None:
        """The object left the store without waiting for us: end at once."""
        self._done = True
        self._wake.set()

    async def run(self) -> None:
        """Work until the pod is removed or `gone`; leaves no process and, unless cancelled, no folder."""
        try:
            async with asyncio.TaskGroup() as group:
                self._runs.group = group
                notes = group.create_task(self._write_notes())
                while not self._done:
                    await self._turn()
                with suppress(TimeoutError):
                    async with asyncio.timeout(NOTES_S):
                        await self._notes.join()
                notes.cancel()
                self._runs.cancel_probes()
        finally:
            await self._close()
        await in_thread(self._forget)

    async def stop(self, grace_s: float) -> None:
        """End the processes of a pod that starts anew with the next home: its object and folder stay."""
        self._keep = True
        self._ending = asyncio.ensure_future(self._runs.end_all(grace_s))
        self.gone()
        await self._ending

    async def _close(self) -> None:
        closing = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(closing)
        finally:
            if not closing.done():
                await closing
            if self._ground is not None:
                self._book.give_back(self._ground.ports)

    async def _end(self) -> None:
        if self._ending is not None:
            await self._ending
        await self._runs.close()  # also what a start that was under way has begun meanwhile

    def _forget(self) -> None:
        if self._keep:
            return
        settings, pod = self._settings, self.pod
        shutil.rmtree(settings.pod_dir(pod.uid), ignore_errors=True)
        shutil.rmtree(settings.log_dir(pod.namespace, pod.name, pod.uid), ignore_errors=True)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _turn(self) -> None:
        """Decide, act, report, and wait for the next reason to look."""
        self._wake.clear()
        if back_s := self._setbacks.seconds():
            self._seen = earlier(self._seen, back_s)
        decision = decide(self._plan, self._seen, self._now())
        self._seen = replace(self._seen, outcome=decision.outcome)
        try:
            for action in decision.actions:
                await self._act(action, decision)
            if not self._done:
                await self._report(decide(self._plan, self._seen, self._now()))
        except Absent:
            self._done = True
            return
        except ForebayError as error:
            log.warning("pod %s: %s", self.pod.key, error.message)
            await self._clock.sleep(1.0)
            return
        if decision.actions or self._done:
            return  # what was done may allow the next step
        if decision.outcome is not None and not self._runs.pids:
            await self._runs.close()  # its supervisor need not wait for the deletion
        wait_s = None if decision.look_at is None else max(0.0, decision.look_at - self._now())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    async def _act(self, action: Action, decision: Decision) -> None:
        match action:
            case Mount():
                await self._mount()
            case Start(name):
                await self._start(next(c for c in self._plan.containers if c.name == name))
            case Stop(name, grace_s, why):
                self._put(name, stop_at=self._now(), stop_grace_s=grace_s, ready=False)
                self.note("Normal", "Killing", why or f"Stopping container {name}")
                self._runs.stop(action)
            case Kill(name):
                self._put(name, killed=True)
                self._runs.signal(name, signal.SIGKILL)
            case Remove():
                await self._report(decision)
                await self._remove()

    def _put(self, name: str, **changes: Any) -> ContainerSeen:
        changed = replace(self._seen.containers[name], **changes)
        self._seen = replace(self._seen, containers={**self._seen.containers, name: changed})
        self._wake.set()
        return changed

    async def _report(self, decision: Decision) -> None:
        """One status write, only if something changed."""

        def status(raw: Json) -> Json:
            return pod_status(About(raw, images), self._plan, self._seen, decision, self._now())

        def change(item: Pod) -> None:
            if item.uid != self.pod.uid:
                raise Absent(f"pod {self.pod.key} was replaced by another of its name", reason="NotFound")
            item.raw["status"] = status(item.raw)

        images = {c.name: f"process://{c.spec.get('image', '')}" for c in self._plan.containers}
        if status(self.pod.raw) != self.pod.raw.get("status"):
            self.pod = await edit_status(self._store, Pod, self.pod.key, change)
            await self._tell_timeline()

    async def _tell_timeline(self) -> None:
        """Once, after the first report that says ready: nobody waits for it."""
        if self._timeline.told or not is_ready(self.pod):
            return
        told = self._timeline.annotation(self._now())

        def change(item: Pod) -> None:
            if item.uid == self.pod.uid:
                item.meta.setdefault("annotations", {}).update(told)

        self._timeline.told = True
        self.pod = await edit(self._store, Pod, self.pod.key, change)

    async def _mount(self) -> None:
        try:
            self._ground = await prepare_ground(
                self.pod, store=self._store, settings=self._settings, book=self._book
            )
        except (MountFailed, Exhausted) as error:
            self.note("Warning", error.reason, error.message)
            wait = backoff_s(self._mount_failures, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
            self._mount_failures += 1
            self._seen = replace(self._seen, mount_at=self._now() + wait)
        else:
            self._seen = replace(self._seen, mounted=True)
            self._timeline.mounted(self._now())

    async def _start(self, plan: ContainerPlan) -> None:
        assert self._ground is not None
        seen = self._seen.containers[plan.name]
        try:
            await self._runs.prepare(plan, seen.runs, self._ground)
        except NoImage as error:
            self._no_image(plan, seen, str(error))
            return
        except BadImage as error:
            self.note("Warning", "InspectFailed", str(error))
            self._cannot(plan, seen, str(error), "InvalidImageName")
            return
        except (ConfigError, OSError) as error:
            self._cannot(plan, seen, str(error))
            return
        image = plan.spec.get("image", "")
        self.note("Normal", "Pulled", f'Container image "{image}" already present on machine')
        last = seen.state if isinstance(seen.state, Ended) else seen.last
        began = self._now()
        self._put(
            plan.name, state=Running(began), last=last, runs=seen.runs + 1, failures=0,
            unhealthy="", stop_at=None, killed=False, started=False, ready=False,
        )  # fmt: skip
        try:
            at = await self._runs.start(plan)
        except StartFailed as error:
            now = self._now()
            state = Ended(128, now, now, "StartError", error.message)
            self._put(plan.name, state=state, crashes=seen.crashes + 1)
            self.note("Warning", "Failed", f"Error: {error.message}")
            return
        self._started(plan, at)

    def _started(self, plan: ContainerPlan, at: float) -> None:
        self.note("Normal", "Created", f"Created container: {plan.name}")
        self.note("Normal", "Started", f"Started container {plan.name}")
        self._timeline.started(plan.name, at)
        seen = self._seen.containers[plan.name]
        started = not plan.has("startupProbe")
        if not isinstance(seen.state, Running):
            self._put(plan.name, passed=seen.passed or started)  # it has ended already
            return
        ready = started and not plan.has("readinessProbe")
        self._put(plan.name, state=Running(at), started=started, ready=ready, passed=seen.passed or started)
        self._runs.probe(plan.name, ("readiness", "liveness") if started else ("startup",))

    def _no_image(self, plan: ContainerPlan, seen: ContainerSeen, message: str) -> None:
        wait = backoff_s(seen.failures, first_s=self._plan.backoff_first_s, most_s=self._plan.backoff_most_s)
        image = plan.spec.get("image", "")
        reason, shown = "ErrImagePull", message
        if seen.failures:
            reason, shown = (
                "ImagePullBackOff",
                f'Back-off pulling image "{image}": ErrImagePull: {message}',
            )
        self._put(plan.name, state=Waiting(reason, shown, self._now() + wait), failures=seen.failures + 1)
        self.note("Warning", "Failed", f'Failed to pull image "{image}": {message}')
        self.note("Warning", "Failed", f"Error: {reason}")

    def _cannot(self, plan: ContainerPlan, seen: ContainerSeen, message: str, reason: str = "") -> None:
        wait = backoff_s(seen.failures, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        state = Waiting(reason or "CreateContainerConfigError", message, self._now() + wait)
        self._put(plan.name, state=state, failures=seen.failures + 1)
        self.note("Warning", "Failed", f"Error: {reason or message}")

    def probed(self, name: str, kind: str, verdict: bool) -> None:
        """A probe of a running container reached a verdict."""
        plan = next(c for c in self._plan.containers if c.name == name)
        if kind == "readiness":
            self._put(name, ready=verdict)
        elif not verdict:
            self._put(name, ready=False, unhealthy=f"Container {name} failed {kind} probe, will be restarted")
        elif kind == "startup":
            self._put(name, started=True, passed=True, ready=not plan.has("readinessProbe"))
            self._runs.probe(name, ("readiness", "liveness"))

    def exited(self, name: str, exited: Exited, message: str) -> None:
        """A container ended."""
        self._timeline.ended(name, exited.at)
        seen, at = self._seen.containers[name], min(exited.at, self._now())  # a clock set back meanwhile
        began = seen.state.started_at if isinstance(seen.state, Running) else at
        reason = "Error" if exited.code else "Completed"
        if exited.oom and not seen.killed:
            reason = "OOMKilled"
        state = Ended(exited.code, began, at, reason, message, exited.signal)
        crashes = 1 if at - began >= RESET_S else seen.crashes + 1
        self._put(name, state=state, crashes=crashes, ready=False, started=False)
        plan = next(c for c in self._plan.containers if c.name == name)
        if crashes > 1 and restarts(plan, state) and self._seen.deleting_grace_s is None:
            pod = f"{self.pod.name}_{self.pod.namespace}({self.pod.uid})"
            self.note("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {pod}")

    async def _remove(self) -> None:
        """Nothing runs: the object may go."""
        await self._runs.close()
        self._done = True
        with suppress(Absent, Clash):
            await self._store.delete(Pod, self.pod.key, uid=self.pod.uid, grace_s=0)

    def note(self, type_: str, reason: str, message: str) -> None:
        """An event about this pod, written in order by one task."""
        self._notes.put_nowait((type_, reason, message))

    async def _write_notes(self) -> None:
        while True:
            type_, reason, message = await self._notes.get()
            try:
                await record(
                    self._store, self.pod, type_, reason, message, component="kubelet", now=self._clock.now()
                )  # fmt: skip
            finally:
                self._notes.task_done()
