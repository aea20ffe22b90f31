"""Reads and writes for EndpointSlices and Endpoints."""

from __future__ import annotations

from forebay.api.kinds import Endpoints, EndpointSlice, Pod, Service
from forebay.api.meta import Key
from forebay.home.workloads.actions import carry_out
from forebay.home.workloads.endpoints.decide import MANAGED_BY, MANAGER, SERVICE_NAME, Seen, decide
from forebay.home.workloads.wakes import namespace_of
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where


class EndpointsController:
    """Keeps the slices of every Service of a namespace; a pod's change may concern several of them."""

    name = "endpoint-slice-controller"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.watches: tuple[Watch, ...] = (
            Watch(Service, wakes=namespace_of),
            Watch(Pod, wakes=namespace_of),
            Watch(EndpointSlice, wakes=namespace_of),
            Watch(Endpoints, wakes=namespace_of),
        )

    async def reconcile(self, key: Key) -> float | None:
        here = Where(namespace=key.namespace)
        services = (await self._store.list(Service, here)).items
        if not services:
            return None
        pods = (await self._store.list(Pod, here)).items
        slices = (await self._store.list(EndpointSlice, here)).items
        old = {item.name: item for item in (await self._store.list(Endpoints, here)).items}
        for service in services:
            found = _selected(service, pods), _made_for(service, slices), old.get(service.name)
            actions = decide(Seen(service, *found))
            await carry_out(self._store, actions, component=self.name, clock=self._clock)
        return None


def _selected(service: Service, pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    selector = service.spec.get("selector") or {}
    return tuple(pod for pod in pods if selector.items() <= pod.labels.items())


def _made_for(service: Service, slices: tuple[EndpointSlice, ...]) -> tuple[EndpointSlice, ...]:
    """Slices that someone else manages for the same Service are theirs."""
    mine = {SERVICE_NAME: service.name, MANAGED_BY: MANAGER}
    return tuple(item for item in slices if mine.items() <= item.labels.items())
