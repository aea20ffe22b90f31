"""Which labels a Node carries for its copies. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forebay.api import names
from forebay.api.affinity import matches_node
from forebay.api.kinds import LocalModelNode, LocalModelNodeGroup, Node
from forebay.api.meta import Json
from forebay.api.states import ModelState
from forebay.control.actions import Action, Replace, delete
from forebay.control.volumes import group_terms


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at; either may be absent."""

    node: Node | None
    model_node: LocalModelNode | None
    groups: tuple[LocalModelNodeGroup, ...] = ()

    @property
    def left(self) -> frozenset[str]:
        """Groups whose part of the status nobody keeps: the node is not theirs, and no entry names them."""
        if self.model_node is None or self.node is None:
            return frozenset()
        kept = {names.node_group_of(e) for e in self.model_node.spec.get("localModels") or ()}
        kept |= {g.name for g in self.groups if matches_node(group_terms(g), self.node)}
        return frozenset(self.model_node.status.get("groups") or ()) - kept

    @property
    def abandoned(self) -> bool:
        """Whether the list is empty and no agent is left to keep its status: what it says would stay."""
        if self.model_node is None or self.model_node.spec.get("localModels"):
            return False
        return self.node is None or not any(matches_node(group_terms(g), self.node) for g in self.groups)


def decide(seen: Seen) -> tuple[Action, ...]:
    """Label the Node with its ready copies and nothing else; an empty list that no agent keeps is removed."""
    gone = (delete(seen.model_node),) if seen.abandoned and seen.model_node is not None else ()
    if seen.node is None:
        return gone
    wanted = ready_labels(seen.model_node) if seen.model_node is not None else {}
    before = seen.node.labels
    after = {k: v for k, v in before.items() if not k.startswith(names.NODE_LABEL_PREFIX)} | wanted
    if after == before:
        return gone
    item = seen.node.copy()
    item.meta["labels"] = after
    return (Replace(item), *gone)


def status(seen: Seen) -> Json | None:
    """The status without parts of agents that are gone, or None to leave it; the others sum it up anew."""
    if seen.model_node is None or not (left := seen.left):
        return None
    before = seen.model_node.status
    gone = {model for model, said in (before.get("models") or {}).items() if said.get("group") in left}

    def kept(field: str, without: Iterable[str]) -> Json:
        return {name: said for name, said in (before.get(field) or {}).items() if name not in without}

    return {
        **before,
        "groups": kept("groups", left),
        "models": kept("models", gone),
        "modelStatus": kept("modelStatus", gone),
    }


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
