"""Selectors, quantities and node affinity read as Kubernetes reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api import affinity, quantity
from forebay.api.kinds import Node, PersistentVolume
from forebay.api.selectors import (
    as_text,
    field_text,
    match_expressions,
    matches,
    parse,
    parse_fields,
)
from forebay.errors import Invalid
from forebay.store.protocol import Where
from forebay.store.where import wanted

LABELS = {"app": "web", "tier": "front", "count": "5", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app=api", False), ("app!=api", True),
        ("gone!=x", True),
        ("app", True), ("!app", False), ("!gone", True), ("app in (web,api)", True), ("app in (api)", False),
        ("app notin (api)", True), ("gone notin (api)", True), ("gone in (api)", False), ("empty=", True),
        ("count>4", True), ("count<5", False), ("app>4", False), ("app=web,tier in (front),!gone", True),
        ("app=web,tier=back", False), (" app = web , tier ", True), ("app in (,web)", True),
        ("empty in (,x)", True),
    ],
)  # fmt: skip
def test_a_label_selector_picks_as_documented(text: str, expected: bool) -> None:
    assert matches(text, LABELS) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": "
                "for 'Gt', 'Lt' operators, the value must be an integer"),
        ("a=" + "x" * 64,
         f'unable to parse requirement: values[0][a]: Invalid value: "{"x" * 64}": must be no more '
                          "than 63 bytes"),
    ],
)  # fmt: skip
def test_a_wrong_selector_is_refused_in_kubernetes_words(text: str, message: str) -> None:
    with pytest.raises(Invalid) as error:
        parse(text)
    assert error.value.message == message


@pytest.mark.parametrize(
    "text", ["a/b/c=1", "a/=x", "/a=x", "-a=x", "A_/b=1", "a=$%", "a in (x y)", "a=b,,c", "!", "("]
)
def test_keys_values_and_brackets_are_checked(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


names = st.from_regex(r"[a-z]([a-z0-9.-]{0,5}[a-z0-9])?", fullmatch=True)


@given(st.dictionaries(names, names, max_size=4), st.dictionaries(names, names, max_size=4))
def test_the_text_of_an_object_selector_picks_the_same(
    wanted: dict[str, str], labels: dict[str, str]
) -> None:
    selector = {"matchLabels": wanted, "matchExpressions": [{"key": "z", "operator": "DoesNotExist"}]}
    assert matches(as_text(selector), labels) is match_expressions(selector, labels)


def test_no_selector_object_picks_nothing_and_an_empty_one_everything() -> None:
    assert not match_expressions(None, LABELS)
    assert match_expressions({}, LABELS)
    with pytest.raises(Invalid, match='"Near" is not a valid label selector operator'):
        match_expressions({"matchExpressions": [{"key": "a", "operator": "Near"}]}, LABELS)


def test_field_selectors_compare_and_unescape() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"hostNetwork": True, "nodeName": r"a\b,c=d"}}
    assert wanted(Where(fields="metadata.name=a,status.phase!=Running,spec.hostNetwork=true"), pod)
    assert not wanted(Where(fields="metadata.name==b"), pod)
    assert wanted(Where(fields=field_text("spec.nodeName", "=", r"a\b,c=d")), pod)
    assert not wanted(Where(fields=field_text("spec.nodeName", "!=", r"a\b,c=d")), pod)
    assert parse_fields(r"a=x\,y")[0].values == ("x,y",)
    with pytest.raises(Invalid, match="invalid selector: 'a'; can't understand 'a'"):
        parse_fields("a")


@pytest.mark.parametrize(
    ("text", "value", "milli"),
    [
        ("1", 1, 1000), ("100m", 1, 100), ("1.5Gi", 1610612736, 1610612736000),
        ("1700G", 1700 * 10**9, 1700 * 10**12),
        ("1.7T", 1700 * 10**9, 1700 * 10**12), ("2e3", 2000, 2_000_000), ("1E", 10**18, 10**21),
        ("1Ei", 2**60, 2**60 * 1000), (".5", 1, 500), ("5n", 1, 1), ("-1", -1, -1000), (3, 3, 3000),
        ("12E-1", 2, 1200),
    ],
)  # fmt: skip
def test_quantities_are_exact_and_rounded_up(text: str | int, value: int, milli: int) -> None:
    assert (quantity.value(text), quantity.milli(text)) == (value, milli)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (1023, "1023"), (1024, "1Ki"), (98362455, "93.8Mi"), (1023 * 2**20 + 1000 * 1024, "1Gi"),
        (10 * 2**30, "10Gi"), (66506395648, "61.9Gi"), (1700 * 10**9, "1.5Ti"), (2**62, "4096Pi"),
    ],
)  # fmt: skip
def test_bytes_are_rounded_for_people_and_are_still_a_quantity(count: int, text: str) -> None:
    assert quantity.rounded(count) == text
    assert abs(quantity.value(text) - count) <= count * 0.05


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1 Gi", "Gi", "1gi", "1KiB", "--1", "1e"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="quantities must match the regular expression"):
        quantity.parse(text)


def term(key: str, operator: str, *values: str, field: bool = False) -> dict[str, Any]:
    return {
        "matchFields" if field else "matchExpressions": [
            {"key": key, "operator": operator, "values": list(values)}
        ]
    }


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([term("zone", "In", "a", "b")], True), ([term("zone", "In", "c")], False),
        ([term("zone", "NotIn", "c")], True),
        ([term("gone", "NotIn", "c")], True), ([term("zone", "Exists")], True),
        ([term("gone", "Exists")], False),
        ([term("gone", "DoesNotExist")], True), ([term("cores", "Gt", "3")], True),
        ([term("cores", "Gt", "4")], False),
        ([term("cores", "Lt", "5")], True), ([term("zone", "Gt", "1")], False),
        ([term("gone", "Lt", "1")], False),
        ([term("metadata.name", "In", "n1", field=True)], True),
        ([term("metadata.name", "In", "n2", field=True)], False),
        ([], False), ([{}], False), (None, False), ([term("gone", "Exists"), term("zone", "Exists")], True),
        ([{**term("zone", "Exists"), **term("metadata.name", "In", "n2", field=True)}], False),
        ([term("zone", "Near", "a")], False),
    ],
)  # fmt: skip
def test_node_selector_terms(terms: list[dict[str, Any]] | None, expected: bool) -> None:
    node = Node.new("n1", labels={"zone": "a", "cores": "4"})
    assert affinity.matches_node(terms, node) is expected


def test_a_volume_without_affinity_is_allowed_everywhere() -> None:
    assert affinity.volume_allows(PersistentVolume.new("v", spec={}), Node.new("n"))


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True), ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({}, False),
    ],
)  # fmt: skip
def test_tolerations(toleration: dict[str, str], expected: bool) -> None:
    assert affinity.tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is expected
