"""Which labels a Node carries for its copies. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api import names
from forebay.api.kinds import LocalModelNode, Node
from forebay.api.meta import Json
from forebay.api.states import ModelState
from forebay.control.actions import Action, Replace, delete


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at; either may be absent."""

    node: Node | None
    model_node: LocalModelNode | None


def decide(seen: Seen) -> tuple[Action, ...]:
    """Label the Node with its ready copies and nothing else; an empty list without a Node is removed."""
    if seen.node is None:
        gone = seen.model_node is not None and not seen.model_node.spec.get("localModels")
        return (delete(seen.model_node),) if gone and seen.model_node is not None else ()
    wanted = ready_labels(seen.model_node) if seen.model_node is not None else {}
    before = seen.node.labels
    after = {k: v for k, v in before.items() if not k.startswith(names.NODE_LABEL_PREFIX)} | wanted
    if after == before:
        return ()
    item = seen.node.copy()
    item.meta["labels"] = after
    return (Replace(item),)


def ready_labels(model_node: LocalModelNode) -> dict[str, str]:
    """Label per storage key that some cache holds ready on this node; the value is the node group.

    Where two groups hold the same key, the first by name is named.
    """
    states: Json = model_node.status.get("modelStatus") or {}
    found: dict[str, str] = {}
    for entry in model_node.spec.get("localModels") or ():
        told = names.status_key(str(entry.get("namespace") or ""), str(entry.get("modelName")))
        if states.get(told) != ModelState.DOWNLOADED:
            continue
        label, group = names.node_label(names.entry_key(entry)), names.label_value(names.node_group_of(entry))
        found[label] = min(found.get(label, group), group)
    return found
