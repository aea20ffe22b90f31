"""Identities that live with somebody else: federation, impersonation, an app's own; and the right to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import Denied, ForebayError, Invalid
from forebay.sources.table import resolve
from tests.conformance.clouds import AZURITE_KEY, service_account
from tests.conformance.origins import write_tree
from tests.conformance.test_clouds import TREE, pulled
from tests.conformance.test_http import serving
from tests.fakes.clouds import FakeAzure, FakeGcs

EMAIL = "puller@p.iam.gserviceaccount.com"


class TokenService:
    """Google's token exchange (RFC 8693), account impersonation, and a place that hands out subject tokens.

    Asserts what Google's pages say of the requests; `cloud` believes what comes out.
    """

    def __init__(self, cloud: FakeGcs) -> None:
        self.cloud, self.asked = cloud, list[str]()

    def __call__(self, request: Request) -> Reply:
        path = urlsplit(request.target).path
        self.asked.append(path)
        if path == "/subject":
            good = request.headers.get("metadata") == "True"
            return Reply.json(200, {"jwt": "subject-1"}) if good else Reply(403)
        if path.endswith(f"/{EMAIL}:generateAccessToken"):
            body = json.loads(request.body)
            assert body["lifetime"].endswith("s") and "devstorage" in body["scope"][0]
            if request.headers.get("authorization") != "Bearer federated-1":
                return Reply(403, {}, request.body)
            return Reply.json(200, {"accessToken": self._token(), "expireTime": "2999-01-01T00:00:00Z"})
        form = {n: v[0] for n, v in parse_qs(request.body.decode()).items()}
        if path == "/user":
            good = form.get("refresh_token") == "r-1"
            return Reply.json(200, {"access_token": "federated-1"}) if good else Reply(400)
        assert form["grant_type"].endswith(":token-exchange") and form["audience"] == "//iam/pool"
        assert form["subject_token_type"].endswith(":jwt")
        if form["subject_token"] != "subject-1":
            return Reply(400, {}, request.body)
        alone = "devstorage" in form["scope"]
        return Reply.json(
            200, {"access_token": self._token() if alone else "federated-1", "expires_in": 3599}
        )

    def _token(self) -> str:
        self.cloud.tokens = {"storage-1"}
        return "storage-1"


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[FakeGcs]:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)
    nobody = service_account(tmp_path / "unused.json", "unused")
    with FakeGcs(tmp_path / "cloud", {"nobody": nobody}) as cloud:
        assert isinstance(cloud, FakeGcs)
        yield cloud


@pytest.mark.parametrize("way", ["file", "json file", "url", "impersonated", "user impersonates"])
def test_a_token_of_somebody_elses_is_exchanged(gcs: FakeGcs, tmp_path: Path, way: str) -> None:
    service = TokenService(gcs)
    (tmp_path / "token").write_text("subject-1\n")
    (tmp_path / "token.json").write_text('{"jwt": "subject-1"}')
    as_json = {"type": "json", "subject_token_field_name": "jwt"}
    with serving(service) as far:
        sources = {"json file": {"file": str(tmp_path / "token.json"), "format": as_json},
                   "url": {"url": f"{far.url}/subject", "headers": {"Metadata": "True"},
                           "format": as_json}}  # fmt: skip
        facts = {"type": "external_account", "audience": "//iam/pool", "token_url": f"{far.url}/v1/token",
                 "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                 "credential_source": sources.get(way, {"file": str(tmp_path / "token")})}  # fmt: skip
        other = f"{far.url}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
        if way == "impersonated":
            facts["service_account_impersonation_url"] = other
        if way == "user impersonates":
            login = {"type": "authorized_user", "client_id": "c", "client_secret": "s",
                     "refresh_token": "r-1", "token_uri": f"{far.url}/user"}  # fmt: skip
            facts = {"type": "impersonated_service_account", "source_credentials": login,
                     "service_account_impersonation_url": other}  # fmt: skip
        (tmp_path / "who.json").write_text(json.dumps(facts))
        env = {"STORAGE_EMULATOR_HOST": gcs.server.url,
               "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "who.json")}  # fmt: skip
        assert pulled("gs://models/tiny", env, tmp_path / "out") == TREE
    assert len(service.asked) == {"file": 1, "json file": 1}.get(way, 2)


@pytest.mark.parametrize(("change", "error", "says"), [
    ({"credential_source": {"file": "/nowhere"}}, Invalid, "check its mount"),
    ({"credential_source": {"environment_id": "aws1"}}, Invalid, "AWS"),
    ({"credential_source": {"executable": {"command": "x"}}}, Invalid, "executable"),
    ({"credential_source": None}, Invalid, "lacks something"),
    ({"wrong": True}, Denied, "check the pool"),
])  # fmt: skip
def test_a_federation_that_does_not_work_says_why(
    gcs: FakeGcs, tmp_path: Path, change: dict[str, object], error: type[ForebayError], says: str
) -> None:
    (tmp_path / "token").write_text("sesame-not-this-one" if "wrong" in change else "subject-1")
    with serving(TokenService(gcs)) as far:
        facts = {"type": "external_account", "audience": "//iam/pool", "token_url": f"{far.url}/v1/token",
                 "subject_token_type": "urn:x:jwt", "credential_source": {"file": str(tmp_path / "token")},
                 **change}  # fmt: skip
        (tmp_path / "who.json").write_text(json.dumps(facts))
        env = {"STORAGE_EMULATOR_HOST": gcs.server.url,
               "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "who.json")}  # fmt: skip
        with pytest.raises(error, match=says) as caught:
            resolve("gs://models/tiny", env)
    assert "sesame" not in caught.value.message


@pytest.mark.parametrize("url", [
    "https://sts.evil.example/v1/token", "http://sts.googleapis.com/v1/token", "https://googleapis.com.evil.example/",
    "https://evilgoogleapis.com/", "https://sts.googleapis.com@evil.example/", "https://evil.example/.googleapis.com",
])  # fmt: skip
def test_a_machines_token_goes_to_google_only(tmp_path: Path, url: str) -> None:
    """A tenant's credential file had any file and any address read, and what was there sent anywhere."""
    asked: list[str] = []

    def metadata(request: Request) -> Reply:
        asked.append(request.target)
        return Reply(200, {}, b"sesame")

    with serving(metadata) as far:
        facts = {"type": "external_account", "audience": "//iam/pool", "token_url": url,
                 "subject_token_type": "urn:x:jwt",
                 "credential_source": {"url": f"{far.url}/token"}}  # fmt: skip
        (tmp_path / "who.json").write_text(json.dumps(facts))
        with pytest.raises(Denied, match="not Google's"):
            resolve("gs://models/tiny", {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "who.json")})
    assert asked == []


def test_a_credential_file_does_not_carry_cached_files_away(gcs: FakeGcs, tmp_path: Path) -> None:
    """A tenant chooses what it names, and a download sees the copies of all."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "config.json").write_text("theirs")
    service = TokenService(gcs)
    with serving(service) as far:
        facts = {"type": "external_account", "audience": "//iam/pool", "token_url": f"{far.url}/v1/token",
                 "subject_token_type": "urn:x:jwt",
                 "credential_source": {"file": str(tmp_path / "cache" / "config.json")}}  # fmt: skip
        (tmp_path / "who.json").write_text(json.dumps(facts))
        env = {"STORAGE_EMULATOR_HOST": gcs.server.url, "FOREBAY_CACHE_ROOT": str(tmp_path / "cache"),
               "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "who.json")}  # fmt: skip
        with pytest.raises(Denied, match="in the cache itself"):
            resolve("gs://models/tiny", env)
    assert service.asked == []


def test_an_app_has_an_identity_of_its_own(tmp_path: Path) -> None:
    """App Service, Functions, Container Apps: an address and a header in the environment."""
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)

    def identity(request: Request) -> Reply:
        asked = {n: v[0] for n, v in parse_qs(urlsplit(request.target).query).items()}
        if (
            request.headers.get("x-identity-header") != "header-1"
            or asked["resource"] != "https://storage.azure.com/"
        ):
            return Reply(401)
        return Reply.json(
            200, {"access_token": "token-1", "expires_on": "4102444800", "token_type": "Bearer"}
        )

    with (
        FakeAzure(tmp_path / "cloud", AZURITE_KEY, frozenset({"token-1"})) as azure,
        serving(identity) as app,
    ):
        assert isinstance(azure, FakeAzure)
        env = {"AZURE_STORAGE_ENDPOINT": azure.url, "IDENTITY_ENDPOINT": f"{app.url}/msi/token",
               "IDENTITY_HEADER": "header-1"}  # fmt: skip
        assert pulled("az://models/tiny", env, tmp_path / "out") == TREE
        with pytest.raises(Denied, match="assign one"):
            resolve("az://models/tiny", {**env, "IDENTITY_HEADER": "wrong0000"})


def test_a_machine_has_an_identity_by_its_client_id(tmp_path: Path) -> None:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)

    def metadata(request: Request) -> Reply:
        good = request.headers.get("metadata") == "true" and "client_id=client-9" in request.target
        return Reply.json(200, {"access_token": "token-1", "expires_in": "86399"}) if good else Reply(400)

    with (
        FakeAzure(tmp_path / "cloud", AZURITE_KEY, frozenset({"token-1"})) as azure,
        serving(metadata) as far,
    ):
        assert isinstance(azure, FakeAzure)
        env = {"AZURE_STORAGE_ENDPOINT": azure.url, "AZURE_CLIENT_ID": "client-9",
               "AZURE_POD_IDENTITY_AUTHORITY_HOST": far.url, "HTTP_PROXY": "http://127.0.0.1:1",
               "NO_PROXY": azure.url.split("/")[2]}  # fmt: skip
        assert pulled("az://models/tiny", env, tmp_path / "out") == TREE


@pytest.mark.parametrize(("uri", "says"), [
    ("https://acct.file.core.windows.net/share/model", "pvc://"),
    ("https://acct.dfs.core.windows.net/models/a", ".blob."),
])  # fmt: skip
def test_other_services_of_azure_are_refused_with_the_way_out(uri: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        resolve(f"{uri}?sig=sesame", {})


def listing_only(cloud: FakeGcs | FakeAzure, is_list: Callable[[Request], bool]) -> None:
    """From now on the cloud lists for everyone, and refuses every object."""
    inner = cloud._answer

    def answer(request: Request) -> Reply:
        return inner(request) if is_list(request) else Reply(403, {"x-ms-error-code": "AuthorizationFailure"})

    cloud.server._answer = answer  # type: ignore[attr-defined]


def test_who_may_list_a_bucket_but_not_read_it_is_denied_when_it_is_resolved(tmp_path: Path) -> None:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)
    with FakeGcs(tmp_path / "cloud") as gcs:
        assert isinstance(gcs, FakeGcs)
        listing_only(gcs, lambda request: urlsplit(request.target).path.endswith("/o"))
        with pytest.raises(Denied):
            resolve("gs://models/tiny", {"STORAGE_EMULATOR_HOST": gcs.server.url})


def test_who_may_list_a_container_but_not_read_it_is_denied_when_it_is_resolved(tmp_path: Path) -> None:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)
    with FakeAzure(tmp_path / "cloud", AZURITE_KEY) as azure:
        assert isinstance(azure, FakeAzure)
        azure.public.add("models")
        listing_only(azure, lambda request: "comp=list" in request.target)
        with pytest.raises(Denied):
            resolve("az://models/tiny", {"AZURE_STORAGE_ENDPOINT": azure.url})
