"""Real servers on loopback that hold one small tree of files, one per scheme, for the source suite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.engines.fileserver import FileBody, FileServer, Reply, Request
from forebay.engines.hub import Hub, HubSettings

TREE = {
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "model-00001.safetensors": os.urandom(3_000_001),
    "sub folder/tökens+1%.json": b"[]" * 40_000,
    "sub folder/deep/er.bin": os.urandom(70_000),
}
ONE = {"model-00001.safetensors": TREE["model-00001.safetensors"]}


@dataclass
class Origin:
    """A server with a tree. `env` lets in, `wrong_env` does not; `absent` is a URI of nothing there."""

    uri: str
    tree: dict[str, bytes]
    env: dict[str, str]
    wrong_env: dict[str, str]
    absent: str
    folder: Path  # changing a file below changes the origin


def write_tree(folder: Path, tree: dict[str, bytes]) -> None:
    for path, body in tree.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)


@contextmanager
def hub_origin(root: Path) -> Iterator[Origin]:
    write_tree(root / "Acme" / "Tiny", TREE)
    settings = HubSettings(root, gated=frozenset({"acme/tiny"}), tokens=frozenset({"hf_sesame00"}), page=2)
    with Hub(settings) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_sesame00"}
        wrong = {**env, "HF_TOKEN": "hf_wrong0000"}
        yield Origin("hf://acme/tiny", TREE, env, wrong, "hf://acme/nothing", root / "Acme" / "Tiny")


@contextmanager
def http_origin(root: Path) -> Iterator[Origin]:
    write_tree(root, ONE)

    def answer(request: Request) -> Reply:
        if request.headers.get("authorization") != "Basic bWU6c2VzYW1l":
            return Reply(401, {"WWW-Authenticate": "Basic"})
        path = root / request.target.lstrip("/")
        if not path.is_file():
            return Reply(404)
        stat = path.stat()
        return Reply(200, {"ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'}, FileBody(path))

    server = FileServer(answer, host="127.0.0.1", port=0)
    server.start()
    netrc = root.parent / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password sesame\n")
    netrc.chmod(0o600)
    env = {"NETRC": str(netrc)}
    try:
        yield Origin(f"{server.url}/model-00001.safetensors", ONE, env, {}, f"{server.url}/nothing.bin", root)
    finally:
        server.stop()


@contextmanager
def s3_origin(root: Path) -> Iterator[Origin]:
    port = _free_port()
    keys = {"NANIO_ACCESS_KEY": "AKIAEXAMPLE", "NANIO_SECRET_KEY": "open sesame"}
    command = [
        str(Path(sys.executable).with_name("nanio")),
        "serve",
        "--data-dir",
        str(root / "s3"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    child = subprocess.Popen(
        command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        _wait_for(port)
        with s3_filled(f"http://127.0.0.1:{port}", keys, root) as origin:
            yield origin
    finally:
        child.terminate()
        child.wait(10)


@contextmanager
def s3_filled(url: str, keys: dict[str, str], root: Path) -> Iterator[Origin]:
    """An S3 server with the tree put into it."""
    client = _client(url, keys)
    client.create_bucket(Bucket="models")
    for path, body in TREE.items():
        client.put_object(Bucket="models", Key=f"team/tiny/{path}", Body=body)
    client.put_object(Bucket="models", Key="team/tiny-other/no.bin", Body=b"not of tiny")
    client.close()
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": keys["NANIO_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": keys["NANIO_SECRET_KEY"],
    }
    wrong = {**env, "AWS_SECRET_ACCESS_KEY": "wrong"}
    yield Origin("s3://models/team/tiny", TREE, env, wrong, "s3://models/team/none", root)


@contextmanager
def file_origin(root: Path) -> Iterator[Origin]:
    write_tree(root / "tiny", TREE)
    yield Origin(f"file://{root}/tiny", TREE, {}, {}, f"file://{root}/nothing", root / "tiny")
    shutil.rmtree(root)


def _client(url: str, keys: dict[str, str]) -> Any:
    import botocore.session

    session = botocore.session.Session()
    return session.create_client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys["NANIO_ACCESS_KEY"],
        aws_secret_access_key=keys["NANIO_SECRET_KEY"],
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + 45  # azurite on a busy machine
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.05)
