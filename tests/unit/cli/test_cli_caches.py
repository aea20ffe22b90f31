"""What `forebay cache` makes of the objects, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import wishes
from forebay.api.kinds import LocalModelCache, LocalModelNamespaceCache, LocalModelNode
from forebay.api.meta import Key
from forebay.cli import cache_asks, caches
from forebay.errors import Absent, Invalid

EARLY, LATE = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00.25Z"


def a_cache(uid: str = "u1", **status: Any) -> LocalModelCache:
    item = LocalModelCache.new("m", spec={"sourceModelUri": "hf://acme/m", "nodeGroups": ["g"]})
    item.meta["uid"] = uid
    item.raw["status"] = status
    return item


def a_node(
    name: str, state: str = "ModelDownloaded", *, uid: str = "u1", model: str = "m", **said: Any
) -> LocalModelNode:
    namespace, _, plain = model.rpartition("/")
    entry = {"modelName": plain, "sourceModelUri": "x", **({"namespace": namespace} if namespace else {})}
    item = LocalModelNode.new(
        name, spec={"localModels": [entry, {"modelName": "other", "sourceModelUri": "y"}]}
    )
    item.raw["status"] = {"modelStatus": {model: state}, "models": {model: {"cacheUid": uid, **said}}}
    return item


def test_a_line_says_where_the_copies_are_and_when_all_of_them_were_whole() -> None:
    item = a_cache(
        revision="3f2c" * 10, bytes=98_400_000, inferenceServices=[{"namespace": "d", "name": "s"}]
    )
    item.meta["annotations"] = {"forebay.dev/pinned": "true"}
    nodes = [
        a_node("b", verified={"time": LATE, "damaged": []}),
        a_node("a", "ModelDownloading", verified={"time": EARLY}),
    ]
    model = caches.cached(item, nodes)
    assert caches.rows([model])[1] == [
        "m", "-", "hf://acme/m", "3f2c3f2c3f2c", "98.4 MB", "1/2", "yes", "d/s", EARLY,
    ]  # fmt: skip
    assert [row[2:4] for row in caches.node_rows([model])[1:]] == [["a", "Downloading"], ["b", "Downloaded"]]
    assert (model.machine()["ready"], model.machine()["total"]) == (1, 2)
    assert caches.cached(item, [nodes[0], a_node("c")]).verified == ""


def test_what_a_node_says_of_an_earlier_cache_of_the_name_is_not_shown() -> None:
    (copy,) = caches.cached(a_cache(), [a_node("a", uid="of-the-one-before", revision="old")]).copies
    assert (copy.is_ready, copy.said) == (False, {})


def test_namespaced_caches_have_their_own_entries() -> None:
    item = LocalModelNamespaceCache.new("m", "team", spec={"sourceModelUri": "hf://acme/m"})
    item.meta["uid"] = "u1"
    model = caches.cached(item, [a_node("a"), a_node("b", model="team/m")])
    assert (model.name, [copy.node for copy in model.copies]) == ("team/m", ["b"])


@pytest.mark.parametrize(
    ("typed", "namespace", "key"),
    [("m", "", Key("", "m")), ("m", "team", Key("team", "m")), ("team/m", "", Key("team", "m"))],
)
def test_names(typed: str, namespace: str, key: Key) -> None:
    kind, found = caches.key_of(typed, namespace)
    assert (found, kind.namespaced) == (key, bool(key.namespace))


def test_a_node_without_a_copy_is_told_from_a_cache_without_nodes() -> None:
    model = caches.cached(a_cache(), [a_node("a"), a_node("b")])
    assert [c.node for c in cache_asks.chosen(model, "b")] == ["b"]
    with pytest.raises(Absent, match="it is on a, b"):
        cache_asks.chosen(model, "z")
    with pytest.raises(Invalid):
        cache_asks.chosen(caches.cached(a_cache(), []), "")


def verdict(asked: str, **said: Any) -> tuple[str, dict[str, set[str]]]:
    found: dict[str, set[str]] = {}
    state = said.pop("state", "ModelDownloaded")
    model = caches.cached(a_cache(), [a_node("a", state, **said)])
    return cache_asks.checks(asked, found)(model, list(model.copies)), found


def test_a_check_is_over_when_the_node_answers_this_request_and_not_an_earlier_one() -> None:
    assert verdict(LATE, verified={"requested": EARLY, "damaged": ["old.bin"]}) == (
        "a: waits for its turn",
        {},
    )
    assert verdict(LATE, verifying={"bytesDone": 5, "bytesTotal": 10})[0] == "a: hashed 5 B of 10 B"
    assert verdict(LATE, verified={"requested": LATE, "damaged": []}) == ("", {"a": set()})


def test_damage_is_known_before_it_is_healed() -> None:
    waits, found = verdict(
        LATE, state="ModelDownloadPending", message="set aside", verified={"damaged": ["model.bin"]}
    )
    assert (waits, found) == ("a: set aside", {"a": {"model.bin"}})


def test_a_refresh_is_over_when_every_node_holds_what_was_found() -> None:
    def waits(status: Any, *nodes: LocalModelNode) -> str:
        model = caches.cached(a_cache(refresh=status), nodes)
        return cache_asks.refreshes(LATE)(model, list(model.copies))

    assert waits({"requested": EARLY, "revision": "r1"}, a_node("a", revision="r1")) != ""
    assert waits({"requested": LATE, "message": "in use by d/p"}) == "in use by d/p"
    done = {"requested": LATE, "revision": "r2"}
    assert (
        waits(done, a_node("a", revision="r2"), a_node("b", revision="r1")) == "b: waits for the new revision"
    )
    assert waits(done, a_node("a", revision="r2"), a_node("b", revision="r2")) == ""


def test_two_requests_of_one_moment_differ_and_are_in_order() -> None:
    times = [cache_asks.now_text() for _ in range(3)]
    assert times == sorted(times) and times[0].endswith("Z") and "." in times[0]


def test_a_transfer_is_told_with_bytes_rate_and_time_left() -> None:
    node = a_node(
        "a", "ModelDownloading", phase="transfer", bytesDone=30_000_000, bytesTotal=300_000_000,
        rate=18_000_000, etaSeconds=15,
    )  # fmt: skip
    (row,) = caches.node_rows([caches.cached(a_cache(), [node])])[1:]
    assert row[-1] == "30.0 MB of 300.0 MB, 18.0 MB/s, 15 s left"
    (row,) = caches.node_rows([caches.cached(a_cache(), [a_node("a", bytesDone=1, bytesTotal=1)])])[1:]
    assert row[-1] == ""


def test_what_was_never_fetched_was_never_verified() -> None:
    item = a_cache()
    nothing = caches.cached(item, [a_node("a", "ModelDownloadError")])
    assert (caches.rows([nothing])[1][-1], caches.node_rows([nothing])[1][-2]) == ("-", "-")
    there = caches.cached(item, [a_node("a")])
    assert (caches.rows([there])[1][-1], caches.node_rows([there])[1][-2]) == ("when fetched", "when fetched")


def test_a_request_is_later_than_the_last_one_even_if_the_clock_was_set_back() -> None:
    """`forebay cache refresh` waited for an answer that nobody gave: the request looked like an old one."""
    ahead = "2999-01-01T00:00:00.5Z"
    assert wishes.is_newer(cache_asks.now_text(None, ahead, "no time"), ahead)
