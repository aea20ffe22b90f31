"""S3 against a real server: where it is, who one is there, and which version of an object one gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.engines.fileserver import FileServer, Reply, Request
from forebay.errors import Absent, Denied, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources.s3 import S3Source
from forebay.sources.s3env import s3_settings, session_for
from forebay.sources.table import resolve
from tests.conformance.origins import Origin, s3_origin
from tests.conformance.test_sources import ORIGINS, tree_of

CHAIN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL",
         "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip


@pytest.fixture(scope="module", params=[pytest.param("nanio", marks=ORIGINS["s3"][1:])])
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    root = tmp_path_factory.mktemp("s3") / "root"
    root.mkdir()
    with s3_origin(root) as origin:
        yield origin


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A process environment in which nobody is anybody: botocore's chain reads it."""
    for name in CHAIN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def keys_of(origin: Origin) -> tuple[str, str]:
    return origin.env["AWS_ACCESS_KEY_ID"], origin.env["AWS_SECRET_ACCESS_KEY"]


def at(origin: Origin) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": origin.env["AWS_ENDPOINT_URL"]}


def test_a_profile_names_the_keys(server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, secret = keys_of(server)
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id=x\naws_secret_access_key=y\n"
        f"[models]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"
    )
    assert resolve(server.uri, {**at(server), "AWS_PROFILE": "models"})[1].files
    with pytest.raises(Denied):
        resolve(server.uri, at(server))


def test_nobody_is_denied_and_told_how_to_become_somebody(server: Origin, bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(Denied, match="AWS_ACCESS_KEY_ID"):
        resolve(server.uri, at(server))


def test_a_web_identity_is_exchanged_for_keys(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What EKS gives a pod for its service account: a token file and a role."""
    key, secret = keys_of(server)
    seen: list[str] = []

    def sts(request: Request) -> Reply:
        seen.append(request.body.decode())
        keys = f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken/>"
        body = (f"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>{keys}"
                "<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                "</AssumeRoleWithWebIdentityResponse>")  # fmt: skip
        return Reply(200, {"Content-Type": "text/xml"}, body.encode())

    with serving(sts) as url:
        (tmp_path / "token").write_text("jwt-1")
        bare.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        bare.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/models")
        bare.setenv("AWS_ENDPOINT_URL_STS", url)
        bare.setenv("AWS_DEFAULT_REGION", "us-east-1")
        assert resolve(server.uri, at(server))[1].files
    assert any("WebIdentityToken=jwt-1" in body for body in seen)


def test_a_cached_models_endpoint_does_not_see_the_machines_identity(bare: pytest.MonkeyPatch) -> None:
    """A tenant names the endpoint, and AWS_ENDPOINT_URL is that of every service, the token service too."""
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "eu-central-1"}
    for name, value in env.items():
        bare.setenv(name, value)

    def exchanged(env: dict[str, str]) -> str:
        client = session_for(s3_settings(env)).create_client("sts", region_name="eu-central-1")
        return str(client.meta.endpoint_url)

    assert exchanged(env) == "http://127.0.0.1:1"  # in one's own pod: an object store may have its own
    assert exchanged({**env, "FOREBAY_CACHE_ROOT": "/c"}) == "https://sts.eu-central-1.amazonaws.com"
    bare.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2")  # the operator's to say
    named = {"FOREBAY_CACHE_ROOT": "/c", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:2"}
    assert exchanged({**env, **named}) == "http://127.0.0.1:2"


def test_the_machines_role_gives_keys(server: Origin, bare: pytest.MonkeyPatch) -> None:
    """EC2's metadata service, version 2: a session token first."""
    key, secret = keys_of(server)

    def metadata(request: Request) -> Reply:
        if request.target.endswith("/api/token"):
            return Reply(200, {}, b"session")
        if request.headers.get("x-aws-ec2-metadata-token") != "session":
            return Reply(401)
        if request.target.endswith("/security-credentials/"):
            return Reply(200, {}, b"models-role")
        facts = {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret, "Token": "",
                 "Expiration": "2999-01-01T00:00:00Z"}  # fmt: skip
        return Reply.json(200, facts)

    with serving(metadata) as url:
        bare.setenv("AWS_EC2_METADATA_DISABLED", "false")
        bare.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert resolve(server.uri, at(server))[1].files


def test_storage_settings_of_kserve_say_everything(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, secret = keys_of(server)
    config = {
        "type": "s3",
        "access_key_id": key,
        "secret_access_key": "wrong",
        "endpoint_url": "http://127.0.0.1:1",
    }
    override = {
        "secret_access_key": secret,
        "endpoint_url": at(server)["AWS_ENDPOINT_URL"],
        "region": "us-east-1",
    }
    env = {"STORAGE_CONFIG": json.dumps(config), "STORAGE_OVERRIDE_CONFIG": json.dumps(override),
           "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}  # fmt: skip
    pull_to(server.uri, tmp_path / "out", env=env, settings=Settings())
    assert tree_of(tmp_path / "out") == server.tree
    env = {"STORAGE_CONFIG": json.dumps({**config, **override}), "STORAGE_OVERRIDE_CONFIG": "null"}
    assert resolve(server.uri, env)[1].files


PROFILES = """
[default]
region = eu-west-9
endpoint_url = {url}
[profile apart]
region = us-east-1
services = ours
[services ours]
s3 =
  endpoint_url = {url}
"""


@pytest.mark.parametrize("profile", ["", "apart"])
def test_a_profile_names_the_endpoint_and_the_region(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path, profile: str
) -> None:
    """KServe's downloader is boto3, which reads them; the keys alone were read here."""
    key, secret = keys_of(server)
    (tmp_path / "config").write_text(PROFILES.format(url=at(server)["AWS_ENDPOINT_URL"]))
    env = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": key,
           "AWS_SECRET_ACCESS_KEY": secret, **({"AWS_PROFILE": profile} if profile else {})}  # fmt: skip
    assert resolve(server.uri, env)[1].files
    assert s3_settings(env).region == ("us-east-1" if profile else "eu-west-9")
    assert s3_settings({**env, "AWS_REGION": "eu-north-1"}).region == "eu-north-1"
    assert s3_settings({**env, "AWS_ENDPOINT_URL": "http://h.example"}).endpoint == "http://h.example"
    assert s3_settings({**env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}).is_default
    with pytest.raises(Invalid, match="AWS_PROFILE"):
        s3_settings({**env, "AWS_PROFILE": "nobody"})


def test_the_shape_of_kserves_secret(server: Origin, bare: pytest.MonkeyPatch) -> None:
    key, secret = keys_of(server)
    host = at(server)["AWS_ENDPOINT_URL"].removeprefix("http://")
    env = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "S3_ENDPOINT": host,
           "S3_USE_HTTPS": "0",
           "S3_USER_VIRTUAL_BUCKET": "false", "S3_VERIFY_SSL": "1"}  # fmt: skip
    assert resolve(server.uri, env)[1].files


def test_a_public_bucket_and_its_virtual_host(tmp_path: Path) -> None:
    """Unsigned requests, to a host that carries the bucket's name; a proxy shows where they would go."""
    asked: set[str] = set()

    def answer(request: Request) -> Reply:
        assert "authorization" not in request.headers
        asked.add(request.target.partition("?")[0])
        if "list-type" in request.target:
            entry = "<Key>team/w.bin</Key><Size>5</Size><ETag>&quot;abc&quot;</ETag>"
            return Reply(
                200, {}, f"<ListBucketResult><Contents>{entry}</Contents></ListBucketResult>".encode()
            )
        return Reply(200, {"ETag": '"abc"'}, b"12345")

    with serving(answer) as url:
        env = {"AWS_ENDPOINT_URL": "http://s3.example", "awsAnonymousCredential": "true", "http_proxy": url,
               "S3_USER_VIRTUAL_BUCKET": "1"}  # fmt: skip
        pull_to("s3://bucket/team", tmp_path / "out", env=env, settings=Settings())
    assert tree_of(tmp_path / "out") == {"w.bin": b"12345"}
    assert asked == {"http://bucket.s3.example/", "http://bucket.s3.example/team/w.bin"}


def test_a_named_version_is_the_one_that_comes(tmp_path: Path) -> None:
    bodies = {"v1": b"first", "v2": b"other"}

    def answer(request: Request) -> Reply:
        version = request.target.partition("?versionId=")[2]
        body = bodies.get(version)
        return Reply(200, {"ETag": f'"{version}"'}, body) if body else Reply(404)

    with serving(answer) as url:
        env = {"AWS_ENDPOINT_URL": url, "awsAnonymousCredential": "true"}
        for version, body in bodies.items():
            pull_to(
                f"s3://bucket/w.bin?versionId={version}", tmp_path / version, env=env, settings=Settings()
            )
            assert tree_of(tmp_path / version) == {"w.bin": body}
        with pytest.raises(Absent):
            resolve("s3://bucket/w.bin?versionId=v3", env)


def test_temporary_keys_are_looked_up_again_for_each_request(
    server: Origin, bare: pytest.MonkeyPatch
) -> None:
    """Keys of a role end: what is signed later is signed with what holds then."""
    source = S3Source(server.env)
    listing = source.resolve(server.uri)
    first, second = (source.request(listing, listing.files[0]).headers for _ in range(2))
    assert set(first) == set(second) and "Authorization" in first


class serving:
    """A loopback server for one `with`; yields its address."""

    def __init__(self, answer: object) -> None:
        self._server = FileServer(answer, host="127.0.0.1", port=0)  # type: ignore[arg-type]

    def __enter__(self) -> str:
        self._server.start()
        return self._server.url

    def __exit__(self, *_: object) -> None:
        self._server.stop()
