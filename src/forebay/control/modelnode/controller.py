"""Carries out what decide() says about one node's labels."""

from __future__ import annotations

from forebay.api.kinds import LocalModelNode, Node
from forebay.api.meta import Key
from forebay.control.carry import carry_out
from forebay.control.modelnode.decide import Seen, decide
from forebay.control.reading import maybe
from forebay.control.when import LOOK_S
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store


class ModelNodeController:
    """LocalModelNode -> labels of the Node of the same name."""

    name = "localmodelnode"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.watches = (Watch(LocalModelNode), Watch(Node))

    async def reconcile(self, key: Key) -> float | None:
        """Look, decide, act."""
        node, model_node = await maybe(self._store, Node, key), await maybe(self._store, LocalModelNode, key)
        about = model_node or node
        if about is not None:
            await carry_out(self._store, about, decide(Seen(node, model_node)), clock=self._clock)
        return LOOK_S if about is not None else None
