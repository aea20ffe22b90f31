"""Strategic merge patches, with results worked out by hand from Kubernetes' documented rules."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api import kinds, schema
from forebay.errors import Invalid

from .objects import pod


def patched(current: dict[str, Any], patch: dict[str, Any], kind: type = kinds.Pod) -> Any:
    return schema.strategic_merge(current, patch, kind)


def with_containers(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(containers)}}


A, B = {"name": "a", "image": "1"}, {"name": "b", "image": "2"}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ([{"name": "a", "image": "9"}], [{"name": "a", "image": "9"}, B]),
        ([{"name": "c", "image": "3"}], [{"name": "c", "image": "3"}, A, B]),
        ([{"name": "a", "$patch": "delete"}], [B]),
        ([{"name": "x", "$patch": "delete"}], [A, B]),
        ([{"$patch": "replace"}, {"name": "z"}], [{"name": "z"}]),
        ([{"name": "a", "image": None}], [{"name": "a"}, B]),
        (
            [{"name": "a", "env": [{"name": "E", "value": "1"}]}],
            [{**A, "env": [{"name": "E", "value": "1"}]}, B],
        ),
    ],
)
def test_lists_with_a_merge_key_merge_by_it(patch: list[Any], expected: list[Any]):
    assert patched(with_containers(A, B), with_containers(*patch)) == with_containers(*expected)


def test_items_are_ordered_as_the_patch_says_and_the_servers_own_keep_their_place():
    server = with_containers({"name": "sidecar"}, {"name": "a"}, {"name": "b"}, {"name": "late"})
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b", "image": "2"}],
        }
    }
    names = [one["name"] for one in patched(server, patch)["spec"]["containers"]]
    assert names == ["sidecar", "b", "a", "late"]


def test_a_list_that_was_not_there_is_taken_as_it_is():
    nameless = with_containers({"image": "1"}, {"image": "2"})
    assert patched({"spec": {}}, nameless) == nameless  # for validation to refuse


def test_atomic_lists_are_replaced():
    assert patched({"spec": {"tolerations": [{"key": "a"}]}}, {"spec": {"tolerations": [{"key": "b"}]}}) == {
        "spec": {"tolerations": [{"key": "b"}]}
    }


def test_lists_of_plain_values_merge_and_lose_what_the_patch_names():
    current = {"metadata": {"finalizers": ["x/a", "x/b"]}}
    assert patched(current, {"metadata": {"finalizers": ["x/c"]}}) == {
        "metadata": {"finalizers": ["x/c", "x/a", "x/b"]}
    }
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}
    assert patched(current, gone) == {"metadata": {"finalizers": ["x/b"]}}
    ordered = {"metadata": {"$setElementOrder/finalizers": ["x/b", "x/a"]}}
    assert patched(current, ordered) == {"metadata": {"finalizers": ["x/b", "x/a"]}}


def test_retain_keys_drops_what_the_patch_does_not_name():
    current = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patched(current, patch, kinds.Deployment) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_a_volume_changes_its_kind_through_retain_keys():
    current = pod(volumes=[{"name": "v", "emptyDir": {}}])
    change = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
    assert patched(current, {"spec": {"volumes": [change]}})["spec"]["volumes"] == [
        {"name": "v", "hostPath": {"path": "/x"}}
    ]


def test_maps_merge_and_null_removes():
    current = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    assert patched(current, {"metadata": {"labels": {"a": None, "c": "3"}}}) == {
        "metadata": {"labels": {"b": "2", "c": "3"}}
    }
    assert patched(current, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}) == {
        "metadata": {"labels": {"c": "3"}}
    }


def test_neither_argument_changes():
    current, patch = with_containers(A, B), with_containers({"name": "a", "$patch": "delete"})
    patched(current, patch)
    assert current == with_containers(A, B)
    assert patch == with_containers({"name": "a", "$patch": "delete"})


@pytest.mark.parametrize("patch", [with_containers({"image": "1"}), {"spec": {"$patch": "explode"}}])
def test_patches_that_mean_nothing_are_refused(patch: dict[str, Any]):
    with pytest.raises(Invalid) as refused:
        patched(with_containers(A), patch)
    assert refused.value.reason == "BadRequest"


def test_a_merge_patch_follows_the_examples_of_rfc_7386():
    for current, patch, result in [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ]:
        assert schema.json_merge(current, patch) == result
