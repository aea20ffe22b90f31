"""The embedded API server over a fresh SQLite file, in the test's own event loop or beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from forebay.api.admission import Rules
from forebay.api.kinds import Pod
from forebay.home import pki, tokens
from forebay.home.apiserver.app import create_app
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.context import Api, LogQuery
from forebay.home.apiserver.serve import listen, serving
from forebay.kit.clock import SystemClock
from forebay.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


async def no_logs(pod: Pod, query: LogQuery) -> AsyncIterator[bytes]:
    """There is no kubelet here."""
    return
    yield b""


@contextmanager
def beside(folder: Path) -> Iterator[str]:
    """The same in a process of its own, with its kubeconfig in `folder`; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.apiserver_dev", str(folder)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stdin is not None
        url = process.stdout.readline().strip()
        assert url.startswith("https://"), "the API server did not start"
        yield url
        process.stdin.close()
        assert process.wait(10) == 0


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Path]:
    """Serve on a free port; yields the path of an admin kubeconfig."""
    store = SqliteStore(folder / "store.db", Rules())
    await store.open()
    files, key = pki.ensure(folder / "pki"), tokens.load_key(folder / "auth.key")
    sock = listen("127.0.0.1", 0)
    app = create_app(Api(store, Authenticator(key), no_logs, SystemClock()))
    try:
        async with serving(app, sock, cert=files.cert, key=files.key, stop_s=1.0):
            path = folder / "kubeconfig"
            server = f"https://127.0.0.1:{sock.getsockname()[1]}"
            token = tokens.mint(key, "kubernetes-admin", (tokens.MASTERS,))
            path.write_text(pki.kubeconfig(server=server, ca=files.ca.read_bytes(), token=token))
            yield path
    finally:
        await store.close()
