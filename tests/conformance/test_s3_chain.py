"""Who one is at S3, the rest of botocore's chain: programs, containers, single sign-on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import Denied
from forebay.sources.table import resolve
from tests.conformance.origins import Origin
from tests.conformance.test_http import serving
from tests.conformance.test_s3 import at, bare, keys_of, server

__all__ = ["bare", "server"]  # fixtures
SOON = "2999-01-01T00:00:00Z"


def test_a_program_that_a_profile_names_gives_keys(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, secret = keys_of(server)
    told = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "Expiration": SOON}
    (tmp_path / "keys.json").write_text(json.dumps(told))
    (tmp_path / "config").write_text(f"[profile models]\ncredential_process = cat {tmp_path}/keys.json\n")
    assert resolve(server.uri, {**at(server), "AWS_PROFILE": "models"})[1].files


@pytest.mark.parametrize("way", ["ECS", "EKS pod identity"])
def test_a_containers_role_gives_keys(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    key, secret = keys_of(server)
    wanted = {"ECS": "token-of-the-task", "EKS pod identity": "token-of-the-pod"}[way]

    def agent(request: Request) -> Reply:
        if request.target != "/v1/credentials" or request.headers.get("authorization") != wanted:
            return Reply(401)
        return Reply.json(
            200, {"AccessKeyId": key, "SecretAccessKey": secret, "Token": "", "Expiration": SOON}
        )

    with serving(agent) as far:
        bare.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{far.url}/v1/credentials")
        if way == "ECS":
            bare.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", wanted)
        else:
            (tmp_path / "token").write_text(wanted)
            bare.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert resolve(server.uri, at(server))[1].files


def test_a_single_sign_on_gives_keys_until_it_ends(
    server: Origin, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `aws sso login` left in HOME is exchanged at the portal; a login that has ended is said."""
    key, secret = keys_of(server)

    def portal(request: Request) -> Reply:
        assert request.headers.get("x-amz-sso_bearer_token") == "sso-1"
        keys = {
            "accessKeyId": key,
            "secretAccessKey": secret,
            "sessionToken": "",
            "expiration": 32503680000000,
        }
        return Reply.json(200, {"roleCredentials": keys})

    start = "https://company.awsapps.example/start"
    cache = tmp_path / "home" / ".aws" / "sso" / "cache" / f"{hashlib.sha1(start.encode()).hexdigest()}.json"
    cache.parent.mkdir(parents=True)
    (tmp_path / "config").write_text(f"[profile models]\nsso_start_url = {start}\nsso_region = us-east-1\n"
                                     "sso_account_id = 123456789012\nsso_role_name = reader\n")  # fmt: skip
    with serving(portal) as far:
        bare.setenv("AWS_ENDPOINT_URL_SSO", far.url)
        bare.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache.parent))
        login = {"startUrl": start, "region": "us-east-1", "accessToken": "sso-1", "expiresAt": SOON}
        cache.write_text(json.dumps(login))
        assert resolve(server.uri, {**at(server), "AWS_PROFILE": "models"})[1].files
        cache.write_text(json.dumps({**login, "expiresAt": "2001-01-01T00:00:00Z"}))
        with pytest.raises(Denied, match="no credentials"):
            resolve(server.uri, {**at(server), "AWS_PROFILE": "models"})
