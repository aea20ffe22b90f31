"""Addresses as KServe's storage initializer reads them: web servers, Azure's names, the Hub's."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import Invalid, Unavailable
from forebay.pull import Settings, pull_to
from forebay.sources.azureauth import place_of
from forebay.sources.hf import parse, token_of
from forebay.sources.table import resolve, source_for
from tests.conformance.test_http import ranged, serving
from tests.conformance.test_like_kserve_archives import FILES, packed
from tests.conformance.test_sources import tree_of

PAGE = {"Content-Type": "text/html; charset=utf-8", "ETag": '"p"'}


def web(body: bytes) -> object:
    """A page at /page.bin and wherever a folder is named, `body` elsewhere; /post.bin lies to HEAD."""

    def answer(request: Request) -> Reply:
        path = urlsplit(request.target).path
        if (
            path in ("/page.bin", "/page.html")
            or path.endswith("/")
            or request.method + path == "HEAD/post.bin"
        ):
            return ranged(request, b"<html>log in</html>", PAGE)
        return ranged(request, body, {"ETag": '"b"', "Content-Type": "application/octet-stream"})

    return answer


def test_a_page_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """A login's page became model.bin."""
    with serving(web(b"weights")) as server:
        for place in ("/page.bin", "/page.bin?sig=1"):
            with pytest.raises(Unavailable, match="web page"):
                resolve(server.url + place, {})
        for place in ("/", "/models/", ""):
            with pytest.raises(Invalid, match="names a folder"):
                resolve(server.url + place, {})
        for name, body in (("page.html", b"<html>log in</html>"), ("post.bin", b"weights")):
            pull_to(f"{server.url}/{name}", tmp_path / name, env={}, settings=Settings())
            assert tree_of(tmp_path / name) == {name: body}


@pytest.mark.parametrize(("place", "unpacked"), [
    ("/get?file=model.tar.gz", True), ("/get?path=a/b/model.tar.gz", True), ("/get?model.tar.gz", True),
    ("/get?file=model.bin", False), ("/get?file=model.tar.gz&sig=1", False),
    ("/w.bin?name=model.tar.gz", False), ("/model.tar.gz?sig=x.bin", True),
])  # fmt: skip
def test_an_archive_may_be_named_behind_the_question_mark(tmp_path: Path, place: str, unpacked: bool) -> None:
    body = packed(tmp_path / "model.tar.gz", "w:gz").read_bytes()
    with serving(web(body)) as server:
        pull_to(server.url + place, tmp_path / "out", env={}, settings=Settings())
    assert (tree_of(tmp_path / "out") == FILES) is unpacked


@pytest.mark.parametrize(("host", "account"), [
    ("acct.blob.core.windows.net", "acct"), ("acct-secondary.blob.core.windows.net", "acct"),
    ("acct.z1.blob.storage.azure.net", "acct"), ("acct.z42.blob.storage.azure.net", "acct"),
    ("ACCT.blob.core.chinacloudapi.cn", "acct"),
])  # fmt: skip
def test_every_address_of_an_account_is_azures(host: str, account: str) -> None:
    """Those in a DNS zone and those of the copy in another region were taken for plain web servers."""
    uri = f"https://{host}/models/tiny"
    place = place_of(uri, {})
    assert source_for(uri, {}).scheme == "az"
    assert (place.account, place.endpoint, place.prefix) == (account, f"https://{host.lower()}", "tiny")


@pytest.mark.parametrize(("uri", "says"), [
    ("https://acct.z1.file.storage.azure.net/share/m", "file shares"),
    ("https://acct.z1.dfs.storage.azure.net/c/m", "blob"),
    ("https://github.com/org/repo.git", "not cloned"), ("http://h.example/repo.git/", "not cloned"),
    ("modelscope://org/model", "hf://"),
])  # fmt: skip
def test_what_kserve_reads_and_we_do_not_is_refused_with_the_way_out(uri: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        resolve(uri, {})


@pytest.mark.parametrize("uri", ["https://a.github.io/w.bin", "https://h.example/w.bin?x=repo.git"])
def test_what_only_looks_like_a_repository_is_a_file(uri: str) -> None:
    assert source_for(uri, {}).scheme == "https"


def test_no_revision_after_the_colon_is_the_default_one() -> None:
    assert parse("hf://acme/tiny:") == ("acme/tiny", "")


def test_a_token_is_looked_for_as_the_hubs_client_does(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_file00000\n")
    env = {"HF_TOKEN": " \n", "HF_HOME": str(tmp_path)}
    found = token_of(env)
    assert found is not None and found.reveal() == "hf_file00000"
    assert token_of({**env, "HF_TOKEN": "hf_t0ken000", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}) is None
