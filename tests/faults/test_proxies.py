"""Proxies before a source: spoken to as they want it, and told apart from the source when they refuse."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.pulling import quick

from forebay.engines.hub import Hub, HubSettings
from forebay.errors import Denied, ForebayError, Unavailable
from forebay.pull.folder import pull_to
from forebay.sources.wire.client import Client


class Forward:
    """A proxy for plain requests. It keeps connections, takes nothing but absolute addresses with a password,
    and answers `says` instead when that is set. `asked` is what it was asked for."""

    def __init__(self, says: bytes = b"") -> None:
        self.says = says
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.env = dict.fromkeys(("http_proxy", "https_proxy"), f"http://me:sesame@{self.at}")

    def __enter__(self) -> Forward:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), peer, peer.makefile("rb") as stream:
            while first := stream.readline().decode().strip():
                self.asked.append(first)
                lines = list(iter(stream.readline, b"\r\n"))
                peer.sendall(self.says or self._forwarded(first, b"".join(lines)))

    def _forwarded(self, first: str, lines: bytes) -> bytes:
        method, target, _ = first.split(" ")
        if not target.startswith("http://") or b"Basic bWU6c2VzYW1l" not in lines:
            return b"HTTP/1.1 400 Not to a proxy\r\nContent-Length: 0\r\n\r\n"
        host, _, path = target.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        with socket.create_connection((name, int(port))) as far:
            far.sendall(f"{method} /{path} HTTP/1.1\r\nConnection: close\r\n".encode() + lines + b"\r\n")
            with far.makefile("rb") as answer:
                return answer.read().replace(b"Connection: close\r\n", b"")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    model = tmp_path / "hub" / "acme" / "many"
    model.mkdir(parents=True)
    for number in range(100):
        (model / f"{number}.json").write_bytes(b"%d" % number)
    with Hub(HubSettings(tmp_path / "hub")) as running:
        yield running


def test_many_small_files_are_asked_of_a_proxy_as_it_wants_it(tmp_path: Path, hub: Hub) -> None:
    """They were asked for as if it were the server, refused, and asked for again one by one."""
    with Forward() as proxy:
        env = {**proxy.env, "HF_ENDPOINT": hub.url}
        report = pull_to("hf://acme/many", tmp_path / "out", env=env, settings=quick(small_bytes=1 << 20))
    assert len(list((tmp_path / "out").glob("*.json"))) == report.requests == 100
    assert not report.notes


def answer(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode()


@pytest.mark.parametrize(("url", "says", "error", "told"), [
    ("http://far.example/x", answer("407 No"), Denied, "refused the user and password (407)"),
    ("https://far.example/x", answer("407 No"), Denied, "refused the user and password (407)"),
    ("https://far.example/x", answer("403 No"), Denied, "NO_PROXY"),
    ("http://far.example/x", answer("403 No", "X-Squid-Error: ERR_ACCESS_DENIED 0"), Denied, "NO_PROXY"),
    ("http://far.example/x", answer("503 No", "X-Squid-Error: ERR_DNS_FAIL 0"), Unavailable,
     "does not get through to far.example (503 ERR_DNS_FAIL)"),
    ("https://far.example/x", answer("502 No"), Unavailable, "does not get through to far.example (502)"),
    ("http://far.example/x", answer("500 No"), Unavailable, "answered 500 through the proxy"),
])  # fmt: skip
def test_a_proxy_that_refuses_is_named_and_not_the_source(
    url: str, says: bytes, error: type[ForebayError], told: str
) -> None:
    waits: list[float] = []
    with contextlib.ExitStack() as held, pytest.raises(error) as caught:
        proxy = held.enter_context(Forward(says))
        held.enter_context(contextlib.closing(Client(proxy.env, sleep=waits.append))).get(url)
    assert told in caught.value.message and proxy.at in caught.value.message
    assert "sesame" not in caught.value.message
    assert bool(waits) == (error is Unavailable)  # what only a person can change is not asked for again


def test_what_a_server_refuses_through_a_proxy_is_the_servers() -> None:
    with Forward(answer("403 No")) as proxy, contextlib.closing(Client(proxy.env)) as client:
        assert client.get("http://far.example/x").status == 403
