"""Limits that are said in the environment: the storage initializer and download Jobs have no options."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from forebay.engines.fileserver import FileBody, FileServer, Reply, Request
from forebay.errors import Invalid
from forebay.pull import asking
from forebay.pull.command import storage_initializer
from forebay.pull.limits import limits_from
from forebay.pull.model import Settings
from forebay.sources.wire.conn import Conn


def test_each_variable_is_a_limit_and_an_option_wins() -> None:
    env = {"FOREBAY_PULL_RATE": "50M", "FOREBAY_PULL_ORIGIN_RATES": "hf=1Ki, s3=2.5M/s",
           "FOREBAY_PULL_ORIGIN_CONNECTIONS": "3"}  # fmt: skip
    found = limits_from(env)
    assert (found._all.rate, found.slots.most) == (50e6, 3)
    assert {name: bucket.rate for name, bucket in found._origins.items()} == {"hf": 1024.0, "s3": 2.5e6}
    assert limits_from(env, 7.0)._all.rate == 7.0
    bare = limits_from({})
    assert (bare._all.rate, bare.slots.most, bare._origins) == (0.0, 0, {})


@pytest.mark.parametrize("env", [
    {"FOREBAY_PULL_RATE": "fast"}, {"FOREBAY_PULL_RATE": "1.2.3"}, {"FOREBAY_PULL_RATE": "-1"},
    {"FOREBAY_PULL_ORIGIN_RATES": "hf"}, {"FOREBAY_PULL_ORIGIN_CONNECTIONS": "some"},
])  # fmt: skip
def test_a_limit_that_is_none_is_named(env: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=next(iter(env))):
        limits_from(env)


def test_the_storage_initializer_keeps_to_the_connections_per_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where they are made: never more than the limit at once, and the model is whole."""
    for number in range(8):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * 3_000_000)
    alive, counts, lock = set[int](), [0], threading.Lock()

    class Counted(Conn):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            with lock:
                alive.add(id(self))
                counts.append(len(alive))

        def close(self) -> None:
            super().close()
            with lock:
                alive.discard(id(self))

    monkeypatch.setattr(asking, "Conn", Counted)

    def answer(request: Request) -> Reply:
        name = request.target.split("/")[-1].partition("?")[0]
        if "/resolve/" in request.target:
            return Reply(200, {"ETag": f'"{name}"'}, FileBody(tmp_path / name))
        if "/tree/" in request.target:
            return Reply.json(200, [{"type": "file", "path": f"{n}.bin", "size": 3_000_000, "oid": "",
                                     "lfs": {"oid": "", "size": 3_000_000}} for n in range(8)])  # fmt: skip
        return Reply.json(200, {"sha": "c" * 40, "id": "a/b"})

    server = FileServer(answer, host="127.0.0.1", port=0)
    server.start()
    env = {"HF_ENDPOINT": server.url, "FOREBAY_PULL_ORIGIN_CONNECTIONS": "2", "FOREBAY_METRICS_DIR": ""}
    assert storage_initializer(["hf://a/b", str(tmp_path / "out")], env) == 0
    server.stop()
    assert len(list((tmp_path / "out").glob("*.bin"))) == 8
    assert 1 <= max(counts) <= 2


@pytest.mark.parametrize("text", ["0", "-1", "nan", "soon"])
def test_a_time_to_connect_that_is_none_is_named(text: str) -> None:
    with pytest.raises(Invalid, match="S3_CONNECT_TIMEOUT must"):
        Settings.from_env({"S3_CONNECT_TIMEOUT": text})
