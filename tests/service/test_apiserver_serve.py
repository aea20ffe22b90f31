"""The server as its program holds it: socket, TLS, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
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


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Api, Callable[[], http.client.HTTPResponse]]]:
    """A server in this loop, and a function (for a thread) that opens a watch of all config maps."""
    files, key = pki.ensure(folder / "pki"), tokens.load_key(folder / "key")
    store = SqliteStore(folder / "db", Rules())
    await store.open()
    await store.create(Namespace.new("default"))
    await store.create(ConfigMap.new("c", "default"))
    api = Api(store, Authenticator(key), no_log, SystemClock())
    token = tokens.mint(key, "root", (tokens.MASTERS,))
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]

    def watch() -> http.client.HTTPResponse:
        trusted = ssl.create_default_context(cafile=str(files.ca))
        link = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=20)
        link.request("GET", "/api/v1/configmaps?watch=1", headers={"Authorization": f"Bearer {token}"})
        response = link.getresponse()
        assert json.loads(response.readline())["object"]["metadata"]["name"] == "c"
        response.link = link  # type: ignore[attr-defined]
        return response

    async with serving(create_app(api), sock, cert=files.cert, key=files.key, stop_s=1):
        yield api, watch
    await store.close()


def test_stopping_ends_open_watches(tmp_path: Path) -> None:
    async def body() -> bytes:
        async with served(tmp_path) as (_, watch):
            response = await asyncio.to_thread(watch)
            rest = asyncio.ensure_future(asyncio.to_thread(response.read))  # until the server ends it
        found = await rest
        response.link.close()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(body()) == b""


def test_a_client_that_went_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (_, watch):
            before = len(asyncio.all_tasks())
            responses = [await asyncio.to_thread(watch) for _ in range(3)]
            assert len(asyncio.all_tasks()) > before
            for response in responses:
                response.close()
                response.link.close()  # type: ignore[attr-defined]
            async with asyncio.timeout(10):
                while len(asyncio.all_tasks()) > before:
                    await asyncio.sleep(0.01)

    asyncio.run(body())
