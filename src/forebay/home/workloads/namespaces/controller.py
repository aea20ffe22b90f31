"""Reads and writes for namespaces."""

from __future__ import annotations

import logging

from forebay.api.kinds import ConfigMap, Namespace, ServiceAccount
from forebay.api.meta import Key, Resource
from forebay.errors import Absent, ForebayError
from forebay.home.workloads.actions import carry_out_each
from forebay.home.workloads.discover import kinds
from forebay.home.workloads.namespaces.decide import ROOT_CA, Seen, decide
from forebay.kit.clock import Clock
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where

log = logging.getLogger(__name__)


class NamespaceController:
    """Furnishes and empties namespaces."""

    name = "namespace-controller"

    def __init__(self, store: Store, *, clock: Clock, ca_pem: str) -> None:
        self._store, self._clock, self._ca_pem = store, clock, ca_pem
        self.watches: tuple[Watch, ...] = (
            Watch(Namespace),
            Watch(ServiceAccount, wakes=_home_of, where=Where(fields="metadata.name=default")),
            Watch(ConfigMap, wakes=_home_of, where=Where(fields=f"metadata.name={ROOT_CA}")),
        )

    async def reconcile(self, key: Key) -> float | None:
        try:
            namespace = await self._store.get(Namespace, key)
        except Absent:
            return None
        decision = decide(Seen(namespace, await self._content(namespace), self._ca_pem, self._clock.now()))
        try:
            await carry_out_each(self._store, decision.actions, component=self.name, clock=self._clock)
        except ForebayError as error:
            if not namespace.deleting:
                raise
            # what refuses to go now (a cache in use) may go when the rest is gone
            log.info("namespace %s still holds something: %s", key, error.message)
        return decision.look_again_s

    async def _content(self, namespace: Namespace) -> tuple[Resource, ...]:
        """All of it when it must go; otherwise only what every namespace is born with."""
        wanted = await kinds(self._store) if namespace.deleting else (ServiceAccount, ConfigMap)
        where = Where(namespace=namespace.name)
        found: list[Resource] = []
        for kind in wanted:
            if kind.namespaced:
                found += (await self._store.list(kind, where)).items
        return tuple(found)


def _home_of(item: Resource) -> tuple[Key, ...]:
    return (Key("", item.namespace),)
