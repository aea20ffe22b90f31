"""The running containers of one pod: their processes, probes and hooks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from forebay.api.meta import Json
from forebay.home.kubelet.decide import Stop
from forebay.home.kubelet.hooks import pre_stop
from forebay.home.kubelet.launch import PodGround, Prepared, ending, prepare
from forebay.home.kubelet.probes import ProbeFailed, attempt_of, watch_probe
from forebay.home.kubelet.processes import Exited, Launch, PodProcesses, StartFailed
from forebay.home.kubelet.state import ContainerPlan
from forebay.kit.clock import Clock


class Owner(Protocol):
    """The pod's worker, as its runs see it."""

    def exited(self, name: str, exited: Exited, message: str) -> None:
        """A container ended; `message` is its termination message."""

    def probed(self, name: str, kind: str, verdict: bool) -> None:
        """A probe reached a verdict."""

    def note(self, type_: str, reason: str, message: str) -> None:
        """Something to tell people."""


@dataclass
class Live:
    """What belongs to one run."""

    plan: ContainerPlan
    prepared: Prepared
    ground: PodGround
    probes: list[asyncio.Task[None]] = field(default_factory=list)


class Runs:
    """Starts and stops; tasks for probes and hooks live in the group that is given before the first start."""

    def __init__(self, pod_dir: Path, *, owner: Owner, clock: Clock) -> None:
        self._owner, self._clock = owner, clock
        self._processes = PodProcesses(pod_dir, self._exited)
        self._live: dict[str, Live] = {}
        self.group: asyncio.TaskGroup | None = None

    @property
    def pids(self) -> dict[str, int]:
        """First process of every running container."""
        return {id.rpartition(".")[0]: pid for id, pid in self._processes.pids.items() if "#" not in id}

    async def prepare(self, plan: ContainerPlan, run: int, ground: PodGround) -> None:
        """All that a run needs. Raises NoImage, ConfigError, OSError."""
        self._live[plan.name] = Live(plan, await prepare(plan.spec, run, ground), ground)

    async def start(self, plan: ContainerPlan) -> float:
        """Start what was prepared; the moment, seconds since the epoch. Raises StartFailed."""
        _, at = await self._processes.start(self._live[plan.name].prepared.launch)
        return at

    def probe(self, name: str, kinds: tuple[str, ...]) -> None:
        """Begin those of `kinds` (startup, readiness, liveness) that the container has."""
        live = self._live[name]
        assert self.group is not None
        for kind in kinds:
            probe = live.plan.spec.get(f"{kind}Probe")
            if probe:
                translated = live.prepared.translation.probe(probe)
                attempt = attempt_of(live.plan.spec, translated, live.ground.ports, self._command(live))
                asking = watch_probe(kind, probe, attempt, self._hear(live), self._clock)
                live.probes.append(self.group.create_task(asking))

    def stop(self, action: Stop) -> None:
        """The preStop hook, if there is one and time for it, then SIGTERM."""
        self.cancel_probes(action.name)
        live = self._live[action.name]
        hook = (live.plan.spec.get("lifecycle") or {}).get("preStop")
        if hook and action.grace_s:
            assert self.group is not None
            self.group.create_task(self._stop_politely(live, hook, action.grace_s))
        else:
            self.signal(action.name, signal.SIGTERM)

    def signal(self, name: str, sig: int) -> None:
        """Signal a container."""
        self._processes.signal(self._live[name].prepared.launch.id, sig)

    def cancel_probes(self, name: str = "") -> None:
        """Of one container, or of all."""
        for live in self._live.values():
            if not name or live.plan.name == name:
                for task in live.probes:
                    task.cancel()
                live.probes.clear()

    async def end_all(self, grace_s: float) -> None:
        """SIGTERM to everything, and SIGKILL to what is left after `grace_s`."""
        for id in self._processes.pids:
            self._processes.signal(id, signal.SIGTERM)
        end = self._clock.monotonic() + grace_s
        while self._processes.pids and self._clock.monotonic() < end:
            await self._clock.sleep(0.02)
        await self.close()

    async def close(self) -> None:
        """Kill what runs and let the supervisor go."""
        await self._processes.close()

    def _command(self, live: Live) -> Callable[..., Awaitable[str]]:
        async def run(argv: list[str], timeout_s: float) -> str:
            """A command in the container's environment; its output. Raises ProbeFailed."""
            like = live.prepared.launch
            launch = Launch(like.id, tuple(argv), like.env, like.cwd)
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

    def _hear(self, live: Live) -> Callable[[str, bool | None, str], None]:
        def told(kind: str, verdict: bool | None, failure: str) -> None:
            if self._live.get(live.plan.name) is not live:
                return
            if failure:
                self._owner.note("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {failure}")
            if verdict is not None:
                self._owner.probed(live.plan.name, kind, verdict)

        return told

    async def _stop_politely(self, live: Live, hook: Json, grace_s: float) -> None:
        handler = live.prepared.translation.probe(hook)
        try:
            await pre_stop(handler, live.plan.spec, live.ground.ports, self._command(live), grace_s)
        except ProbeFailed as error:
            self._owner.note("Warning", "FailedPreStopHook", f"PreStopHook failed: {error.message}")
        if self._live.get(live.plan.name) is live:
            self.signal(live.plan.name, signal.SIGTERM)

    def _exited(self, id: str, exited: Exited) -> None:
        name = id.rpartition(".")[0]
        self.cancel_probes(name)
        live = self._live[name]
        log = Path(live.prepared.launch.log)
        message = ending(live.prepared.termination_log, log, live.plan.spec, exited.code)
        self._owner.exited(name, exited, message)
