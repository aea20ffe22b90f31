"""Which objects an address means: what KServe's storage initializer does and people rely on.

Keys that the real servers of this suite do not store, because they keep objects in folders; a server that
keeps keys was asked by hand, by both programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import Absent, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources.table import resolve
from tests.conformance.test_http import ranged, serving
from tests.conformance.test_sources import tree_of


def s3(keys: dict[str, bytes], forbidden: str = "-") -> Callable[[Request], Reply]:
    """A bucket of any keys; the prefix `forbidden` may not be listed."""

    def answer(request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query).items()}
        if "list-type" not in query:
            body = keys.get(unquote(parts.path).removeprefix("/bucket/"))
            return Reply(404) if body is None else ranged(request, body, {"ETag": '"e-1"'})
        prefix = query.get("prefix", "")
        if prefix == forbidden:
            return Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        found = sorted(k for k in keys if k.startswith(prefix))[: int(query.get("max-keys", "1000"))]
        items = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(keys[k])}</Size></Contents>" for k in found
        )
        return Reply(200, {}, f"<R>{items}</R>".encode())

    return answer


def gs(keys: dict[str, bytes]) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query).items()}
        facts = [{"name": k, "size": str(len(b)), "generation": "1"} for k, b in keys.items()]
        if parts.path.endswith("/o"):
            return Reply.json(200, {"items": [f for f in facts if f["name"].startswith(query["prefix"])]})
        key = unquote(parts.path.rpartition("/o/")[2])
        if key not in keys:
            return Reply(404)
        if query.get("alt") == "media":
            return ranged(request, keys[key], {"ETag": '"1"'})
        return Reply.json(200, next(f for f in facts if f["name"] == key))

    return answer


def az(keys: dict[str, bytes]) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query).items()}
        if query.get("comp") != "list":
            body = keys.get(unquote(parts.path).partition("/bucket/")[2])
            return Reply(404) if body is None else ranged(request, body, {"ETag": '"1"'})
        found = (f"<Blob><Name>{escape(k)}</Name><Properties><Etag>1</Etag><Content-Length>{len(b)}"
                 "</Content-Length></Properties></Blob>"
                 for k, b in keys.items() if k.startswith(query["prefix"]))  # fmt: skip
        return Reply(200, {}, f"<R><Blobs>{''.join(found)}</Blobs></R>".encode())

    return answer


def env_of(scheme: str, url: str) -> dict[str, str]:
    if scheme == "gs":
        return {"STORAGE_EMULATOR_HOST": url}
    if scheme == "az":
        return {"AZURE_STORAGE_ENDPOINT": f"{url}/acct"}
    return {"AWS_ENDPOINT_URL": url, "awsAnonymousCredential": "true"}


def pulled(uri: str, env: dict[str, str], out: Path) -> dict[str, bytes]:
    pull_to(uri, out, env=env, settings=Settings())
    return tree_of(out)


STORES = pytest.mark.parametrize(("scheme", "store"), [("s3", s3), ("gs", gs), ("az", az)])
Store = Callable[[dict[str, bytes]], Callable[[Request], Reply]]


@STORES
def test_an_empty_object_that_marks_a_folder_is_no_file(tmp_path: Path, scheme: str, store: Store) -> None:
    """Tools that show a bucket as a disk leave them; the pull was refused: a file and a folder."""
    keys = {
        "m": b"",
        "m/sub": b"",
        "m/sub/w.bin": b"w",
        "m/sub/deep": b"",
        "m/sub/deep/x": b"",
        "m/empty": b"",
    }
    with serving(store(keys)) as server:
        found = pulled(f"{scheme}://bucket/m", env_of(scheme, server.url), tmp_path)
    assert found == {"sub/w.bin": b"w", "sub/deep/x": b"", "empty": b""}


@STORES
def test_slashes_that_follow_each_other_are_one(tmp_path: Path, scheme: str, store: Store) -> None:
    with serving(store({"m//w.bin": b"w", "m/sub///x": b"x", "m/y": b"y"})) as server:
        found = pulled(f"{scheme}://bucket/m", env_of(scheme, server.url), tmp_path)
    assert found == {"w.bin": b"w", "sub/x": b"x", "y": b"y"}


@STORES
def test_patterns_are_the_way_out_of_names_that_cannot_be_stored_together(
    tmp_path: Path, scheme: str, store: Store
) -> None:
    """The whole model was refused, also where nobody wanted the other file."""
    with serving(
        store({"m/README.md": b"1", "m/readme.md": b"2", "m/w.bin": b"w", "m/back\\slash": b"3"})
    ) as server:
        env = env_of(scheme, server.url)
        with pytest.raises(Invalid, match="STORAGE_IGNORE_PATTERNS"):
            resolve(f"{scheme}://bucket/m", env)
        env["STORAGE_IGNORE_PATTERNS"] = "readme.md,back*"
        assert pulled(f"{scheme}://bucket/m", env, tmp_path) == {"README.md": b"1", "w.bin": b"w"}


def test_folders_of_a_google_bucket_are_made_though_they_are_empty(tmp_path: Path) -> None:
    """KServe makes them, for the version folders of Triton's ensembles."""
    files = {"m/ens/config.pbtxt": b"e", "m/w/1/w": b"w", "m/f": b"file"}
    keys = files | dict.fromkeys(("m/", "m/ens/", "m/ens/1/", "m/w/", "m/f/", "only/", "only/a/"), b"")
    with serving(gs(keys)) as server:
        env = env_of("gs", server.url)
        for _ in range(2):
            found = pulled("gs://bucket/m", env, tmp_path / "1")
            assert found == {"ens/config.pbtxt": b"e", "w/1/w": b"w", "f": b"file"}
            assert (tmp_path / "1" / "ens" / "1").is_dir()
        assert resolve("gs://bucket/m", env)[1].folders == ("ens/1",)
        patterns = {"STORAGE_ALLOW_PATTERNS": "f"}
        assert pulled("gs://bucket/m", env | patterns, tmp_path / "2") == {"f": b"file"}
        assert not (tmp_path / "2" / "ens").exists()
        with pytest.raises(Absent):
            resolve("gs://bucket/only", env)


def test_an_object_comes_before_the_folder_of_its_name(tmp_path: Path) -> None:
    keys = {"m": b"itself", "m/a": b"a", "m-2/b": b"b", "m.bin": b"c", "n/a": b"a"}
    with serving(s3(keys)) as server:
        env = env_of("s3", server.url)
        assert pulled("s3://bucket/m", env, tmp_path / "1") == {"m": b"itself"}
        assert pulled("s3://bucket/m/", env, tmp_path / "2") == {"a": b"a"}
        assert pulled("s3://bucket/n", env, tmp_path / "3") == {"a": b"a"}


def test_who_may_list_a_folder_alone_still_gets_it(tmp_path: Path) -> None:
    """A policy on s3:prefix lets `m/` be listed and not `m`."""
    with serving(s3({"m/a": b"a"}, forbidden="m")) as server:
        assert pulled("s3://bucket/m", env_of("s3", server.url), tmp_path) == {"a": b"a"}


def test_slashes_before_the_key_are_those_of_the_address(tmp_path: Path) -> None:
    with serving(s3({"m/a": b"a", "/lead/b": b"b"})) as server:
        env = env_of("s3", server.url)
        assert pulled("s3://bucket//m", env, tmp_path / "1") == {"a": b"a"}
        assert pulled("s3://bucket//m/a", env, tmp_path / "2") == {"a": b"a"}
        assert pulled("s3://bucket//lead", env, tmp_path / "3") == {"b": b"b"}
        with pytest.raises(Absent):
            resolve("s3://bucket//none", env)


@STORES
def test_a_file_named_by_its_address_comes_whatever_the_patterns_say(
    tmp_path: Path, scheme: str, store: Store
) -> None:
    """They are set once for all services of a cluster."""
    patterns = {"STORAGE_ALLOW_PATTERNS": '["*.json"]', "STORAGE_IGNORE_PATTERNS": '["*.bin"]'}
    with serving(store({"m/w.bin": b"w", "m/c.json": b"c"})) as server:
        env = env_of(scheme, server.url) | patterns
        assert pulled(f"{scheme}://bucket/m/w.bin", env, tmp_path / "1") == {"w.bin": b"w"}
        assert pulled(f"{scheme}://bucket/m", env, tmp_path / "2") == {"c.json": b"c"}


def test_a_file_of_a_web_server_comes_whatever_the_patterns_say(tmp_path: Path) -> None:
    with serving(lambda request: ranged(request, b"w", {"ETag": '"1"'})) as server:
        env = {"STORAGE_ALLOW_PATTERNS": json.dumps(["*.json"])}
        assert pulled(f"{server.url}/w.bin", env, tmp_path) == {"w.bin": b"w"}
