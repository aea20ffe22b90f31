"""One pod: the task that owns its processes, its folder and its status."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forebay.api.kinds import Pod, ServiceAccount
from forebay.api.meta import Json, Key
from forebay.errors import Absent, Clash, Exhausted, ForebayError
from forebay.home.kubelet import account, ports
from forebay.home.kubelet.decide import RESET_S, Decision, Kill, Mount, Remove, Start, Stop, decide
from forebay.home.kubelet.env import ConfigError, Look
from forebay.home.kubelet.hooks import pre_stop
from forebay.home.kubelet.launch import NoImage, PodGround, Prepared, ending, prepare
from forebay.home.kubelet.probes import ProbeFailed, attempt_of, watch_probe
from forebay.home.kubelet.processes import Exited, Launch, PodProcesses, StartFailed
from forebay.home.kubelet.settings import NodeSettings
from forebay.home.kubelet.state import (
    ContainerPlan,
    ContainerSeen,
    Ended,
    Running,
    Waiting,
    pod_plan,
    recovered,
)
from forebay.home.kubelet.status import About, pod_status
from forebay.home.kubelet.volumes import Ground, MountFailed, fetch, mount
from forebay.kit.backoff import backoff_s
from forebay.kit.clock import Clock
from forebay.kit.tasks import in_thread
from forebay.store.events import record
from forebay.store.protocol import Store, edit, edit_status

log = logging.getLogger("forebay.kubelet")
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0
IMAGE_POLICY = 'Container image "{}" already present on machine'


@dataclass
class Live:
    """What belongs to the current run of one container."""

    prepared: Prepared
    probes: list[asyncio.Task[None]] = field(default_factory=list)


class PodWorker:
    """Owns one pod from binding to removal. Others only call `tell`, `gone` and `stop`."""

    def __init__(
        self, pod: Pod, *, store: Store, settings: NodeSettings, clock: Clock, book: ports.PortBook
    ) -> None:
        self.pod = pod
        self._store, self._settings, self._clock, self._book = store, settings, clock, book
        self._dir = settings.pod_dir(pod.uid)
        self._plan = pod_plan(pod.spec, backoff_first_s=settings.backoff_first_s,
                              backoff_most_s=settings.backoff_most_s)  # fmt: skip
        self._seen = recovered(self._plan, pod.status, self._now())
        self._processes = PodProcesses(self._dir, self._exited)
        self._live: dict[str, Live] = {}
        self._ground: PodGround | None = None
        self._wake = asyncio.Event()
        self._done = False
        self._notes: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self._mount_failures = 0
        self.tell(pod)

    @property
    def pids(self) -> dict[str, int]:
        """First process of every running container."""
        return {id.rpartition(".")[0]: pid for id, pid in self._processes.pids.items() if "#" not in id}

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
            async with asyncio.TaskGroup() as self._group:
                notes = self._group.create_task(self._write_notes())
                while not self._done:
                    await self._turn()
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await self._notes.join()
                notes.cancel()
                self._cancel_probes()
        finally:
            await self._close()
        await in_thread(self._forget)

    async def stop(self, grace_s: float) -> None:
        """End the processes of a pod that will start anew with the next home; its status stays."""
        self.gone()
        for id in self._processes.pids:
            self._processes.signal(id, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._processes.pids:
                    await self._clock.sleep(0.02)
        await self._processes.close()

    async def _close(self) -> None:
        closing = asyncio.ensure_future(self._processes.close())
        try:
            await asyncio.shield(closing)
        finally:
            if not closing.done():
                await closing
            if self._ground is not None:
                self._book.give_back(self._ground.ports)

    def _forget(self) -> None:
        shutil.rmtree(self._dir, ignore_errors=True)
        shutil.rmtree(
            self._settings.log_dir(self.pod.namespace, self.pod.name, self.pod.uid), ignore_errors=True
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def _turn(self) -> None:
        """Decide, act, report, and wait for the next reason to look."""
        self._wake.clear()
        decision = decide(self._plan, self._seen, self._now())
        if decision.outcome != self._seen.outcome:
            self._seen = replace(self._seen, outcome=decision.outcome)
        try:
            for action in decision.actions:
                await self._act(action, decision)
            await self._report(decide(self._plan, self._seen, self._now()))
        except Absent:
            self._done = True
            return
        except ForebayError as error:
            log.warning("pod %s: %s", self.pod.key, error.message)
            await self._clock.sleep(1.0)
            return
        if decision.actions:
            return  # what was done may allow the next step
        if self._seen.outcome is not None and not self._processes.pids:
            await self._processes.close()
        with suppress(TimeoutError):
            wait_s = None if decision.look_at is None else max(0.0, decision.look_at - self._now())
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    async def _act(self, action: Any, decision: Decision) -> None:
        match action:
            case Mount():
                await self._mount()
            case Start(name):
                await self._start(self._container(name))
            case Stop():
                self._stop(action)
            case Kill(name):
                self._put(name, killed=True)
                self._signal(name, signal.SIGKILL)
            case Remove():
                await self._report(decision)
                await self._remove()

    def _container(self, name: str) -> ContainerPlan:
        return next(c for c in self._plan.containers if c.name == name)

    def _put(self, name: str, **changes: Any) -> ContainerSeen:
        changed = replace(self._seen.containers[name], **changes)
        self._seen = replace(self._seen, containers={**self._seen.containers, name: changed})
        self._wake.set()
        return changed

    async def _report(self, decision: Decision) -> None:
        """One status write, only if something changed."""

        def status(raw: Json) -> Json:
            return pod_status(About(raw, self._image_ids()), self._plan, self._seen, decision, self._now())

        def change(item: Pod) -> None:
            if item.uid != self.pod.uid:
                raise Absent(f"pod {self.pod.key} was replaced by another of its name", reason="NotFound")
            item.raw["status"] = status(item.raw)

        if status(self.pod.raw) != self.pod.raw.get("status"):
            self.pod = await edit_status(self._store, Pod, self.pod.key, change)

    def _image_ids(self) -> dict[str, str]:
        return {c.name: f"process://{c.spec.get('image', '')}" for c in self._plan.containers}

    async def _mount(self) -> None:
        try:
            ground = await self._prepare_pod()
        except (MountFailed, Exhausted) as error:
            self.note("Warning", error.reason, error.message)
            wait = backoff_s(self._mount_failures, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
            self._mount_failures += 1
            self._seen = replace(self._seen, mount_at=self._now() + wait)
            return
        self._ground = ground
        self._seen = replace(self._seen, mounted=True)

    async def _prepare_pod(self) -> PodGround:
        """Folders, token, volumes and ports. Raises MountFailed, Exhausted."""
        settings, pod = self._settings, self.pod.raw
        await in_thread(self._folders)
        own = await fetch(self._store, ServiceAccount, Key(self.pod.namespace, account_name(pod)))
        token = settings.mint_token(*account.service_account(pod)) if account.wants_token(pod, own) else ""
        kubeconfig = self._dir / "kubeconfig" if token else None
        if kubeconfig is not None:
            account.write_kubeconfig(
                kubeconfig,
                api_url=settings.api_url,
                ca_file=settings.ca_file,
                token=token,
                namespace=self.pod.namespace,
            )
        look = Look(pod, allocatable=settings.allocatable)
        volumes = await mount(pod, Ground(settings.root, self._dir, self._store, token, look))
        assigned = await self._assign_ports()
        return PodGround(
            pod=self.pod.raw, store=self._store, pod_dir=self._dir, volumes=volumes, ports=assigned,
            log_dir=settings.log_dir(self.pod.namespace, self.pod.name, self.pod.uid),
            kubeconfig=kubeconfig, api_url=settings.api_url, images=settings.images,
            allocatable=settings.allocatable,
        )  # fmt: skip

    def _folders(self) -> None:
        for name in ("home", "tmp", "volumes", "containers"):
            (self._dir / name).mkdir(parents=True, exist_ok=True)

    async def _assign_ports(self) -> dict[str, int]:
        assigned = ports.assign(self.pod.raw, self._book)
        text = ports.text(assigned)

        def change(item: Pod) -> None:
            item.meta.setdefault("annotations", {})[ports.ANNOTATION] = text

        try:
            self.pod = await edit(self._store, Pod, self.pod.key, change)
        except BaseException:
            self._book.give_back(assigned)
            raise
        return assigned

    async def _start(self, plan: ContainerPlan) -> None:
        assert self._ground is not None
        seen = self._seen.containers[plan.name]
        try:
            prepared = await prepare(plan.spec, seen.runs, self._ground)
        except NoImage as error:
            self._no_image(plan, seen, str(error))
            return
        except (ConfigError, OSError) as error:
            self._cannot(plan, seen, str(error))
            return
        last = seen.state if isinstance(seen.state, Ended) else seen.last
        changes = {
            "last": last,
            "runs": seen.runs + 1,
            "failures": 0,
            "unhealthy": "",
            "stop_at": None,
            "killed": False,
        }
        self._live[plan.name] = Live(prepared)
        self.note("Normal", "Pulled", IMAGE_POLICY.format(plan.spec.get("image", "")))
        try:
            _, at = await self._processes.start(prepared.launch)
        except StartFailed as error:
            now = self._now()
            state = Ended(128, now, now, "StartError", error.message)
            self._put(plan.name, state=state, crashes=seen.crashes + 1, **changes)
            self.note("Warning", "Failed", f"Error: {error.message}")
            return
        started = not plan.has("startupProbe")
        ready = started and not plan.has("readinessProbe")
        passed = seen.passed or started
        now_seen = self._seen.containers[plan.name]
        if isinstance(now_seen.state, Ended) and now_seen.state is not seen.state:
            return  # it has ended already
        self._put(plan.name, state=Running(at), started=started, ready=ready, passed=passed, **changes)
        self.note("Normal", "Created", f"Created container: {plan.name}")
        self.note("Normal", "Started", f"Started container {plan.name}")
        self._probe(plan)

    def _no_image(self, plan: ContainerPlan, seen: ContainerSeen, message: str) -> None:
        wait = backoff_s(seen.failures, first_s=self._plan.backoff_first_s, most_s=self._plan.backoff_most_s)
        image, reason = plan.spec.get("image", ""), "ImagePullBackOff" if seen.failures else "ErrImagePull"
        shown = f'Back-off pulling image "{image}": ErrImagePull: {message}' if seen.failures else message
        self._put(plan.name, state=Waiting(reason, shown, self._now() + wait), failures=seen.failures + 1)
        self.note("Warning", "Failed", f'Failed to pull image "{image}": {message}')
        self.note("Warning", "Failed", f"Error: {reason}")

    def _cannot(self, plan: ContainerPlan, seen: ContainerSeen, message: str) -> None:
        wait = backoff_s(seen.failures, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        state = Waiting("CreateContainerConfigError", message, self._now() + wait)
        self._put(plan.name, state=state, failures=seen.failures + 1)
        self.note("Warning", "Failed", f"Error: {message}")

    def _probe(self, plan: ContainerPlan) -> None:
        live = self._live[plan.name]
        kinds = ["startup"] if plan.has("startupProbe") else ["readiness", "liveness"]
        self._start_probes(plan, live, kinds)

    def _start_probes(self, plan: ContainerPlan, live: Live, kinds: list[str]) -> None:
        assert self._ground is not None
        for kind in kinds:
            probe = plan.spec.get(f"{kind}Probe")
            if not probe:
                continue
            attempt = attempt_of(plan.spec, live.prepared.translation.probe(probe), self._ground.ports,
                                 self._runner(live.prepared))  # fmt: skip
            told = self._hear(plan, live)
            live.probes.append(self._group.create_task(watch_probe(kind, probe, attempt, told, self._clock)))

    def _runner(self, prepared: Prepared) -> Callable[..., Awaitable[str]]:
        async def run(argv: list[str], timeout_s: float) -> str:
            """A command in the container's environment; its output. Raises ProbeFailed."""
            launch = Launch(prepared.launch.id, tuple(argv), prepared.launch.env, prepared.launch.cwd)
            try:
                ended = await self._processes.run(launch, timeout_s=timeout_s)
            except TimeoutError as error:
                raise ProbeFailed(f'command "{" ".join(argv)}" timed out') from error
            except StartFailed as error:
                raise ProbeFailed(error.message) from error
            output = ended.output.decode(errors="replace").strip()
            if ended.code:
                raise ProbeFailed(output or f"command exited with {ended.code}")
            return output

        return run

    def _hear(self, plan: ContainerPlan, live: Live) -> Callable[[str, bool | None, str], None]:
        def told(kind: str, verdict: bool | None, failure: str) -> None:
            if self._live.get(plan.name) is not live:
                return
            if failure:
                self.note("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {failure}")
            if verdict is False and kind in ("startup", "liveness"):
                why = f"Container {plan.name} failed {kind} probe, will be restarted"
                self._put(plan.name, unhealthy=why, ready=False)
            elif kind == "startup" and verdict:
                self._put(plan.name, started=True, passed=True, ready=not plan.has("readinessProbe"))
                self._start_probes(plan, live, ["readiness", "liveness"])
            elif kind == "readiness" and verdict is not None:
                self._put(plan.name, ready=verdict)

        return told

    def _stop(self, action: Stop) -> None:
        plan = self._container(action.name)
        self._put(action.name, stop_at=self._now(), stop_grace_s=action.grace_s, ready=False)
        self._cancel_probes(action.name)
        self.note("Normal", "Killing", action.why or f"Stopping container {action.name}")
        hook = (plan.spec.get("lifecycle") or {}).get("preStop")
        if hook and action.grace_s:
            self._group.create_task(self._stop_politely(action, hook))
        else:
            self._signal(action.name, signal.SIGTERM)

    async def _stop_politely(self, action: Stop, hook: Json) -> None:
        plan, live = self._container(action.name), self._live.get(action.name)
        if live is None or self._ground is None:
            return
        handler = live.prepared.translation.probe(hook)
        try:
            await pre_stop(
                handler, plan.spec, self._ground.ports, self._runner(live.prepared), action.grace_s
            )
        except ProbeFailed as error:
            self.note("Warning", "FailedPreStopHook", f"PreStopHook failed: {error.message}")
        if self._live.get(action.name) is live:
            self._signal(action.name, signal.SIGTERM)

    def _signal(self, name: str, sig: int) -> None:
        live = self._live.get(name)
        if live is not None:
            self._processes.signal(live.prepared.launch.id, sig)

    def _cancel_probes(self, name: str = "") -> None:
        for each, live in self._live.items():
            if not name or each == name:
                for task in live.probes:
                    task.cancel()
                live.probes.clear()

    def _exited(self, id: str, exited: Exited) -> None:
        name = id.rpartition(".")[0]
        self._cancel_probes(name)
        live, seen, plan = self._live[name], self._seen.containers[name], self._container(name)
        prepared = live.prepared
        message = ending(prepared.termination_log, Path(prepared.launch.log), plan.spec, exited.code)
        oom = exited.oom and not seen.killed
        began = seen.state.started_at if isinstance(seen.state, Running) else exited.at
        reason = "OOMKilled" if oom else ("Error" if exited.code else "Completed")
        state = Ended(exited.code, began, exited.at, reason, message, exited.signal)
        crashes = 1 if exited.at - began >= RESET_S else seen.crashes + 1
        after = self._put(name, state=state, crashes=crashes, ready=False, started=False)
        if crashes > 1 and self._seen.deleting_grace_s is None and plan.role != "init" and after.runs:
            self._note_backoff(plan)

    def _note_backoff(self, plan: ContainerPlan) -> None:
        meta = self.pod.meta
        name = f"{meta['name']}_{meta.get('namespace', '')}({self.pod.uid})"
        self.note("Warning", "BackOff", f"Back-off restarting failed container {plan.name} in pod {name}")

    async def _remove(self) -> None:
        """Nothing runs: the object may go."""
        await self._processes.close()
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
                )
            finally:
                self._notes.task_done()


def account_name(pod: Mapping[str, Any]) -> str:
    """The service account's name."""
    return str((pod.get("spec") or {}).get("serviceAccountName") or "default")
