"""Who one is at each cloud, every way to say it, and objects that change between listing and reading."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.engines.fileserver import FileServer, Reply
from forebay.errors import Absent, Clash, Damaged, Denied, ForebayError, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources.table import resolve, source_for
from forebay.sources.wire.client import Client
from forebay.sources.wire.client import Reply as Answer
from forebay.sources.wire.heads import Head
from tests.conformance.clouds import AZURITE_KEY, _in_an_hour, service_account
from tests.conformance.origins import write_tree
from tests.conformance.test_sources import tree_of
from tests.fakes.clouds import FakeAzure, FakeGcs, blob_sas

TREE = {"a.bin": b"a" * 70_000, "b/c.json": b"{}", "empty": b""}


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[FakeGcs]:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)
    with FakeGcs(tmp_path / "cloud") as cloud:
        assert isinstance(cloud, FakeGcs)
        yield cloud


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[FakeAzure]:
    write_tree(tmp_path / "cloud" / "models" / "tiny", TREE)
    with FakeAzure(tmp_path / "cloud", AZURITE_KEY, frozenset({"token-1"})) as cloud:
        assert isinstance(cloud, FakeAzure)
        yield cloud


def pulled(uri: str, env: dict[str, str], out: Path) -> dict[str, bytes]:
    pull_to(uri, out, env=env, settings=Settings())
    return tree_of(out)


# --- Cloud Storage ---


def test_a_public_bucket_needs_nobody(gcs: FakeGcs, tmp_path: Path) -> None:
    assert pulled("gs://models/tiny", {"STORAGE_EMULATOR_HOST": gcs.server.url}, tmp_path / "out") == TREE
    assert gcs.tokens_made == 0


def test_the_machines_own_account_and_a_users_login_work_too(
    gcs: FakeGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcs.accounts["somebody"] = service_account(tmp_path / "key.json", "unused")
    monkeypatch.setattr("forebay.sources.gcs.DEFAULT", gcs.server.url)
    env = {"GCE_METADATA_HOST": gcs.server.url.removeprefix("http://"), "HTTP_PROXY": "http://127.0.0.1:1",
           "NO_PROXY": "127.0.0.1"}  # fmt: skip
    assert pulled("gs://models/tiny", env, tmp_path / "out") == TREE
    login = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r-1",
             "token_uri": f"{gcs.server.url}/token"}  # fmt: skip
    (tmp_path / "application_default_credentials.json").write_text(json.dumps(login))
    env = {"CLOUDSDK_CONFIG": str(tmp_path)}
    assert pulled("gs://models/tiny", env, tmp_path / "out2") == TREE
    login["refresh_token"] = "wrong0000"
    (tmp_path / "application_default_credentials.json").write_text(json.dumps(login))
    with pytest.raises(Denied, match="make a new one"):
        resolve("gs://models/tiny", env)


def test_a_token_that_ends_in_the_middle_is_renewed(gcs: FakeGcs, tmp_path: Path) -> None:
    gcs.accounts["puller@p.example"] = service_account(tmp_path / "key.json", f"{gcs.server.url}/token")
    env = {
        "STORAGE_EMULATOR_HOST": gcs.server.url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
    }
    gcs.revoke_before_media = 2
    assert pulled("gs://models/tiny", env, tmp_path / "out") == TREE
    assert gcs.tokens_made >= 2


def test_an_object_that_is_replaced_is_never_mixed_with_the_listed_one(gcs: FakeGcs, tmp_path: Path) -> None:
    env = {"STORAGE_EMULATOR_HOST": gcs.server.url}
    _, listing = resolve("gs://models/tiny", env)
    victim = gcs.root / "models" / "tiny" / "a.bin"
    victim.write_bytes(b"b" * 70_000)
    os.utime(victim, ns=(1, 1))
    request = source_for("gs://models/tiny", env).request(listing, listing.files[0])
    client = Client(env)
    assert client.get(request.url, request.headers).status == 404
    client.close()
    with pytest.raises(Absent, match="changed"):
        resolve("gs://models/tiny", env, listing.revision)


def test_one_generation_can_be_named(gcs: FakeGcs, tmp_path: Path) -> None:
    env = {"STORAGE_EMULATOR_HOST": gcs.server.url}
    at = FakeGcs.generation(gcs.root / "models" / "tiny" / "a.bin")
    assert pulled(f"gs://models/tiny/a.bin#{at}", env, tmp_path / "out") == {"a.bin": TREE["a.bin"]}
    with pytest.raises(Absent):
        resolve("gs://models/tiny/a.bin#12345", env)


def test_an_object_that_is_stored_packed_comes_unpacked(gcs: FakeGcs, tmp_path: Path) -> None:
    gcs.encoded.add("tiny/a.bin")
    assert pulled("gs://models/tiny", {"STORAGE_EMULATOR_HOST": gcs.server.url}, tmp_path / "out") == TREE


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"type": "external_account"}', '{"type": "service_account"}']
)
def test_a_key_file_that_cannot_be_used_is_invalid(gcs: FakeGcs, tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    env = {
        "STORAGE_EMULATOR_HOST": gcs.server.url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
    }
    with pytest.raises(Invalid):
        resolve("gs://models/tiny", env)


# --- Azure ---


def said(azure: FakeAzure, **more: str) -> dict[str, str]:
    return {"AZURE_STORAGE_ENDPOINT": azure.url, **more}


def test_every_way_to_say_who_one_is_at_azure(azure: FakeAzure, tmp_path: Path) -> None:
    sas = blob_sas(azure.account, AZURITE_KEY, "models", ends=_in_an_hour())
    (tmp_path / "federated").write_text("assertion-1\n")
    azure.secrets["tenant-1"]["client-2"] = "assertion-1"
    at_host = {"AZURE_AUTHORITY_HOST": azure.server.url}
    kserve = {"AZ_TENANT_ID": "tenant-1", "AZ_CLIENT_ID": "client-1", "AZ_CLIENT_SECRET": "sesame"}
    workload = {"AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_ID": "client-2",
                "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated")}  # fmt: skip
    connection = f"AccountName={azure.account};AccountKey={AZURITE_KEY};BlobEndpoint={azure.url}"
    ways: dict[str, dict[str, str]] = {
        "key": said(azure, AZURE_STORAGE_ACCESS_KEY=AZURITE_KEY),
        "connection string": {"AZURE_STORAGE_CONNECTION_STRING": connection},
        "signature": said(azure, AZURE_STORAGE_SAS_TOKEN="?" + sas),
        "token": said(azure, AZURE_ACCESS_TOKEN="token-1"),
        "client secret": said(azure, **at_host, **kserve),
        "AZURE names": said(azure, **at_host, **{n.replace("AZ_", "AZURE_"): v for n, v in kserve.items()}),
        "federated": said(azure, **at_host, **workload),
    }
    for place, (way, env) in enumerate(ways.items()):
        assert pulled("azure://models/tiny", env, tmp_path / str(place)) == TREE, way
    assert pulled(f"az://models/tiny?{sas}", said(azure), tmp_path / "link") == TREE
    for wrong in ({**kserve, "AZ_CLIENT_SECRET": "wrong0000"}, {}):
        with pytest.raises(Denied) as caught:
            resolve("az://models/tiny", said(azure, **at_host, **wrong))
        assert "wrong0000" not in caught.value.message


def test_a_public_container_needs_nobody_and_folders_are_no_files(azure: FakeAzure, tmp_path: Path) -> None:
    azure.public.add("models")
    azure.folders.add("tiny/b")
    assert pulled("az://models/tiny", said(azure), tmp_path / "out") == TREE
    assert pulled("az://models/tiny/a.bin", said(azure), tmp_path / "one") == {"a.bin": TREE["a.bin"]}


def test_one_blob_can_be_read_where_nobody_may_list(azure: FakeAzure, tmp_path: Path) -> None:
    azure.public.add("models")
    azure.unlisted.add("models")
    assert pulled("az://models/tiny/a.bin", said(azure), tmp_path / "out") == {"a.bin": TREE["a.bin"]}
    with pytest.raises(Absent, match="set credentials"):
        resolve("az://models/tiny", said(azure))


def test_a_blob_that_changes_after_it_was_listed_is_a_clash(azure: FakeAzure, tmp_path: Path) -> None:
    azure.public.add("models")
    times = itertools.count(1)
    victim = azure.root / "models" / "tiny" / "a.bin"
    azure.after_list = lambda: os.utime(victim, ns=(1, next(times)))
    with pytest.raises(Clash):
        pulled("az://models/tiny/a.bin", said(azure), tmp_path / "out")


def test_an_address_of_the_service_is_not_taken_for_a_web_server() -> None:
    uri = "https://acct.blob.core.windows.net/models/a%20b/c?sv=1&sig=sesame"
    source = source_for(uri, {})
    assert source.scheme == "az"
    from forebay.sources.azureauth import place_of

    place = place_of(uri, {})
    assert (place.endpoint, place.account, place.container, place.prefix) == (
        "https://acct.blob.core.windows.net", "acct", "models", "a b/c")  # fmt: skip
    assert "sesame" not in repr(place) and place.is_public_cloud
    assert source_for("https://example.org/models/a", {}).scheme == "https"


BAD_KEY = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_ACCESS_KEY": "%"}


@pytest.mark.parametrize(
    ("env", "error"), [({}, Invalid), ({"AZURE_STORAGE_ACCOUNT": "No-Account"}, Invalid), (BAD_KEY, Denied)]
)
def test_what_is_missing_is_said_before_anyone_is_asked(
    env: dict[str, str], error: type[ForebayError]
) -> None:
    with pytest.raises(error):
        resolve("az://models/tiny", env)


# --- a registry that lies; real ones are in test_registry.py ---


def test_a_manifest_that_is_not_the_one_its_digest_names_is_damaged() -> None:
    body = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    server = FileServer(lambda _: Reply(200, {}, body), host="127.0.0.1", port=0)
    server.start()
    host = server.url.removeprefix("http://")
    with pytest.raises(Damaged):
        resolve(f"oci://{host}/a/b@sha256:{'0' * 64}", {"KSERVE_OCI_INSECURE_REGISTRY": "true"})
    server.stop()


def test_a_registry_over_tls_gets_no_login_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    challenge = {"www-authenticate": 'Bearer realm="http://elsewhere.example/token",service="s"'}
    said = Answer(Head(401, challenge), b"", "https://r.example", Head(401, challenge))
    monkeypatch.setattr("forebay.sources.wire.client.Client.get", lambda *_, **__: said)
    with pytest.raises(Denied, match="plain http"):
        resolve("oci://r.example/a/b", {})
