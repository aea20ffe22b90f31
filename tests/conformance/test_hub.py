"""The hub beyond one tree: revisions, mirrors below a path, tokens, patterns, and what it says of errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.engines.fileserver import FileServer, Reply, Request
from forebay.engines.hub import Hub, HubSettings
from forebay.engines.hubfiles import HubFiles
from forebay.errors import Absent, Denied, ForebayError, Unavailable
from forebay.pull import Settings, pull_to
from forebay.sources.settings import wanted
from forebay.sources.table import resolve
from forebay.sources.wire.client import Client
from tests.conformance.origins import TREE, write_tree
from tests.conformance.test_http import serving
from tests.conformance.test_sources import tree_of

REFS = {"v2": {"config.json": b"v2"}, "dev/next": {"config.json": b"next", "w.bin": b"n" * 3000},
        "refs/pr/7": {"w.bin": b"7" * 4000}}  # fmt: skip


@contextmanager
def many_refs(root: Path) -> Iterator[Hub]:
    write_tree(root / "acme" / "tiny", TREE)
    refs = {}
    for place, (ref, tree) in enumerate(REFS.items()):
        write_tree(root / "acme" / f"tiny-{place}", tree)
        refs["acme/tiny", ref] = f"acme/tiny-{place}"
    with Hub(HubSettings(root, refs=refs)) as hub:
        yield hub


@pytest.mark.parametrize("ref", REFS)
def test_a_branch_a_tag_and_a_pull_request_are_revisions_and_so_are_their_commits(
    tmp_path: Path, ref: str
) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    with many_refs(tmp_path / "root") as hub:
        env = {"HF_ENDPOINT": hub.url}
        _, listing = resolve(f"hf://acme/tiny:{ref}", env)
        assert HfApi(endpoint=hub.url).model_info("acme/tiny", revision=ref).sha == listing.revision
        for name, uri in (("ref", f"hf://acme/tiny:{ref}"), ("commit", f"hf://acme/tiny@{listing.revision}")):
            pull_to(uri, tmp_path / name, env=env, settings=Settings())
            assert tree_of(tmp_path / name) == REFS[ref]
        pull_to("hf://acme/tiny", tmp_path / "flag", env=env, settings=Settings(), revision=ref)
        assert tree_of(tmp_path / "flag") == REFS[ref]
        path = next(iter(REFS[ref]))
        theirs = hf_hub_download("acme/tiny", path, revision=ref, endpoint=hub.url, cache_dir=tmp_path / "hf")
        assert Path(theirs).read_bytes() == REFS[ref][path]


def test_a_revision_that_is_none_is_absent(tmp_path: Path) -> None:
    with many_refs(tmp_path / "root") as hub, pytest.raises(Absent, match="branch, tag or commit"):
        resolve("hf://acme/tiny:v9", {"HF_ENDPOINT": hub.url})


@pytest.mark.parametrize("prefix", ["/hub", "/artifactory/api/huggingfaceml/models"])
def test_a_mirror_may_live_below_a_path(tmp_path: Path, prefix: str) -> None:
    """The links to its next pages carry the path, or the hub's own address."""
    write_tree(tmp_path / "root" / "acme" / "tiny", TREE)
    with Hub(HubSettings(tmp_path / "root", page=2)) as hub:

        def mirror(request: Request) -> Reply:
            assert request.target.startswith(prefix + "/")
            reply = hub.answer(replace(request, target=request.target.removeprefix(prefix)))
            if "Link" in reply.headers:
                reply.headers["Link"] = reply.headers["Link"].replace(hub.url, front.url + prefix)
            return reply

        with serving(mirror) as front:
            pull_to("hf://acme/tiny", tmp_path / "out", env={"HF_ENDPOINT": front.url + prefix + "/"},
                    settings=Settings())  # fmt: skip
    assert tree_of(tmp_path / "out") == TREE


@contextmanager
def gated(root: Path) -> Iterator[str]:
    write_tree(root / "acme" / "tiny", TREE)
    with Hub(HubSettings(root, gated=frozenset({"acme/tiny"}), tokens=frozenset({"hf_t0ken000"}))) as hub:
        yield hub.url


@pytest.mark.parametrize("token", ["", "hf_other000"])
def test_who_may_list_a_gated_repository_but_not_read_it_is_denied_before_any_file(
    tmp_path: Path, token: str
) -> None:
    """Resolving is what opens a shared copy in the cache: it must prove the right to read."""
    with gated(tmp_path) as url:
        with pytest.raises(Denied, match="gated") as caught:
            resolve("hf://acme/tiny", {"HF_ENDPOINT": url, "HF_TOKEN": token})
        assert caught.value.reason == "gated" and "hf_other" not in caught.value.message
        assert resolve("hf://acme/tiny", {"HF_ENDPOINT": url, "HF_TOKEN": "hf_t0ken000"})[1].files


@pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME",
                                   "XDG_CACHE_HOME", "HOME"])  # fmt: skip
def test_a_token_is_found_where_the_hubs_own_client_looks(tmp_path: Path, place: str) -> None:
    files = {"HF_TOKEN_PATH": "token", "HF_HOME": "token", "XDG_CACHE_HOME": "huggingface/token",
             "HOME": ".cache/huggingface/token"}  # fmt: skip
    with gated(tmp_path / "root") as url:
        value = "hf_t0ken000"
        if place in files:
            path = tmp_path / "who" / files[place]
            path.parent.mkdir(parents=True)
            path.write_text("hf_t0ken000\n")
            value = str(path if place == "HF_TOKEN_PATH" else tmp_path / "who")
        assert resolve("hf://acme/tiny", {"HF_ENDPOINT": url, place: value})[1].files


_PIECES = st.text("ab*?[]./-", min_size=1, max_size=8)


@given(paths=st.lists(_PIECES, max_size=6), allow=st.lists(_PIECES, max_size=3),
       ignore=st.lists(_PIECES, max_size=3))  # fmt: skip
def test_patterns_choose_what_snapshot_download_chooses(
    paths: list[str], allow: list[str], ignore: list[str]
) -> None:
    from huggingface_hub.utils import filter_repo_objects

    theirs = filter_repo_objects(paths, allow_patterns=allow or None, ignore_patterns=ignore or None)
    assert [p for p in paths if wanted(p, tuple(allow), tuple(ignore))] == list(theirs)


DISABLED = {"X-Error-Message": "Access to this resource is disabled."}
LIMIT = {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}


@pytest.mark.parametrize(("status", "headers", "token", "error", "says"), [
    (403, DISABLED, "hf_sesame00", Denied, "has disabled acme/tiny"),
    (403, {}, "hf_sesame00", Denied, "may not read acme/tiny .* give it read access"),
    (403, {}, "", Denied, "set HF_TOKEN"),
    (401, {}, "hf_sesame00", Denied, "refused the token in HF_TOKEN"),
    (401, {}, "", Absent, "set HF_TOKEN if it is private"),
    (404, {}, "hf_sesame00", Absent, "check the name"),
    (404, {"X-Error-Code": "RepoNotFound"}, "", Absent, "or private"),
    (429, LIMIT, "", Unavailable, "allows no more requests .*in 56 s"),
    (429, {"Retry-After": "7"}, "", Unavailable, "in 7 s"),
    (500, {}, "", Unavailable, "answered 500"),
    (503, {"Retry-After": "9"}, "", Unavailable, "in 9 s"),
])  # fmt: skip
def test_what_the_hub_says_of_an_error_in_words(
    status: int, headers: dict[str, str], token: str, error: type[ForebayError], says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("forebay.sources.hf.Client", partial(Client, attempts_max=1))
    server = FileServer(lambda _: Reply(status, dict(headers)), host="127.0.0.1", port=0)
    server.start()
    with pytest.raises(error, match=says) as caught:
        resolve("hf://acme/tiny", {"HF_ENDPOINT": server.url, "HF_TOKEN": token})
    server.stop()
    assert "sesame" not in caught.value.message
    wait = {"RateLimit": 56.0, "Retry-After": float(headers.get("Retry-After", 0))}
    assert caught.value.retry_after_s == next((s for name, s in wait.items() if name in headers), None)


def test_a_file_of_a_listed_commit_is_found_without_looking_at_the_others(tmp_path: Path) -> None:
    """With 200 files each request cost 7 ms, as all of them were looked at."""
    write_tree(tmp_path / "acme" / "tiny", {"a.json": b"a", "b.json": b"b"})
    files = HubFiles(tmp_path, 1 << 20)
    tree = files.tree("acme/tiny")
    assert files.tree("acme/tiny") is tree
    (tmp_path / "acme" / "tiny" / "b.json").write_bytes(b"other")
    assert files.at("acme/tiny", tree.commit, "a.json") == tree.entries["a.json"]
    assert files.at("acme/tiny", tree.commit, "b.json") is None
    assert files.at("acme/tiny", tree.commit, "../tiny/a.json") is None
    changed = files.tree("acme/tiny")
    assert changed.commit != tree.commit and files.at("acme/tiny", tree.commit, "a.json") is None
    (tmp_path / "acme" / "tiny" / "a.json").unlink()
    assert files.at("acme/tiny", changed.commit, "a.json") is None
