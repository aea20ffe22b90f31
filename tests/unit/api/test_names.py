"""Storage keys, URI matching and names: KServe's vectors and the cases its tests name."""

from __future__ import annotations

import pytest

from forebay.api import names
from forebay.sources.table import SOURCES

KEYS = {
    "hf://meta-llama/meta-llama-3-8b-instruct": "c277d78a31bc6624",
    "hf://meta-llama/meta-llama-3-8b-instruct/": "aa029b7c8987b27e",
    "s3://foo": "83fbff445b51876f",
    "s3://foo/": "e65e626ad747873c",
    "s3://mybucket/mymodel": "89da10faf446bbf1",
    "gs://kfserving-examples/models/sklearn/1.0/model": "379edc91f9c1bc7b",
    "gs://bucket/model": "a4db08f99421c836",
    "hf://Qwen/Qwen2-0.5B-Instruct": "a7631b3fe62115e0",
}
MATCHES = [
    ("gs://bucket/model", "gs://bucket/model", True),
    ("gs://bucket/model", "gs://bucket/model/", True),
    ("gs://bucket/model/", "gs://bucket/model", True),
    ("gs://bucket/model", "gs://bucket/model/a/b.pt", True),
    ("gs://bucket/model", "gs://bucket/model2", False),
    ("gs://bucket/model", "gs://bucket/foo", False),
    ("gs://bucket/model", "gs://bucket", False),
    ("hf://org/name", "hf://org/name:rev", False),
    ("foo:bar:baz", "foo:bar:baz", True),
    ("foo:bar:baz", "foo:bar:bazzzz", False),
]


@pytest.mark.parametrize(("uri", "key"), KEYS.items())
def test_storage_keys_are_kserves(uri: str, key: str) -> None:
    assert names.storage_key(uri) == key


def test_another_endpoint_gives_another_key_that_says_where_it_comes_from() -> None:
    one, other = (names.storage_key("s3://foo", endpoint) for endpoint in ("http://a", "http://b"))
    assert one != other and one.startswith("83fbff445b51876f-") and len(one) == 25


@pytest.mark.parametrize(("cached", "wanted", "expected"), MATCHES)
def test_a_cache_holds_its_uri_and_what_lies_below(cached: str, wanted: str, expected: bool) -> None:
    assert names.match_storage_uri(cached, wanted) is expected


def test_the_path_below_a_cache_has_no_slashes_at_its_ends() -> None:
    assert names.path_within("s3://foo/", "s3://foo") == ""
    assert names.path_within("s3://foo/", "s3://foo/model1/") == "model1"


def test_names_of_the_guide_and_of_kserve() -> None:
    assert names.download_pvc("m", "", "g", first=True) == "m"
    assert names.download_pv("m", "", "g", first=True) == "m-download"
    assert names.download_pvc("m", "", "g", first=False) == "m-g"
    assert names.download_pv("m", "", "g", first=False) == "m-g-download"
    assert names.download_pv("m", "ns", "g", first=True) == "m-g-ns-download"
    assert names.serving_pv("m", "g", "ns") == "m-g-ns"
    assert [names.download_job("m", "n", attempt) for attempt in (1, 2)] == ["m-n", "m-n-2"]
    assert names.status_key("ns", "m") == "ns/m" and names.status_key("", "m") == "m"


def test_a_name_that_is_taken_or_too_long_ends_in_a_hash_and_stays_the_same() -> None:
    assert names.fitting("m", "me", {"m": "me"}) == "m"
    taken = names.fitting("m", "me", {"m": "other"})
    assert taken != "m" and taken == names.fitting("m", "me", {"m": "another"})
    assert len(names.fitting("m" * 80, "me", {})) == 63
    assert names.fitting("a-b-c", "a/b-c", {"a-b-c": "a-b/c"}) != "a-b-c"


def test_label_values_are_hashed_only_where_labels_could_not_hold_them() -> None:
    assert names.label_value("iris.v1") == "iris.v1"
    assert len(names.label_value("m" * 64)) == 63
    assert names.label_value("m" * 64) != names.label_value("m" * 65)


def test_the_schemes_that_are_pulled_are_those_that_have_a_source() -> None:
    assert set(names.PULLED) == set(SOURCES)
    assert set(names.PULLED) < set(names.SCHEMES)
