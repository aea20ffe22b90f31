"""Wires the programs; the only file that names a home. Imports are late, so that a command loads only what it
runs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forebay.cli import Programs, PullWish, UpOptions, build
from forebay.errors import Invalid
from forebay.kit.clock import SystemClock

if TYPE_CHECKING:
    from forebay.home.run import Parts
    from forebay.pull.folder import Watching
    from forebay.pull.model import Report
    from forebay.store.kube import KubeStore

REQUEST_TIMEOUT_S = 30.0
API_WAIT_S = 30.0


@asynccontextmanager
async def connect(*, data: Path | None) -> AsyncIterator[KubeStore]:
    """A client of the API server that --data, KUBECONFIG or the default data folder names."""
    from forebay.home.settings import default_data
    from forebay.store.kube import KubeStore

    if data is None and "KUBECONFIG" not in os.environ and (default_data() / "kubeconfig").exists():
        data = default_data()
    if data is not None:
        os.environ["KUBECONFIG"] = str(data / "kubeconfig")
    store = KubeStore.from_env(timeout_s=REQUEST_TIMEOUT_S)
    try:
        yield store
    finally:
        await store.close()


def until_stopped(work: Coroutine[Any, Any, None]) -> int:
    """Run `work` until it ends or SIGTERM or SIGINT cancels it; the exit code."""

    async def body() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    asyncio.run(body())
    return 0


def run_node() -> int:
    """The node agent: NODE_NAME and NODE_GROUP say which, FOREBAY_CACHE_ROOT where its disk is, POD_IP and
    PORT where its metrics are."""
    from forebay.api.names import AGENT_PORT
    from forebay.node.agent import run_agent
    from forebay.store.kube import wait_ready

    node, group = os.environ.get("NODE_NAME", ""), os.environ.get("NODE_GROUP", "")
    if not node or not group:
        raise Invalid(
            "forebay node needs NODE_NAME and NODE_GROUP in its environment, as its DaemonSet gives them"
        )
    root = Path(os.environ.get("FOREBAY_CACHE_ROOT", "/mnt/models"))
    listen = (os.environ.get("POD_IP") or "127.0.0.1", int(os.environ.get("PORT") or AGENT_PORT))

    async def work() -> None:
        async with connect(data=None) as store:
            await wait_ready(store, deadline_s=API_WAIT_S)
            await run_agent(store, node=node, group=group, root=root, clock=SystemClock(), listen=listen)

    return until_stopped(work())


def run_gateway(host: str, port: int) -> int:
    """The data plane."""
    import uvloop

    from forebay.gateway.serve import run_gateway as serve
    from forebay.store.kube import wait_ready

    async def work() -> None:
        async with connect(data=None) as store:
            await wait_ready(store, deadline_s=API_WAIT_S)
            await serve(store, host=host, port=port)

    uvloop.install()
    return until_stopped(work())


def run_llama(arguments: Sequence[str]) -> int:
    """The language model server."""
    from forebay.engines.llama import main as serve

    return serve(list(arguments))


def run_pull(wish: PullWish) -> int:
    """One transfer, for people."""
    from forebay.pull.command import PullOptions, pull_command

    options = PullOptions(wish.uri, wish.dest, wish.revision, wish.explain, wish.as_json, wish.rate_bytes_s)
    said = {
        "FOREBAY_PEERS": " ".join(wish.peers),
        "STORAGE_ALLOW_PATTERNS": json.dumps(wish.include) if wish.include else "",
        "STORAGE_IGNORE_PATTERNS": json.dumps(wish.exclude) if wish.exclude else "",
    }
    return pull_command(options, {**os.environ, **{name: text for name, text in said.items() if text}})


def run_storage_initializer(arguments: Sequence[str]) -> int:
    """One transfer, as a Job: into the cache when FOREBAY_CACHE_ROOT is set, else into the folders named."""
    from forebay.pull.command import storage_initializer

    puller = _into_cache if os.environ.get("FOREBAY_CACHE_ROOT") else None
    return storage_initializer(list(arguments), os.environ, puller=puller)


def _into_cache(uri: str, dest: Path, watching: Watching) -> Report:
    from forebay.pull.cached import pull_cached
    from forebay.pull.model import Report

    report = Report()
    whole = pull_cached(uri, os.environ, watching=watching, report=report)
    report.files = report.files or len(whole.files)
    report.bytes_total = report.bytes_total or whole.size
    return report


def run_hub(arguments: Sequence[str]) -> int:
    """A hub server over a folder."""
    from forebay.engines.hub import main as serve

    return serve(list(arguments))


def run_blobs(arguments: Sequence[str]) -> int:
    """A cache's content over HTTP."""
    from forebay.engines.blobs import main as serve

    return serve(list(arguments))


def run_up(options: UpOptions) -> int:
    """The embedded home."""
    from forebay.home.run import detached, run_home
    from forebay.home.settings import HomeSettings, node_names, parse_capacity, parse_labels

    settings = HomeSettings(
        data=options.data,
        api_port=options.api_port,
        gateway_port=options.gateway_port,
        nodes=node_names(options.node_name, options.nodes),
        labels=parse_labels(options.node_labels),
        capacity=parse_capacity(options.node_capacity),
    )
    if options.detach:
        return detached(settings, _typed(options))
    return run_home(settings, _parts())


def _user_kubeconfig(data: Path, user: str, namespaces: Sequence[str]) -> Path:
    from forebay.home.run import user_kubeconfig

    return user_kubeconfig(data, user, namespaces)


def _typed(options: UpOptions) -> list[str]:
    """The options as words, for the process in the background."""
    words = ["--data", str(options.data), "--api-port", str(options.api_port)]
    words += ["--gateway-port", str(options.gateway_port), "--nodes", str(options.nodes)]
    words += ["--node-name", options.node_name]
    words += [word for label in options.node_labels for word in ("--node-label", label)]
    return words + [word for amount in options.node_capacity for word in ("--node-capacity", amount)]


def _parts() -> Parts:
    from forebay.api.admission import Rules
    from forebay.api.rules_serving import CHECKS
    from forebay.control import controllers
    from forebay.control.shipped import shipped
    from forebay.home.look import StoreLook
    from forebay.home.run import Parts

    return Parts(
        rules=lambda store: Rules(StoreLook(store), CHECKS),
        controllers=lambda store, clock: controllers(store, system_namespace="kserve", clock=clock),
        shipped=shipped,
    )


def programs() -> Programs:
    """Every program by its command."""
    from forebay.home.lock import read_running
    from forebay.home.settings import default_data

    return Programs(
        connect=connect,
        default_data=default_data,
        running=read_running,
        user_kubeconfig=_user_kubeconfig,
        up=run_up,
        node=run_node,
        gateway=run_gateway,
        llama=run_llama,
        pull=run_pull,
        storage_initializer=run_storage_initializer,
        hub=run_hub,
        blobs=run_blobs,
    )


def _logging() -> None:
    level = (os.environ.get("FOREBAY_LOG") or "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        print(
            f"Error: FOREBAY_LOG={level[:40]} is no level; write DEBUG, INFO, WARNING or ERROR",
            file=sys.stderr,
        )
        sys.exit(Invalid.exit_code)
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname).1s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # `kill -USR1 PID` prints where every thread is


def _run(arguments: Sequence[str] | None) -> None:
    group = build(programs())
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    ):  # forebay.__main__ set it; from here on a command tidies up
        signal.signal(signal.SIGINT, signal.default_int_handler)
    group(arguments, prog_name="forebay")


def main() -> None:
    """`forebay`."""
    _logging()
    _run(None)


def llama() -> None:
    """`forebay-llama`."""
    _run(["llama", *sys.argv[1:]])


def storage_initializer() -> None:
    """`storage-initializer`, as KServe's image calls it."""
    _run(["storage-initializer", *sys.argv[1:]])


if __name__ == "__main__":
    main()
