"""Registries that want no login, logins kept by helper programs, and layers packed with zstd."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from forebay.errors import Damaged, Denied, ForebayError, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources.dockerconfig import Login, login_for
from forebay.sources.table import resolve
from tests.conformance import clouds
from tests.conformance.clouds import Pusher, basic, htpasswd, registry
from tests.conformance.test_registry import BASE, MIDDLE, MODEL, PLAIN, TOP, WEIGHTS, tar
from tests.conformance.test_sources import tree_of
from tests.fakes.registry_tokens import TokenServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

REGISTRY = pytest.mark.skipif(
    not clouds.program("DOCKER_REGISTRY", "docker-registry"),
    reason="no docker-registry: apt-get install docker-registry, or name it in DOCKER_REGISTRY",
)
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
PLAIN_HTTP = {"KSERVE_OCI_INSECURE_REGISTRY": "true"}


@REGISTRY
def test_an_open_registry_is_asked_without_a_login_and_zstd_layers_are_unpacked(tmp_path: Path) -> None:
    with registry(tmp_path / "r", "") as host:
        push = Pusher(f"http://{host}", "acme/car", {})
        # A frame that is to be skipped stands first in what containers/image writes ("zstd:chunked").
        packed = (
            zstd.compress(MIDDLE[:5000])
            + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
            + zstd.compress(MIDDLE[5000:])
        )
        push.image(
            "v1", [push.blob(zstd.compress(BASE), ZSTD), push.blob(packed, ZSTD), push.blob(TOP, PLAIN)]
        )
        pull_to(f"oci://{host}/acme/car:v1", tmp_path / "out", env=PLAIN_HTTP, settings=Settings())
        assert tree_of(tmp_path / "out") == MODEL
        push.image("v2", [push.blob(zstd.compress(MIDDLE)[:-9], ZSTD)])
        with pytest.raises(Damaged, match="cannot be unpacked"):
            pull_to(f"oci://{host}/acme/car:v2", tmp_path / "cut", env=PLAIN_HTTP, settings=Settings())
        bomb = zstd.compress(tar(("models/zeros", bytes(90 << 20))))
        push.image("v3", [push.blob(bomb, ZSTD)])
        with pytest.raises(Damaged, match="far more"):
            pull_to(f"oci://{host}/acme/car:v3", tmp_path / "bomb", env=PLAIN_HTTP, settings=Settings())
    assert tree_of(tmp_path / "cut") == tree_of(tmp_path / "bomb") == {}


@REGISTRY
def test_a_registry_may_hand_tokens_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Hub's way with public images: a token all the same, without a login."""
    with TokenServer(tmp_path, "me", "sesame") as tokens, registry(tmp_path / "r", tokens.section) as host:
        push = Pusher(f"http://{host}", "acme/open", tokens.bearer("acme/open", "pull,push"))
        push.image("v1", [push.blob(tar(("models/w.bin", WEIGHTS)), PLAIN)])
        monkeypatch.setattr(tokens, "_wanted", None)  # what a request without a login sends
        pull_to(f"oci://{host}/acme/open:v1", tmp_path / "out", env=PLAIN_HTTP, settings=Settings())
    assert tree_of(tmp_path / "out") == {"w.bin": WEIGHTS}


def helper(folder: Path, name: str, body: str) -> None:
    """A credential helper as docker runs them; it notes which server it was asked for."""
    path = folder / f"docker-credential-{name}"
    path.write_text(
        f'#!/bin/sh\ntest "$1" = get || exit 9\nread -r server\necho "$server" >> {folder}/asked\n{body}\n'
    )
    path.chmod(0o755)


def config(folder: Path, **facts: object) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(facts))
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}


KNOWN = """echo '{"ServerURL": "x", "Username": "me", "Secret": "sesame"}'"""


@REGISTRY
@pytest.mark.parametrize("kept", ["credHelpers", "credsStore"])
def test_a_login_kept_by_a_helper_program_is_asked_for(tmp_path: Path, kept: str) -> None:
    helper(tmp_path, "mine", KNOWN)
    with registry(tmp_path / "r", htpasswd(tmp_path / "r")) as host:
        push = Pusher(f"http://{host}", "acme/car", basic("me", "sesame"))
        push.image("v1", [push.blob(tar(("models/w.bin", WEIGHTS)), PLAIN)])
        facts = {"credHelpers": {host: "mine"}} if kept == "credHelpers" else {
            "credsStore": "mine", "auths": {host: {}}}  # fmt: skip
        env = PLAIN_HTTP | config(tmp_path, **facts)
        pull_to(f"oci://{host}/acme/car:v1", tmp_path / "out", env=env, settings=Settings())
        assert tree_of(tmp_path / "out") == {"w.bin": WEIGHTS}
        assert set((tmp_path / "asked").read_text().split()) == {host}
        helper(tmp_path, "mine", "echo sesame-is-not-here; exit 1")
        with pytest.raises(Denied) as caught:
            resolve(f"oci://{host}/acme/car:v1", env)
    assert "sesame" not in caught.value.message


def test_what_a_helper_may_answer(tmp_path: Path) -> None:
    helper(tmp_path, "token", """echo '{"Username": "<token>", "Secret": "refresh-1"}'""")
    env = config(tmp_path, credHelpers={"r.example": "token"})
    assert login_for(env, "r.example", "a/b") == Login(refresh="refresh-1")
    assert login_for(env, "other.example", "a/b") == Login()
    env = config(tmp_path, credsStore="token", auths={"r.example": {"username": "me", "password": "own"}})
    assert login_for(env, "r.example", "a/b") == Login("me", "own")  # what is written there comes first
    login_for(config(tmp_path, credsStore="token"), "docker.io", "library/a")
    assert "https://index.docker.io/v1/" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(("name", "body", "error"), [
    ("absent", None, Invalid), ("../../bin/sh", None, Invalid), ("odd", "echo sesame", Invalid),
    ("half", """echo '{"Username": "me"}'""", Invalid),
])  # fmt: skip
def test_a_helper_that_does_not_help_is_named(
    tmp_path: Path, name: str, body: str | None, error: type[ForebayError]
) -> None:
    if body:
        helper(tmp_path, name, body)
    with pytest.raises(error, match="docker-credential-") as caught:
        login_for(config(tmp_path, credHelpers={"r.example": name}), "r.example", "a/b")
    assert "sesame" not in caught.value.message
