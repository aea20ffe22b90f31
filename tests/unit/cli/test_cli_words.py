"""From words to kinds, names, sizes and manifests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.kinds import InferenceService, LocalModelCache, Pod
from forebay.cli.caches import columns
from forebay.cli.errors import say
from forebay.cli.getting import Printer
from forebay.cli.lookup import kind_named, split, targets
from forebay.cli.manifests import merged, read
from forebay.cli.models import name_for
from forebay.cli.output import plain, size
from forebay.cli.pulling import rate
from forebay.errors import Absent, Invalid
from forebay.home.settings import node_names, parse_capacity, parse_labels, parse_pairs


@pytest.mark.parametrize(
    "word", ["isvc", "inferenceservice", "InferenceServices", "inferenceservices.serving.kserve.io"]
)
def test_a_kind_has_many_names(word: str) -> None:
    assert kind_named(word) is InferenceService


def test_kind_and_names_are_split() -> None:
    assert split(("po/a",)) == (Pod, ("a",))
    assert split(("lmc", "a", "b")) == (LocalModelCache, ("a", "b"))
    with pytest.raises(Invalid, match="no resource type 'nonsense'"):
        split(("nonsense",))
    with pytest.raises(Invalid, match="either KIND NAME… or KIND/NAME"):
        split(("po/a", "b"))


def test_several_kinds_and_names_are_taken_as_kubectl_takes_them() -> None:
    assert targets(("isvc,po", "a")) == [(InferenceService, ("a",)), (Pod, ("a",))]
    assert targets(("po/a", "isvc/b", "po/c")) == [(Pod, ("a", "c")), (InferenceService, ("b",))]
    every = [kind for kind, _ in targets(("all",))]
    assert Pod in every and len(every) == len(set(every)) > 3
    for wrong in (("po/",), ("/a",), ("po/a/b",), ("po,",), ("",), ()):
        with pytest.raises(Invalid):
            targets(wrong)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("hf://Org/Some_Model:main", "some-model"),
        ("hf://Org/7B-chat", "m-7b-chat"),
        ("s3://bucket/a/b/", "b"),
        ("https://host/x.gguf", "x-gguf"),
    ],
)
def test_a_service_is_named_after_its_model(uri: str, name: str) -> None:
    assert name_for(uri) == name


@given(st.text(min_size=1, max_size=80))
def test_every_uri_gives_a_name_that_kserve_takes(text: str) -> None:
    name = name_for(f"hf://org/{text}x")
    assert len(name) <= 40
    assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in name)
    assert name[0].isalpha()
    assert not name.endswith("-")


def test_sizes_count_as_disks_do() -> None:
    assert [size(n) for n in (0, 999, 1000, 98_362_432, 4.3e9, 2e15, None)] == [
        "0 B", "999 B", "1.0 kB", "98.4 MB", "4.3 GB", "2000.0 TB", "?"
    ]  # fmt: skip


def test_rates_take_both_kinds_of_units() -> None:
    assert (
        rate("50M", "--limit-rate"),
        rate("1Gi", "--limit-rate"),
        rate("10", "--limit-rate"),
        rate("1.5kB/s", "--limit-rate"),
    ) == (50e6, 2**30, 10, 1500)
    with pytest.raises(Invalid, match="--limit-rate fast"):
        rate("fast", "--limit-rate")


def test_three_ways_meet_in_apply() -> None:
    last = {"spec": {"gone": 1, "kept": 1}}
    wanted = {"spec": {"kept": 2, "new": {"a": 1}}}
    current = {"spec": {"gone": 1, "kept": 1, "others": 3}, "status": {"x": 1}}
    assert merged(last, wanted, current) == {
        "spec": {"kept": 2, "new": {"a": 1}, "others": 3},
        "status": {"x": 1},
    }


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.integers() | st.dictionaries(st.sampled_from("xy"), st.integers())
    )
)
def test_applying_twice_changes_nothing(wanted: dict[str, object]) -> None:
    once = merged({}, wanted, {"e": 1})
    assert merged(wanted, wanted, once) == once


def test_manifests_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1\n")
    with pytest.raises(Invalid, match="not YAML"):
        read([str(bad)])
    bad.write_text("kind: Pod\n")
    with pytest.raises(Invalid, match="needs apiVersion and kind"):
        read([str(bad)])
    with pytest.raises(Absent, match="cannot read"):
        read([str(tmp_path / "none.yaml")])


def test_nodes_are_named_and_measured() -> None:
    assert node_names("kind-worker", 3) == ("kind-worker", "kind-worker2", "kind-worker3")
    assert parse_pairs(("a=b,c=d", "e="), option="--node-label") == {"a": "b", "c": "d", "e": ""}
    assert parse_capacity(("cpu=8,memory=32Gi", "nvidia.com/gpu=1"))["nvidia.com/gpu"] == "1"
    with pytest.raises(Invalid, match="--node-label a: give it as NAME=VALUE"):
        parse_pairs(("a",), option="--node-label")
    with pytest.raises(Invalid):
        parse_capacity(("cpu=many",))
    with pytest.raises(Invalid, match="at least one node"):
        node_names("a", 0)
    with pytest.raises(Invalid, match="--node-name A_b: a lowercase RFC 1123 subdomain"):
        node_names("A_b", 1)
    with pytest.raises(Invalid, match="--node-label: Invalid value"):
        parse_labels(("a b=c",))


def test_what_others_wrote_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x1b[31mred\x9b5m\rover"
    assert plain(f"a\tb\n{evil}") == "a\tb\n\\x1b]0;title\\x07\\x1b[31mred\\x9b5m\\x0dover"
    say(Invalid(evil, causes=(("spec", "FieldValueInvalid", evil),) * 2))
    Printer(wide=False, spaces=False).show(
        {"columnDefinitions": [{"name": "Message"}], "rows": [{"cells": [evil]}]}
    )
    print(columns([["NAME"], [evil]]))
    said = capsys.readouterr()
    assert not set("\x1b\x07\x9b\r") & set(said.out + said.err) and said.out.count("\\x1b[31m") == 2
