"""The form of an answer."""

from __future__ import annotations

import pytest

from forebay.home.apiserver.negotiate import Accepted, accepted, wants_aggregated_discovery
from forebay.home.apiserver.status import Refusal

_META = "v=v1;g=meta.k8s.io"
TABLE = (
    f"application/json;as=Table;{_META},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
PARTIAL = ",".join(
    f"application/{encoding};as=PartialObjectMetadata;{_META}"
    for encoding in ("vnd.kubernetes.protobuf", "json")
)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", Accepted()),
        ("*/*", Accepted()),
        ("application/json", Accepted()),
        ("application/yaml", Accepted("object", "yaml")),
        ("application/vnd.kubernetes.protobuf,application/json", Accepted()),
        (TABLE, Accepted("table")),
        (PARTIAL, Accepted("partial")),
        ("application/json;q=0.1,application/yaml;q=0.9", Accepted("object", "yaml")),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Accepted()),
    ],
)
def test_the_first_acceptable_clause_wins(header: str, wanted: Accepted) -> None:
    assert accepted(header) == wanted


def test_a_table_of_what_has_none_is_an_object() -> None:
    assert accepted(TABLE, transforms=False) == Accepted()


@pytest.mark.parametrize(
    "header", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;q=0"]
)
def test_nothing_acceptable_is_refused_with_406(header: str) -> None:
    with pytest.raises(Refusal) as caught:
        accepted(header)
    assert caught.value.code == 406


def test_aggregated_discovery_is_given_to_those_that_prefer_it() -> None:
    parameters = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert wants_aggregated_discovery(f"{parameters},application/json") == "v2"
    assert wants_aggregated_discovery(f"application/json,{parameters}") == ""
    assert wants_aggregated_discovery("") == ""
