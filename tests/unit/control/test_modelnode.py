"""Labels of a Node: one for each copy that is ready there, none for others, foreign labels untouched."""

from __future__ import annotations

import pytest

from forebay.api.kinds import LocalModelNode, LocalModelNodeGroup, Node
from forebay.control.actions import Delete, Replace
from forebay.control.modelnode.decide import Seen, decide, status

KEY = "localmodel.forebay.dev/c277d78a31bc6624"
ENTRY = {
    "modelName": "m", "sourceModelUri": "hf://meta-llama/meta-llama-3-8b-instruct", "nodeGroup": "workers",
}  # fmt: skip


def listed(state: str, *entries: dict[str, str]) -> LocalModelNode:
    item = LocalModelNode.new("n", spec={"localModels": list(entries or (ENTRY,))})
    item.raw["status"] = {"modelStatus": {"m": state}}
    return item


def labels_after(node: Node, model_node: LocalModelNode | None) -> dict[str, str]:
    actions = decide(Seen(node, model_node))
    assert len(actions) <= 1
    return actions[0].item.labels if actions and isinstance(actions[0], Replace) else node.labels


@pytest.mark.parametrize("state", ["", "ModelDownloadPending", "ModelDownloading", "ModelDownloadError"])
def test_what_is_not_downloaded_has_no_label_and_loses_the_one_it_had(state: str) -> None:
    assert labels_after(Node.new("n", labels={"a": "b", KEY: "workers"}), listed(state)) == {"a": "b"}


def test_a_ready_copy_is_labelled_with_its_group_and_then_nothing_is_done() -> None:
    after = labels_after(Node.new("n", labels={"a": "b"}), listed("ModelDownloaded"))
    assert after == {"a": "b", KEY: "workers"}
    assert decide(Seen(Node.new("n", labels=after), listed("ModelDownloaded"))) == ()


def test_a_copy_from_another_server_has_another_label() -> None:
    entry = ENTRY | {"storageKey": "c277d78a31bc6624-01234567"}
    assert set(labels_after(Node.new("n"), listed("ModelDownloaded", entry))) == {KEY + "-01234567"}


def test_a_list_without_a_node_goes_once_it_is_empty() -> None:
    assert decide(Seen(None, listed("ModelDownloaded"))) == ()
    empty = LocalModelNode.new("n", spec={"localModels": []})
    [action] = decide(Seen(None, empty))
    assert isinstance(action, Delete)


def a_group(*hosts: str) -> LocalModelNodeGroup:
    needed = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(hosts)}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [needed]}]}}
    return LocalModelNodeGroup.new("g", spec={"persistentVolumeSpec": {"nodeAffinity": affinity}})


def test_a_list_goes_once_it_is_empty_and_no_agent_is_left_to_say_what_is_there() -> None:
    empty = LocalModelNode.new("n", spec={"localModels": []})
    empty.raw["status"] = {"modelStatus": {"m": "ModelDownloaded"}, "ready": "1/1"}
    node = Node.new("n", labels={"kubernetes.io/hostname": "n"})
    assert decide(Seen(node, empty, (a_group("n", "o"),))) == ()
    [action] = decide(Seen(node, empty, (a_group("o"),)))
    assert isinstance(action, Delete) and action.kind is LocalModelNode
    assert decide(Seen(node, listed("ModelDownloadPending"), (a_group("o"),))) == ()
    replaced, gone = decide(Seen(Node.new("n", labels={KEY: "g"}), empty))
    assert isinstance(replaced, Replace) and replaced.item.labels == {} and isinstance(gone, Delete)


def test_the_part_of_a_group_that_the_node_left_goes_and_the_others_stay() -> None:
    item = listed("ModelDownloaded")
    said = {"m": {"group": "workers"}, "left": {"group": "g"}, "kept": {"group": "h"}}
    item.raw["status"] = {
        "modelStatus": dict.fromkeys(said, "ModelDownloaded"),
        "models": said,
        "groups": {"workers": {"used": 1}, "g": {"used": 2}, "h": {"used": 3}},
        "ready": "3/3",
    }
    node, there = Node.new("n", labels={"kubernetes.io/hostname": "n"}), a_group("n")
    there.raw["metadata"]["name"] = "h"
    after = status(Seen(node, item, (a_group("o"), there)))
    assert after is not None
    assert set(after["groups"]) == {"workers", "h"}  # workers: its entry goes first
    assert set(after["models"]) == set(after["modelStatus"]) == {"m", "kept"}
    assert status(Seen(node, item, (a_group("n"), there))) is None
    item.raw["status"] = after
    assert status(Seen(node, item, (a_group("o"), there))) is None
