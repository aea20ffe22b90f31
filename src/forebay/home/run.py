"""`forebay up`: the parts of a home, started in order and stopped in the opposite one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from forebay.api.kinds import Pod
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent, Exhausted, ForebayError, Unavailable
from forebay.home import bootstrap, images, pki, tokens
from forebay.home.address import ApiAddress
from forebay.home.apiserver import crds, usage
from forebay.home.apiserver.app import create_app
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.context import Api, LogQuery
from forebay.home.apiserver.serve import listen, serving
from forebay.home.kubelet import account
from forebay.home.kubelet.kubelet import Kubelet
from forebay.home.kubelet.logs import read_logs
from forebay.home.kubelet.settings import NodeSettings
from forebay.home.kubelet.stats import Usage
from forebay.home.lock import DataFolder, read_running
from forebay.home.settings import HomeSettings
from forebay.home.workloads import controllers as workload_controllers
from forebay.kit.clock import Clock, SystemClock
from forebay.store.database import ROOM_LEAST
from forebay.store.loop import Controller, run_controllers
from forebay.store.sqlite import Rules, SqliteStore

ADMIN = ("kubernetes-admin", (tokens.MASTERS,))
HOST = "127.0.0.1"
STOP_API_S, STOP_PODS_S = 2.0, 20.0
DETACHED_S = 30.0


@dataclass(frozen=True)
class Parts:
    """What main gives to a home: Forebay's own rules, controllers and shipped objects."""

    rules: Callable[[Callable[[], SqliteStore]], Rules]
    controllers: Callable[[SqliteStore, Clock], Sequence[Controller]]
    shipped: Callable[[], Sequence[Resource]]


class Home:
    """One life of a data folder."""

    def __init__(self, settings: HomeSettings, parts: Parts, *, clock: Clock | None = None) -> None:
        self._settings, self._parts = settings, parts
        self._clock = clock or SystemClock()
        self._folder = DataFolder(settings.data)
        self._data = self._folder.path
        self._kubelets: list[Kubelet] = []
        self._hurry = asyncio.Event()
        self._port, self._url = 0, ""

    async def run(self, started: Callable[[Json], None]) -> None:
        """Serve until cancelled. `started` hears the addresses. Raises Denied, Clash, Unavailable before
        that.
        """
        self._folder.take()
        try:
            api = listen(HOST, self._settings.api_port)
            gateway_port = self._gateway_port()
            self._port = int(api.getsockname()[1])
            self._url = f"https://{HOST}:{self._port}"
            async with contextlib.AsyncExitStack() as stack:
                store = await stack.enter_async_context(self._store())
                await self._serve(stack, store, api)
                facts = {"server": self._url, "gateway": f"http://{HOST}:{gateway_port}",
                         "kubeconfig": str(self._data / "kubeconfig")}  # fmt: skip
                await self._prepare(store, gateway_port)
                await self._work(store, lambda: started(facts))
        finally:
            self._folder.leave()

    def hurry(self) -> None:
        """While it stops: wait for nobody any more."""
        self._hurry.set()

    def _gateway_port(self) -> int:
        """The port that the gateway's pod will take; looked at now, so that a taken one is told at once."""
        with contextlib.closing(listen(HOST, self._settings.gateway_port)) as probe:
            return int(probe.getsockname()[1])

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[SqliteStore]:
        found: list[SqliteStore] = []
        store = SqliteStore(self._data / "forebay.db", self._parts.rules(lambda: found[0]), clock=self._clock)
        found.append(store)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def _serve(self, stack: contextlib.AsyncExitStack, store: SqliteStore, sock: socket.socket) -> None:
        files = pki.ensure(self._data / "pki")
        key = tokens.load_key(self._data / "auth.key")
        api = Api(store, Authenticator(key), self._logs, self._clock)
        api.registry.post(usage.GROUP, usage.served(self._usage))
        await crds.load(api)
        app = create_app(api)
        await stack.enter_async_context(serving(app, sock, cert=files.cert, key=files.key, stop_s=STOP_API_S))
        text = pki.kubeconfig(
            server=self._url, ca=files.ca.read_bytes(), token=tokens.mint(key, ADMIN[0], ADMIN[1])
        )
        pki.write_private(self._data / "kubeconfig", text)
        self._crd = crds.CrdController(store=store, registry=api.registry, clock=self._clock)
        self._key, self._files = key, files

    async def _prepare(self, store: SqliteStore, gateway_port: int) -> None:
        await bootstrap.ensure(store, bootstrap.own_objects(gateway_port))
        await bootstrap.ensure(store, self._parts.shipped())
        await bootstrap.define(store)
        await bootstrap.point_to_gateway(store, gateway_port)

    def _token_of(self, pod: Json, account_uid: str) -> str:
        """A token that ends with the pod and with its service account."""
        meta = pod["metadata"]
        user = tokens.service_account(meta["namespace"], account.name(pod), uid=account_uid)
        bound = tokens.Bound("pod", meta["name"], meta["uid"])
        return tokens.mint(self._key, user.name, user.groups, uid=user.uid, bound=bound)

    def _kubelet(self, store: SqliteStore, name: str) -> Kubelet:
        settings = NodeSettings(
            data_dir=self._data,
            name=name,
            api_url=self._url,
            ca_file=self._files.ca,
            mint_token=self._token_of,
            capacity=self._settings.capacity,
            labels=self._settings.labels,
            images=images.read_extra(self._data / "images.yaml"),
        )
        return Kubelet(store, settings, clock=self._clock)

    async def _work(self, store: SqliteStore, started: Callable[[], None]) -> None:
        own = workload_controllers(store, clock=self._clock, ca_pem=self._files.ca.read_text())
        address = ApiAddress(store, host=HOST, port=self._port)
        controllers: list[Controller] = [self._crd, address, *own]
        controllers += self._parts.controllers(store, self._clock)
        self._kubelets = [self._kubelet(store, name) for name in self._settings.nodes]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run_controllers(store, controllers, clock=self._clock))]
            tasks += [group.create_task(kubelet.run()) for kubelet in self._kubelets]
            started()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.shield(self._stop(tasks))

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """The gateway drains first, so that no request meets a stopped engine; then all pods end together."""
        tasks[0].cancel()  # controllers would start anew what we end
        orderly = [asyncio.ensure_future(k.stop(STOP_PODS_S, first=is_gateway)) for k in self._kubelets]
        hurrying = asyncio.ensure_future(self._stop_when_hurried())
        await asyncio.gather(*orderly)
        hurrying.cancel()
        for task in tasks:
            task.cancel()

    async def _stop_when_hurried(self) -> None:
        await self._hurry.wait()
        await asyncio.gather(*(k.stop(0.0) for k in self._kubelets))

    def _usage(self) -> dict[str, dict[Key, dict[str, Usage]]]:
        return {kubelet.name: kubelet.stats() for kubelet in self._kubelets}

    def _logs(self, pod: Pod, query: LogQuery) -> AsyncIterator[bytes]:
        return read_logs(self._data, pod, query)


def user_kubeconfig(data: Path, user: str, namespaces: Sequence[str]) -> Path:
    """Write a kubeconfig for a person who owns just these namespaces; its path. Raises Absent."""
    facts = read_running(data)
    groups = tuple(f"{tokens.NAMESPACE_GROUP}{name}" for name in namespaces)
    token = tokens.mint(tokens.load_key(data / "auth.key"), user, groups)
    ca = (data / "pki" / "ca.crt").read_bytes()
    path = data / f"kubeconfig.{user}"
    first = namespaces[0] if namespaces else ""
    pki.write_private(
        path, pki.kubeconfig(server=facts["server"], ca=ca, token=token, user=user, namespace=first)
    )
    return path


def is_gateway(pod: Pod) -> bool:
    """Whether this pod carries the data plane."""
    return pod.namespace == bootstrap.SYSTEM and bootstrap.GATEWAY_LABELS.items() <= pod.labels.items()


def run_home(settings: HomeSettings, parts: Parts) -> int:
    """Run a home until SIGINT or SIGTERM; the exit code."""
    began = time.monotonic()

    async def body() -> None:
        home = Home(settings, parts)

        def started(facts: Json) -> None:
            home._folder.tell(**facts)
            _greet(settings, facts, time.monotonic() - began)

        task = asyncio.ensure_future(home.run(started))

        def stop() -> None:
            if task.cancelling():
                home.hurry()
            else:
                click.echo("Stopping; once more (Ctrl-C) to wait for nothing.", err=True)
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await asyncio.wait([task])
        with contextlib.suppress(asyncio.CancelledError):
            try:
                task.result()
            except BaseExceptionGroup as group:
                raise _the_error(group) from group

    asyncio.run(body())
    click.echo("Forebay is down.", err=True)
    return 0


def _the_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a person should read of the errors of tasks that ran together: one of ours, if there is any."""
    found: BaseException = group.subgroup(ForebayError) or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _greet(settings: HomeSettings, facts: Json, seconds: float) -> None:
    nodes = ", ".join(settings.nodes)
    click.echo(f"Forebay is up after {seconds:.2f} s: nodes {nodes}; data in {settings.data}")
    click.echo(f"  API      {facts['server']}   export KUBECONFIG={facts['kubeconfig']}")
    click.echo(
        f"  gateway  {facts['gateway']}   OpenAI at /openai/v1, services at /serving/<namespace>/<name>"
    )


def last_words(lines: Sequence[str], code: int, log: Path, *, free: int) -> tuple[int, str]:
    """Exit code and message of a home that ended at its start; on a full disk it could not write its own."""
    told = [line for line in lines if line.startswith("Error: ")] or lines
    if not told and free < ROOM_LEAST:
        said = f"Error: no room to write in {log.parent}: free disk space, then try again"
        return Exhausted.exit_code, said
    if not told:
        told = [f"Error: the home ended with {code}; see {log}"]
    return code if code > 0 else 1, told[-1]


def detached(settings: HomeSettings, arguments: Sequence[str]) -> int:
    """Start the same command in the background and return once its API answers. Raises Unavailable, Clash."""
    data = settings.data.absolute()
    probe = DataFolder(data)
    probe.take()  # a second start is told here, by this process
    probe.leave()
    log = data / "up.log"
    with log.open("ab") as out:
        before = out.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "forebay.main", "up", *arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + DETACHED_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            lines = log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
            code, told = last_words(lines, child.returncode, log, free=shutil.disk_usage(data).free)
            click.echo(told, err=True)
            return code
        with contextlib.suppress(Absent):
            facts = read_running(data)
            _greet(settings, facts, DETACHED_S - (deadline - time.monotonic()))
            child.returncode = 0  # it lives on without us
            return 0
        time.sleep(0.02)
    child.kill()  # nobody waits for it any more; what it began ends with it
    child.wait()
    raise Unavailable(f"the home did not come up within {DETACHED_S:g} s and was ended; see {log}")
