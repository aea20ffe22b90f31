"""Carries out what decide() says about one node's labels and its list of models."""

from __future__ import annotations

from forebay.api.kinds import LocalModelNode, LocalModelNodeGroup, Node
from forebay.api.meta import Key
from forebay.control.carry import carry_out, report
from forebay.control.modelnode.decide import Seen, decide, status
from forebay.control.reading import Known, maybe
from forebay.control.when import LOOK_S
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store


class ModelNodeController:
    """LocalModelNode -> labels of the Node of the same name."""

    name = "localmodelnode"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known = known = Known()
        self.watches = (
            Watch(LocalModelNode, wakes=known.own),
            Watch(Node),
            Watch(LocalModelNodeGroup, wakes=known.everyone),
        )

    async def reconcile(self, key: Key) -> float | None:
        """Look, decide, act."""
        node, model_node = await maybe(self._store, Node, key), await maybe(self._store, LocalModelNode, key)
        groups = (await self._store.list(LocalModelNodeGroup)).items
        about = model_node or node
        if model_node is None:
            self._known.forget(key)
        if about is not None:
            seen = Seen(node, model_node, groups)
            if model_node is not None:
                await report(self._store, model_node, status(seen))
            await carry_out(self._store, about, decide(seen), clock=self._clock)
        return LOOK_S if about is not None else None
