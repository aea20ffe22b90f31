"""The server as its program holds it: socket, TLS, stopping."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import ConfigMap, Namespace, Pod
from forebay.errors import Unavailable
from forebay.home import pki, tokens
from forebay.home.apiserver.app import create_app
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.context import Api, LogQuery
from forebay.home.apiserver.serve import listen, serving
from forebay.kit.clock import SystemClock
from forebay.store.sqlite import SqliteStore


async def no_log(pod: Pod, query: LogQuery) -> AsyncIterator[bytes]:
    for line in ():
        yield line


def test_answers_are_not_held_back_for_forty_milliseconds() -> None:
    """asyncio switches Nagle's algorithm off only on sockets that name their protocol; ours did not once."""
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with listen("127.0.0.1", 0) as sock, pytest.raises(Unavailable, match="choose another port"):
        listen("127.0.0.1", sock.getsockname()[1])


def test_stopping_ends_open_watches(tmp_path: Path) -> None:
    asyncio.run(_stop_with_a_watch(tmp_path))


async def _stop_with_a_watch(folder: Path) -> None:
    files, key = pki.ensure(folder / "pki"), tokens.load_key(folder / "key")
    store = SqliteStore(folder / "db", Rules())
    await store.open()
    await store.create(Namespace.new("default"))
    api = Api(store, Authenticator(key), no_log, SystemClock())
    token = tokens.mint(key, "root", (tokens.MASTERS,))
    sock = listen("127.0.0.1", 0)
    port, started = sock.getsockname()[1], asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> list[str]:
        link = http.client.HTTPSConnection(
            "127.0.0.1", port, context=ssl.create_default_context(cafile=str(files.ca)), timeout=20
        )
        link.request("GET", "/api/v1/configmaps?watch=1", headers={"Authorization": f"Bearer {token}"})
        lines = link.getresponse()
        first = json.loads(lines.readline())["object"]["metadata"]["name"]
        loop.call_soon_threadsafe(started.set)
        rest = lines.read().decode()  # until the server ends it
        link.close()
        return [first, rest]

    async with serving(create_app(api), sock, cert=files.cert, key=files.key, stop_s=1):
        await store.create(ConfigMap.new("c", "default"))
        seen = asyncio.ensure_future(asyncio.to_thread(watch))
        await started.wait()
    assert await seen == ["c", ""]
    await store.close()
