"""A program of its own for tests: the API server over a store, without the rest of the home.

`python -m tests.service.apiserver_dev DIR [PORT]` writes DIR/kubeconfig, prints its URL and runs until its
input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from forebay.api.admission import Rules
from forebay.api.kinds import Namespace, Pod, ServiceAccount
from forebay.errors import Clash
from forebay.home import pki, tokens
from forebay.home.apiserver import crds
from forebay.home.apiserver.app import create_app
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.context import Api, LogQuery
from forebay.home.apiserver.serve import listen, serving
from forebay.kit.clock import SystemClock
from forebay.store.loop import run_controllers
from forebay.store.sqlite import SqliteStore


async def some_log(pod: Pod, query: LogQuery) -> AsyncIterator[bytes]:
    """Two lines, and with `follow` a third one later."""
    yield f"{pod.name}/{query.container} line 1\nline 2\n".encode()
    if query.follow:
        await asyncio.sleep(0.2)
        yield b"line 3\n"


async def main(folder: Path, port: int) -> None:
    clock = SystemClock()
    files, key = pki.ensure(folder / "pki"), tokens.load_key(folder / "auth.key")
    store = SqliteStore(folder / "forebay.db", Rules())
    await store.open()
    for kind, name, namespace in (
        (Namespace, "default", ""),
        (Namespace, "kserve", ""),
        (ServiceAccount, "default", "default"),
    ):
        try:
            await store.create(kind.new(name, namespace))
        except Clash:
            continue  # a second start on the same folder
    api = Api(store, Authenticator(key), some_log, clock)
    await crds.load(api)
    sock = listen("127.0.0.1", port)
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    async with serving(create_app(api), sock, cert=files.cert, key=files.key, stop_s=1):
        controllers = asyncio.ensure_future(run_controllers(store, [crds.controller(api)], clock=clock))
        for user, groups in (
            ("kubernetes-admin", (tokens.MASTERS,)),
            ("alice", (tokens.NAMESPACE_GROUP + "team-a",)),
        ):
            text = pki.kubeconfig(
                server=url, ca=files.ca.read_bytes(), token=tokens.mint(key, user, groups), user=user
            )
            pki.write_private(
                folder / ("kubeconfig" if user == "kubernetes-admin" else f"kubeconfig.{user}"), text
            )
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        controllers.cancel()
        await asyncio.gather(controllers, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
