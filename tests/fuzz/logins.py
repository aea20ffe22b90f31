"""What tells us who we are, and who else has the bytes: files, programs and servers of other people."""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from forebay.errors import ForebayError, Invalid
from forebay.pull.limits import Limits
from forebay.pull.yielding import RateFile
from forebay.sources import dockerconfig, gcsauth, http, peer
from forebay.sources.types import Listing
from forebay.sources.wire.client import retry_after_s
from forebay.sources.wire.heads import Head
from tests.fuzz.listings import Said

_WORK = tempfile.TemporaryDirectory()
_HERE = Path(_WORK.name)
LISTING = Listing("hf://a/b", "r", ())


def docker_configs(data: bytes) -> None:
    """A docker config; the first line, where there are more, is what a credential helper says."""
    told, _, body = data.rpartition(b"\n")
    path = _written("docker.json", body)
    ran = subprocess.CompletedProcess([], 0, stdout=told, stderr=b"")
    with (
        mock.patch.object(dockerconfig.shutil, "which", lambda name, path=None: "/" + name),
        mock.patch.object(dockerconfig.subprocess, "run", lambda argv, **more: ran),
        suppress(Invalid),
    ):
        for host in ("origin.example", dockerconfig.HUB):
            login = dockerconfig.login_for({"KSERVE_OCI_DOCKER_CONFIG": str(path)}, host, "a/b")
            assert all(isinstance(v, str) for v in (login.user, login.password, login.refresh, login.bearer))
            assert login.basic.isascii() and "\n" not in login.basic


def google_files(data: bytes) -> None:
    """A file of Google credentials, federated and impersonated ones too; the servers answer with the rest."""
    body, _, answer = data.partition(b"\n")
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(_written("google.json", body))}
    with suppress(ForebayError):
        held = gcsauth.authorization(env, Said(answer), emulated=False)
        assert held is not None and held.value().startswith("Bearer ")


def netrcs(data: bytes) -> None:
    """A netrc file."""
    with suppress(Invalid):
        user, password = http._netrc({"NETRC": str(_written("netrc", data))}, "origin.example")
        assert (user is None) == (password is None)


def rate_files(data: bytes) -> None:
    """The file that tells a running pull to yield: a rate, or it stays as it is."""
    said: list[float | None] = []
    limits = SimpleNamespace(yield_to=said.append)
    path = _written("rate", data)
    RateFile(path, limits, sharers=lambda: 3).look()  # type: ignore[arg-type]
    assert all(rate is not None and 0 < rate < 1e30 for rate in said) and len(said) <= 1
    real = Limits(5e6)
    RateFile(path, real).look()


def peer_models(data: bytes) -> None:
    """What a peer says that it has of a model."""
    with mock.patch.object(peer, "Client", lambda *args, **more: Said(data)):
        known = peer._known("http://peer.example", {}, LISTING, "key")
    assert known is not None
    for path, digest in known.items():
        assert isinstance(path, str) and len(bytes.fromhex(digest)) == 32


def rate_limits(data: bytes) -> None:
    """Retry-After in the first line, RateLimit in the second."""
    after, _, limit = (part.decode("latin-1") for part in data.partition(b"\n"))
    for headers in ({"ratelimit": limit}, {"ratelimit": limit, "retry-after": after}):
        wait = retry_after_s(Head(429, headers))
        assert wait is None or 0 <= wait <= 3600


def _written(name: str, data: bytes) -> Path:
    path = _HERE / name
    path.write_bytes(data)
    return path


def seeds() -> dict[str, list[bytes]]:
    """Where the search begins, by target."""
    docker = {
        "auths": {"origin.example": {"auth": "bWU6c2VzYW1l"}, "origin.example/a": {"identitytoken": "t"}}
    }
    helped, login = {"credsStore": "pass"}, {"ServerURL": "x", "Username": "me", "Secret": "s"}
    source = {"url": "https://pool.example/t", "format": {"type": "json", "subject_token_field_name": "t"}}
    federated = {
        "type": "external_account", "audience": "//iam", "subject_token_type": "jwt",
        "token_url": "https://sts.googleapis.com/v1/token", "credential_source": source,
    }  # fmt: skip
    other = {"service_account_impersonation_url": "https://iam.example/a:generateAccessToken"}
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    token = _json({"t": "x", "access_token": "a", "accessToken": "b", "expires_in": 60})
    model = {"revision": "r", "endpoint": "", "files": [{"path": "a", "sha256": "0" * 64, "size": 1}]}
    return {
        "docker_configs": [
            _json(docker),
            _json(login) + b"\n" + _json(helped),
            b'{"Username":7}\n' + _json(helped),
            _json({"Username": "<token>", "Secret": "t"})
            + b"\n"
            + _json({"credHelpers": {"origin.example": "a"}}),
            b"credentials not found\n" + _json(helped),
            _json({"credsStore": 7}),
            _json({"credHelpers": []}),
        ],
        "google_files": [
            _json(federated) + b"\n" + token,
            _json(federated | other) + b"\n" + token,
            _json(user) + b"\n" + token,
            _json({**user, "type": "impersonated_service_account", "source_credentials": user} | other)
            + b"\n"
            + token,
            _json({**federated, "credential_source": {"url": "h", "headers": {"a": 1}}}) + b"\n{}",
            _json({**federated, "credential_source": 7}),
            _json({**federated, "credential_source": {}}),
            _json({"type": "service_account", "private_key": "x"}),
        ],
        "netrcs": [
            b"machine origin.example login me password sesame\n",
            b"default login a password b\nmacdef x\n\n",
            b'machine origin.example login "a b" password "c\\"d"',
            b"machine origin.example account z",
            b"# x\n",
        ],
        "rate_files": [b"20M\n", b"1.5Gi/s", b"0", b"", b"\xff", b"1e9", b"9" * 18 + b"G", b"-1"],
        "peer_models": [
            _json(model),
            _json({**model, "files": 7}),
            _json({**model, "files": [{"path": 7, "sha256": "x"}]}),
            b"[" * 5000,
            b"7",
        ],
        "rate_limits": [
            b"\xb29",
            b'1\n"api";r=0;t=55',
            b"\n;r=0;t=999999999",
            b"Wed, 21 Oct 2015 07:28:00 GMT\n",
            b'-5\n"a";r=1;t=5',
            b"9" * 400 + b"\n",
            b"Fri, 31 Dec 9999 23:59:59 +9999\n",
        ],
    }


def _json(body: object) -> bytes:
    return json.dumps(body).encode()
