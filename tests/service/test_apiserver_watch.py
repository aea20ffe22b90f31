"""Lists and watches over plain HTTP: order, resuming, selectors, bookmarks, forms."""

from __future__ import annotations

import json
import threading
from itertools import islice
from typing import Any

import pytest
from tests.service.kubectl import ApiServer
from tests.service.rest import Rest

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


def config_map(name: str, **labels: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {}}


@pytest.fixture
def rest(apiserver: ApiServer) -> Rest:
    return Rest(apiserver)


@pytest.fixture
def place(ns: str) -> str:
    return f"/api/v1/namespaces/{ns}/configmaps"


def seen(events: list[Any]) -> list[tuple[str, str]]:
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events]


def test_a_watch_continues_where_a_list_ended(rest: Rest, place: str) -> None:
    rest("POST", place, config_map("a"))
    _, page = rest("GET", place)
    rest("POST", place, config_map("b"))
    rest("DELETE", f"{place}/a")
    since = page["metadata"]["resourceVersion"]
    found = list(islice(rest.events(f"{place}?watch=1&resourceVersion={since}"), 2))
    assert seen(found) == [("ADDED", "b"), ("DELETED", "a")]
    assert int(found[1]["object"]["metadata"]["resourceVersion"]) > int(since)


def test_a_watch_from_nowhere_starts_with_what_is_there(rest: Rest, place: str) -> None:
    rest("POST", place, config_map("a"))
    events = rest.events(f"{place}?watch=1")
    assert seen([next(events)]) == [("ADDED", "a")]
    rest("POST", place, config_map("b"))
    assert seen([next(events)]) == [("ADDED", "b")]
    events.close()


def test_leaving_a_selector_is_deleted_and_entering_it_is_added(rest: Rest, place: str) -> None:
    _, page = rest("GET", place)
    since = page["metadata"]["resourceVersion"]
    rest("POST", place, config_map("a"))
    merge = "application/merge-patch+json"
    rest("PATCH", f"{place}/a", {"metadata": {"labels": {"in": "yes"}}}, Content_Type=merge)
    rest("PATCH", f"{place}/a", {"data": {"k": "v"}}, Content_Type=merge)
    rest("PATCH", f"{place}/a", {"metadata": {"labels": {"in": None}}}, Content_Type=merge)
    found = list(islice(rest.events(f"{place}?watch=1&resourceVersion={since}&labelSelector=in%3Dyes"), 3))
    assert seen(found) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_one_object_is_watched_by_its_path_or_its_name(rest: Rest, place: str) -> None:
    for name in ("a", "b"):
        rest("POST", place, config_map(name))
    for path in (f"{place}/b?watch=1", f"{place}?watch=1&fieldSelector=metadata.name%3Db"):
        events = rest.events(path + "&timeoutSeconds=1")
        assert seen(list(events)) == [("ADDED", "b")]


def test_a_watch_ends_when_its_time_is_over(rest: Rest, place: str) -> None:
    assert list(rest.events(f"{place}?watch=1&timeoutSeconds=1")) == []


def test_initial_events_end_with_a_bookmark(rest: Rest, place: str) -> None:
    rest("POST", place, config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    found = list(islice(rest.events(f"{place}?{query}"), 2))
    assert [e["type"] for e in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    code, told = rest("GET", f"{place}?watch=1&sendInitialEvents=true")
    assert code == 422 and "sendInitialEvents requires setting resourceVersionMatch" in told["message"]


def test_a_revision_of_the_future_is_an_error_in_the_stream(rest: Rest, place: str) -> None:
    found = list(rest.events(f"{place}?watch=1&resourceVersion=999999999"))
    assert [e["type"] for e in found] == ["ERROR"]
    assert (found[0]["object"]["kind"], found[0]["object"]["code"]) == ("Status", 410)
    assert rest("GET", f"{place}?watch=1&resourceVersion=nonsense")[0] in (400, 422)


def test_tables_and_metadata_come_in_watches_too(rest: Rest, place: str) -> None:
    rest("POST", place, config_map("a"))
    event = next(rest.events(f"{place}?watch=1", Accept=TABLE))
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][0] == "a"
    assert event["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    event = next(rest.events(f"{place}?watch=1", Accept=PARTIAL))
    assert set(event["object"]) == {"kind", "apiVersion", "metadata"}


def test_a_list_in_pages_is_whole_and_in_order(rest: Rest, place: str) -> None:
    for name in "edcba":
        rest("POST", place, config_map(name))
    found, more, pages = [], "", 0
    while True:
        code, page = rest("GET", f"{place}?limit=2&continue={more}")
        assert code == 200
        found += [item["metadata"]["name"] for item in page["items"]]
        pages += 1
        more = page["metadata"].get("continue", "")
        if not more:
            break
    assert (found, pages) == (list("abcde"), 3)
    assert rest("GET", f"{place}?continue=nonsense")[0] == 400


def test_lists_come_as_tables_metadata_and_yaml(rest: Rest, place: str) -> None:
    rest("POST", place, config_map("a"))
    _, table = rest("GET", place, Accept=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    _, metadata = rest("GET", place, Accept=PARTIAL.replace("Metadata;", "MetadataList;"))
    assert metadata["kind"] == "PartialObjectMetadataList" and metadata["apiVersion"] == "meta.k8s.io/v1"
    assert metadata["items"][0]["kind"] == "PartialObjectMetadata" and "data" not in metadata["items"][0]
    _, text = rest("GET", f"{place}/a", Accept="application/yaml")
    assert text.startswith("apiVersion: v1\nkind: ConfigMap")
    _, rows = rest("GET", f"{place}?includeObject=Object", Accept=TABLE)
    assert rows["rows"][0]["object"]["kind"] == "ConfigMap"


def test_many_watchers_at_once_lose_nothing(apiserver: ApiServer, rest: Rest, place: str) -> None:
    _, page = rest("GET", place)
    path = f"{place}?watch=1&resourceVersion={page['metadata']['resourceVersion']}"
    results: list[list[tuple[str, str]]] = []

    def watch() -> None:
        results.append(seen(list(islice(Rest(apiserver).events(path), 60))))

    threads = [threading.Thread(target=watch) for _ in range(20)]
    for thread in threads:
        thread.start()
    for number in range(20):
        rest("POST", place, config_map(f"c{number:02}"))
        rest(
            "PATCH",
            f"{place}/c{number:02}",
            {"data": {"k": "v"}},
            Content_Type="application/merge-patch+json",
        )
        rest("DELETE", f"{place}/c{number:02}")
    for thread in threads:
        thread.join(30)
    wanted = [(verb, f"c{n:02}") for n in range(20) for verb in ("ADDED", "MODIFIED", "DELETED")]
    assert results == [wanted] * 20


def test_a_merge_patch_without_revision_survives_other_writers(
    apiserver: ApiServer, rest: Rest, place: str
) -> None:
    rest("POST", place, config_map("a"))
    codes: list[int] = []

    def write(number: int) -> None:
        change = {"data": {f"k{number}": "v"}}
        codes.append(
            Rest(apiserver)("PATCH", f"{place}/a", change, Content_Type="application/merge-patch+json")[0]
        )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [200] * 8
    _, found = rest("GET", f"{place}/a")
    assert json.dumps(sorted(found["data"])) == json.dumps([f"k{n}" for n in range(8)])
