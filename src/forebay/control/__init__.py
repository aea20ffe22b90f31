"""Forebay's own controllers: caches, node groups, inference services. They cannot tell which home they are
in."""

from __future__ import annotations

from forebay.api.kinds import LocalModelCache, LocalModelNamespaceCache
from forebay.control.inferenceservice.controller import InferenceServiceController
from forebay.control.modelcache.controller import ModelCacheController
from forebay.control.modelnode.controller import ModelNodeController
from forebay.control.nodegroup.controller import NodeGroupController
from forebay.kit.clock import Clock
from forebay.store.loop import Controller
from forebay.store.protocol import Store

__all__ = ["controllers"]


def controllers(store: Store, *, system_namespace: str, clock: Clock) -> tuple[Controller, ...]:
    """All of Forebay's controllers, for run_controllers(). `system_namespace` holds the ConfigMap."""
    return (
        ModelCacheController(store, LocalModelCache, system_namespace=system_namespace, clock=clock),
        ModelCacheController(store, LocalModelNamespaceCache, system_namespace=system_namespace, clock=clock),
        ModelNodeController(store, clock=clock),
        NodeGroupController(store, system_namespace=system_namespace, clock=clock),
        InferenceServiceController(store, system_namespace=system_namespace, clock=clock),
    )
