"""Plain web servers and the hub: who one is there, addresses that end, and files that live elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.engines.fileserver import FileServer, Reply, Request, byte_range
from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.pull import Settings, pull_to
from forebay.sources.http import HttpSource
from forebay.sources.table import resolve
from tests.conformance.test_sources import tree_of

BODY = bytes(range(251)) * 40_000
COMMIT = "c" * 40


@contextmanager
def serving(answer: object, host: str = "127.0.0.1") -> Iterator[FileServer]:
    server = FileServer(answer, host=host, port=0)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ranged(request: Request, body: bytes, headers: dict[str, str]) -> Reply:
    status, start, end = byte_range(request.headers.get("range", ""), len(body))
    if status == 206:
        headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
    return Reply(status, headers, body[start:end])


@pytest.mark.parametrize("moved", [False, True])
def test_a_login_page_is_not_the_file(tmp_path: Path, moved: bool) -> None:
    """Networks of hotels, stores behind a login and the hub's `blob` addresses answer so, with 200."""
    page = b"<html>please log in</html>"

    def answer(request: Request) -> Reply:
        if moved and request.target != "/login":
            return Reply(302, {"Location": "/login"})
        return Reply(200, {"Content-Type": "Text/HTML; charset=utf-8"}, page)

    with serving(answer) as server:
        with pytest.raises(Unavailable, match=r"is a web page where w\.bin was expected"):
            pull_to(f"{server.url}/w.bin", tmp_path / "out", env={}, settings=Settings())
        assert tree_of(tmp_path / "out") == {}
        if not moved:
            pull_to(f"{server.url}/index.html", tmp_path / "out", env={}, settings=Settings())
            assert tree_of(tmp_path / "out") == {"index.html": page}


def test_a_page_with_the_digest_of_the_file_is_the_file(tmp_path: Path) -> None:
    """Some servers call everything text/html; a promise says more."""
    told = {"Content-Type": "text/html", "X-Checksum-Sha256": hashlib.sha256(BODY).hexdigest()}
    with serving(lambda request: ranged(request, BODY, told)) as server:
        pull_to(f"{server.url}/w.bin", tmp_path / "out", env={}, settings=Settings())
    assert tree_of(tmp_path / "out") == {"w.bin": BODY}


@pytest.mark.parametrize(("wanted", "value"), [
    ({"authorization": "Bearer sesame"}, json.dumps({"Authorization": "Bearer sesame"})),
    ({"x-api-key": "sesame", "x-tenant": "a b"}, json.dumps({"X-Api-Key": "sesame", "X-Tenant": "a b"})),
    ({"authorization": "Bearer sesame", "x-tenant": "a"}, "Authorization: Bearer sesame\nX-Tenant: a\n"),
])  # fmt: skip
def test_headers_of_a_host_are_sent_to_that_host(tmp_path: Path, wanted: dict[str, str], value: str) -> None:
    """KServe's secret with `https-host` and `headers` becomes the variable `<host>-headers`."""

    def answer(request: Request) -> Reply:
        fits = all(request.headers.get(name) == text for name, text in wanted.items())
        return ranged(request, BODY, {"ETag": '"1"'}) if fits else Reply(403)

    with serving(answer) as server:
        uri = f"{server.url}/w.bin"
        with pytest.raises(Denied):
            resolve(uri, {"localhost-headers": value})
        pull_to(uri, tmp_path / "out", env={"127.0.0.1-headers": value}, settings=Settings())
    assert tree_of(tmp_path / "out") == {"w.bin": BODY}


def test_a_password_in_the_address_is_used_and_shown_nowhere(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        good = request.headers.get("authorization") == "Basic bWU6c2VzYW1l"
        return ranged(request, BODY, {"ETag": '"1"'}) if good else Reply(401)

    with serving(answer) as server:
        host = server.url.removeprefix("http://")
        _, listing = resolve(f"http://me:sesame@{host}/w.bin", {})
        assert "sesame" not in listing.uri
        pull_to(f"http://me:sesame@{host}/w.bin", tmp_path / "out", env={}, settings=Settings())
        with pytest.raises(Denied) as caught:
            resolve(f"http://me:wrong0000@{host}/w.bin", {})
    assert "wrong0000" not in caught.value.message and tree_of(tmp_path / "out") == {"w.bin": BODY}


SIGNATURES = [
    ("sig=first0000", "sig=second"),
    ("X-Amz-Date=1&X-Amz-Expires=9&X-Amz-Signature=first0000",
     "X-Amz-Date=2&X-Amz-Expires=9&X-Amz-Signature=second"),
    ("part=a&md5=first0000&expires=1", "part=a&md5=second&expires=2"),
    ("Expires=1&Policy=a&Signature=first0000&Key-Pair-Id=K",
     "Expires=2&Policy=b&Signature=second&Key-Pair-Id=K"),
    ("sv=1&st=1&se=2&sr=b&sp=r&sig=first0000", "sv=1&st=2&se=3&sr=b&sp=r&sig=second"),
]  # fmt: skip


@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize(("first", "second"), SIGNATURES)
def test_a_signed_address_that_ends_midway_says_so_and_a_new_one_goes_on(
    tmp_path: Path, first: str, second: str, promised: bool
) -> None:
    """Nobody but the user can renew an address that the user signed: what came is kept for the next."""
    left, sent = [2], [0]

    def answer(request: Request) -> Reply:
        if "second" not in request.target and request.method == "GET":
            left[0] -= 1
            if left[0] < 0:
                return Reply(403, {}, b"Request has expired")
        digest = hashlib.sha256(BODY).hexdigest()
        promise = {"X-Checksum-Sha256": digest} if promised else {}
        reply = ranged(request, BODY, {"ETag": f'"{digest[:20]}"', **promise})
        assert isinstance(reply.body, bytes)
        sent[0] += len(reply.body) if request.method == "GET" else 0
        return reply

    settings = Settings(segment_bytes=1 << 20, block_bytes=256 << 10, connections_start=1, connections_max=1)
    with serving(answer) as server:
        with pytest.raises(Denied, match="credentials") as caught:
            pull_to(f"{server.url}/w.bin?{first}", tmp_path / "out", env={}, settings=settings)
        assert "first0000" not in caught.value.message and 0 < sent[0] < len(BODY)
        pull_to(f"{server.url}/w.bin?{second}", tmp_path / "out", env={}, settings=settings)
    assert tree_of(tmp_path / "out") == {"w.bin": BODY}
    assert sent[0] < 1.3 * len(BODY)


def test_files_kept_in_xet_come_over_the_hubs_plain_bridge(tmp_path: Path) -> None:
    """The hub lists them with a xetHash beside the LFS digest and sends who does not speak Xet to a signed
    address elsewhere, which gets no token and ends after a while."""
    digest, issued, asked = hashlib.sha256(BODY).hexdigest(), [0], []

    def bridge(request: Request) -> Reply:
        asked.append(request)
        if request.target.endswith("sig=1") and len(asked) > 1:
            return Reply(403, {}, b"expired")
        return ranged(request, BODY, {"ETag": f'"{digest}"'})

    def hub(request: Request) -> Reply:
        assert request.headers.get("authorization") == "Bearer hf_sesame00"
        if "/tree/" in request.target:
            entry = {"type": "file", "path": "w.bin", "size": len(BODY), "oid": "a" * 40, "xetHash": "b" * 64,
                     "lfs": {"oid": digest, "size": len(BODY), "pointerSize": 135}}  # fmt: skip
            return Reply.json(200, [entry])
        if "/resolve/" in request.target:
            issued[0] += 1
            return Reply(302, {"Location": f"http://localhost:{far.port}/xet-bridge/w?sig={issued[0]}",
                               "X-Linked-Etag": f'"{digest}"', "X-Xet-Hash": "b" * 64})  # fmt: skip
        return Reply.json(200, {"sha": COMMIT, "id": "acme/tiny"})

    settings = Settings(segment_bytes=1 << 20, block_bytes=256 << 10, connections_start=1, connections_max=1)
    with serving(bridge) as far, serving(hub) as near:
        env = {"HF_ENDPOINT": near.url, "HF_TOKEN": "hf_sesame00"}
        pull_to("hf://acme/tiny", tmp_path / "out", env=env, settings=settings)
    assert tree_of(tmp_path / "out") == {"w.bin": BODY} and issued[0] >= 2
    assert all("authorization" not in request.headers for request in asked)


@pytest.mark.parametrize(("status", "code", "token", "error", "says"), [
    (401, "GatedRepo", "", Denied, "no token was given"),
    (403, "GatedRepo", "hf_sesame00", Denied, "ask for access"),
    (404, "RevisionNotFound", "", Absent, "no revision 'main'"),
    (404, "EntryNotFound", "", Absent, "no such file"),
    (401, "RepoNotFound", "", Absent, "set HF_TOKEN if it is private"),
    (404, "RepoNotFound", "hf_sesame00", Absent, "check the name"),
    (401, "", "hf_sesame00", Denied, "refused the token"),
    (403, "", "hf_sesame00", Denied, "HF_TOKEN"),
    (429, "", "", Unavailable, "try again later"),
])  # fmt: skip
def test_the_hubs_codes_in_words(
    status: int, code: str, token: str, error: type[ForebayError], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.sources.wire.client.backoff_s", lambda *_, **__: 0.0)
    headers = {"X-Error-Code": code} if code else {}
    with serving(lambda _: Reply(status, headers)) as server, pytest.raises(error, match=says) as caught:
        resolve("hf://acme/tiny", {"HF_ENDPOINT": server.url, "HF_TOKEN": token})
    assert "sesame" not in caught.value.message


def test_a_hub_that_names_itself_otherwise_gets_no_token_elsewhere(tmp_path: Path) -> None:
    """Mirrors pass on the hub's own links to the next page."""
    pages = {
        "": ("a", '<https://huggingface.co/api/models/acme/tiny/tree/x?cursor=2>; rel="next"'),
        "2": ("b", ""),
    }

    def hub(request: Request) -> Reply:
        if "/tree/" not in request.target:
            return Reply.json(200, {"sha": COMMIT, "id": "acme/tiny"})
        name, link = pages[request.target.partition("cursor=")[2]]
        reply = Reply.json(200, [{"type": "file", "path": name, "size": 1, "oid": "a" * 40}])
        reply.headers |= {"Link": link} if link else {}
        return reply

    with serving(hub) as server:
        _, listing = resolve("hf://acme/tiny", {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_sesame00"})
    assert [f.path for f in listing.files] == ["a", "b"]


@pytest.mark.parametrize(("status", "error", "says"), [
    (204, Invalid, "the address that downloads"),
    (400, Invalid, "does it want https, or a client certificate"), (401, Denied, "netrc"),
    (404, Absent, "check the address"), (410, Absent, "check the address"), (500, Unavailable, "try again"),
])  # fmt: skip
def test_what_a_web_server_says_in_words(status: int, error: type[Exception], says: str) -> None:
    with serving(lambda _: Reply(status, {})) as server, pytest.raises(error, match=says):
        source = HttpSource({})
        source._client.sleep = lambda _: None
        source.resolve(f"{server.url}/w.bin")


def test_who_knows_neither_head_nor_ranges_sends_the_file_once() -> None:
    """Up to 64 MB of it were read, and thrown away, to learn its size."""
    body = bytes(1 << 20)

    def plain(request: Request) -> Reply:
        return Reply(405) if request.method == "HEAD" else Reply(200, {"ETag": '"e"'}, body)

    with serving(plain) as server:
        source = HttpSource({"no_proxy": "*"})
        assert len(source._probe(source._request(f"{server.url}/f.bin"), "f.bin").body) <= 4096
        listing = HttpSource({"no_proxy": "*"}).resolve(f"{server.url}/f.bin")
    assert [file.size for file in listing.files] == [len(body)] and listing.revision == "e"
