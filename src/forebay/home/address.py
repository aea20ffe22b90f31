"""The Service `kubernetes` in default: where programs of a cluster look for its API.

Source: kube-apiserver's own controller of it (names, labels, form; v1.34).
"""

from __future__ import annotations

from forebay.api.kinds import Endpoints, EndpointSlice, Namespace, Service
from forebay.api.meta import Json, Key, Resource
from forebay.api.services import API_ADDRESS
from forebay.errors import Absent
from forebay.store.loop import Watch
from forebay.store.protocol import Store, Where

NAME, NAMESPACE = "kubernetes", "default"
_ONLY = Where(namespace=NAMESPACE, name=NAME)


def wanted(host: str, port: int) -> tuple[Resource, ...]:
    """The Service and, in the new and the old form, the address that stands behind it."""
    https = {"name": "https", "port": port, "protocol": "TCP"}
    spec = {
        "clusterIP": API_ADDRESS, "type": "ClusterIP",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
    }  # fmt: skip
    return (
        Service.new(NAME, NAMESPACE, labels={"component": "apiserver", "provider": "kubernetes"}, spec=spec),
        EndpointSlice.new(
            NAME, NAMESPACE, labels={"kubernetes.io/service-name": NAME}, addressType="IPv4",
            endpoints=[{"addresses": [host], "conditions": {"ready": True}}], ports=[https],
        ),
        Endpoints.new(
            NAME, NAMESPACE, labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
            subsets=[{"addresses": [{"ip": host}], "ports": [https]}],
        ),
    )  # fmt: skip


def _service_of(namespace: Namespace) -> tuple[Key, ...]:
    return (Key(namespace.name, NAME),)


class ApiAddress:
    """Makes them, makes them again, and keeps them at the port of this life."""

    name = "api-address"
    watches = (
        Watch(Namespace, wakes=_service_of, where=Where(name=NAMESPACE)),  # there from the start
        *(Watch(kind, where=_ONLY) for kind in (Service, EndpointSlice, Endpoints)),
    )

    def __init__(self, store: Store, *, host: str, port: int) -> None:
        self._store, self._wanted = store, wanted(host, port)

    async def reconcile(self, key: Key) -> float | None:
        for item in self._wanted:
            try:
                have = await self._store.get(type(item), item.key)
            except Absent:
                await self._store.create(item)
                continue
            new = have.copy()
            for field in item.raw.keys() - {"apiVersion", "kind", "metadata"}:
                new.raw[field] = _over(have.raw.get(field), item.raw[field])
            await self._store.update(new)
        return None


def _over(have: object, mine: object) -> object:
    """A map keeps what it was given besides."""
    if isinstance(have, dict) and isinstance(mine, dict):
        merged: Json = {**have, **mine}
        return merged
    return mine
