"""One suite for every source: a name becomes an immutable listing, and its bytes come as they are."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from forebay.errors import Absent, Clash, Denied, ForebayError, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources.table import resolve
from tests.conformance import clouds
from tests.conformance.origins import Origin, file_origin, http_origin, hub_origin, s3_origin

REFEREE = pytest.mark.referee


def _needs(variable: str, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not clouds.program(variable, name), reason=f"no {name}: install it, or name it in {variable}"
    )


ORIGINS = {
    "hf": (hub_origin,),
    "http": (http_origin,),
    "http-nginx": (clouds.nginx_origin, _needs("NGINX", "nginx")),
    "file": (file_origin,),
    "s3": (s3_origin, _needs("NANIO", clouds.NANIO)),
    "s3-seaweedfs": (clouds.seaweed_origin, REFEREE, _needs("WEED", "weed")),
    "oci": (clouds.oci_origin, _needs("DOCKER_REGISTRY", "docker-registry")),
    "gs": (clouds.gcs_origin,),
    "gs-fake-gcs-server": (
        clouds.fake_gcs_server_origin,
        REFEREE,
        _needs("FAKE_GCS_SERVER", "fake-gcs-server"),
    ),
    "az": (clouds.azure_origin,),
    "az-azurite": (clouds.azurite_origin, REFEREE, _needs("AZURITE_BLOB", "azurite-blob")),
}


@pytest.fixture(scope="module", params=[pytest.param(n, marks=m) for n, (_, *m) in ORIGINS.items()])
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    root = tmp_path_factory.mktemp("origin") / "root"
    root.mkdir()
    with ORIGINS[request.param][0](root) as origin:
        yield origin


def copying(origin: Origin) -> dict[str, str]:
    return {**origin.env, "FOREBAY_FILE_COPY": "1"}


def tree_of(dest: Path) -> dict[str, bytes]:
    found = (p for p in dest.rglob("*") if p.is_file() and ".forebay-parts" not in p.parts)
    return {p.relative_to(dest).as_posix(): p.read_bytes() for p in found}


def test_a_name_is_the_same_listing_each_time(origin: Origin) -> None:
    _, first = resolve(origin.uri, origin.env)
    _, second = resolve(origin.uri, origin.env)
    assert first == second and first.revision
    assert {f.path: f.size for f in first.files} == {p: len(b) for p, b in origin.tree.items()}
    _, pinned = resolve(origin.uri, origin.env, first.revision)
    assert pinned.files == first.files


def test_promised_digests_are_those_of_the_bytes(origin: Origin) -> None:
    _, listing = resolve(origin.uri, origin.env)
    for file in listing.files:
        body = origin.tree[file.path]
        assert file.sha256 in ("", hashlib.sha256(body).hexdigest())
        assert file.git_sha1 in ("", hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest())
        assert file.md5 in ("", hashlib.md5(body).hexdigest())


def test_every_byte_arrives_empty_files_and_odd_names_too(origin: Origin, tmp_path: Path) -> None:
    report = pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=Settings())
    assert tree_of(tmp_path / "out") == origin.tree
    assert report.bytes_network == sum(map(len, origin.tree.values()))
    assert not list((tmp_path / "out" / ".forebay-parts").glob("*part*"))


def test_a_second_pull_moves_no_byte(origin: Origin, tmp_path: Path) -> None:
    pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=Settings())
    again = pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=Settings())
    assert (again.bytes_network, again.requests, again.files_had) == (0, 0, len(origin.tree))


def test_a_file_changed_by_hand_is_healed(origin: Origin, tmp_path: Path) -> None:
    pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=Settings())
    victim = tmp_path / "out" / "model-00001.safetensors"
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=Settings())
    assert tree_of(tmp_path / "out") == origin.tree


def test_small_pieces_and_cached_writes_give_the_same_bytes(origin: Origin, tmp_path: Path) -> None:
    settings = replace(Settings(), block_bytes=64 << 10, segment_bytes=256 << 10, small_bytes=0,
                       connections_start=6, direct_io=False)  # fmt: skip
    pull_to(origin.uri, tmp_path / "out", env=copying(origin), settings=settings)
    assert tree_of(tmp_path / "out") == origin.tree


def test_what_is_not_there_is_absent(origin: Origin) -> None:
    with pytest.raises(Absent) as caught:
        resolve(origin.absent, origin.env)
    assert "sesame" not in caught.value.message


def test_a_wrong_credential_is_denied_in_words(origin: Origin) -> None:
    if origin.env == origin.wrong_env:
        pytest.skip("this source knows no credentials")
    with pytest.raises(Denied) as caught:
        resolve(origin.uri, origin.wrong_env)
    assert "wrong0000" not in caught.value.message


def test_a_pinned_revision_that_is_gone_is_an_error_not_another_revision(origin: Origin) -> None:
    with pytest.raises((Absent, Clash)):
        resolve(origin.uri, origin.env, "0123456789012345678901234567890123456789")


def test_patterns_choose_files(origin: Origin, tmp_path: Path) -> None:
    env = {**copying(origin), "STORAGE_ALLOW_PATTERNS": json.dumps(["*.safetensors", "*.json"]),
           "STORAGE_IGNORE_PATTERNS": "config.json"}  # fmt: skip
    pull_to(origin.uri, tmp_path / "out", env=env, settings=Settings())
    wanted = {p for p in origin.tree if p.endswith((".safetensors", ".json")) and p != "config.json"}
    assert set(tree_of(tmp_path / "out")) == wanted


NOBODYS = ["", "nonsense", "ftp://x/y", "pvc://claim/x", "hf://only", "hf://a/b/c", "hf://../x", "s3:///x",
           "file://host/x", "http:///x", "https://[/x", "gs://", "gs://B/x", "az://x", "oci://h.example/UP:v",
           "oci://h.example/a@sha256:12", "oci://", "https://acct.blob.core.windows.net/"]  # fmt: skip


@pytest.mark.parametrize("uri", NOBODYS)
def test_a_uri_that_nobody_can_pull_is_invalid(uri: str) -> None:
    with pytest.raises(Invalid):
        resolve(uri, {})


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    body = tmp_path / "tree"
    (body / "a").mkdir(parents=True)
    (body / "a" / "w.bin").write_bytes(b"w" * 5000)
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "gztar", body))
    for _ in range(2):
        report = pull_to(f"file://{archive}", tmp_path / "out", env={}, settings=Settings())
        assert tree_of(tmp_path / "out") == {"a/w.bin": b"w" * 5000}
    assert report.bytes_network == 0


def test_a_local_folder_is_linked_not_copied(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w.bin").write_bytes(b"1")
    pull_to(f"file://{tmp_path}/m", tmp_path / "out", env={}, settings=Settings())
    assert (tmp_path / "out" / "w.bin").is_symlink() and (tmp_path / "out" / "w.bin").read_bytes() == b"1"


def test_the_hubs_own_client_gets_the_same_tree_from_our_hub(tmp_path: Path) -> None:
    """Holds hub and adapter to the original: huggingface_hub lists and downloads from the same server."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    (tmp_path / "root").mkdir()
    with hub_origin(tmp_path / "root") as origin:
        endpoint, token = origin.env["HF_ENDPOINT"], origin.env["HF_TOKEN"]
        api = HfApi(endpoint=endpoint, token=token)
        _, listing = resolve(origin.uri, origin.env)
        assert api.model_info("acme/tiny").sha == listing.revision
        theirs = {
            f.path: f.size for f in api.list_repo_tree("acme/tiny", recursive=True) if hasattr(f, "size")
        }
        assert theirs == {f.path: f.size for f in listing.files}
        for path in ("model-00001.safetensors", "config.json"):
            got = hf_hub_download(
                "acme/tiny", path, endpoint=endpoint, token=token, cache_dir=tmp_path / "hfcache"
            )
            assert Path(got).read_bytes() == origin.tree[path]
        # The public hub tells everyone what is in a gated repository; only the files are refused.
        assert HfApi(endpoint=endpoint, token=False).model_info("acme/tiny").gated == "manual"
        with pytest.raises(GatedRepoError):
            hf_hub_download(
                "acme/tiny", "config.json", endpoint=endpoint, token=False, cache_dir=tmp_path / "x"
            )
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("acme/none")
        with pytest.raises(RevisionNotFoundError):
            api.model_info("acme/tiny", revision="v9")


@pytest.mark.parametrize(("env", "error", "text"), [
    ({"HF_TOKEN": ""}, Denied, "no token was given"),
    ({"HF_TOKEN": "hf_wrong0000"}, Denied, "gated"),
])  # fmt: skip
def test_gated_repositories_say_what_to_do(
    tmp_path: Path, env: dict[str, str], error: type[ForebayError], text: str
) -> None:
    (tmp_path / "root").mkdir()
    with hub_origin(tmp_path / "root") as origin, pytest.raises(error, match=text):
        resolve(origin.uri, {**origin.env, **env})


def test_a_renamed_repository_is_followed_with_the_token(tmp_path: Path) -> None:
    from forebay.engines.hub import Hub, HubSettings
    from tests.conformance.origins import TREE, write_tree

    write_tree(tmp_path / "new-org" / "tiny", TREE)
    settings = HubSettings(tmp_path, private=frozenset({"new-org/tiny"}), tokens=frozenset({"hf_t0ken000"}),
                           renamed={"old-org/tiny": "new-org/tiny"})  # fmt: skip
    with Hub(settings) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_t0ken000"}
        pull_to("hf://old-org/tiny", tmp_path / "out", env=env, settings=Settings())
    assert tree_of(tmp_path / "out") == TREE
