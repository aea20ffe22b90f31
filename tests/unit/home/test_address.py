"""The Service `kubernetes`, where programs look for the API."""

from __future__ import annotations

import asyncio
from pathlib import Path

from forebay.api.admission import Rules
from forebay.api.kinds import Endpoints, EndpointSlice, Namespace, Service
from forebay.api.meta import Key
from forebay.home.address import ApiAddress
from forebay.store.sqlite import SqliteStore

HERE = Key("default", "kubernetes")


def test_it_is_made_made_again_and_follows_the_port(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "forebay.db", Rules())
        await store.open()
        await store.create(Namespace.new("default"))
        await ApiAddress(store, host="127.0.0.1", port=6443).reconcile(HERE)
        service = await store.get(Service, HERE)
        assert service.spec["clusterIP"] == "10.96.0.1" and service.spec["ports"][0]["targetPort"] == 6443
        assert service.labels == {"component": "apiserver", "provider": "kubernetes"}
        quiet = store.revision()
        now = ApiAddress(store, host="127.0.0.1", port=6443)
        await now.reconcile(HERE)
        assert store.revision() == quiet  # or it would wake itself for ever
        await store.delete(Service, HERE)
        await store.delete(EndpointSlice, HERE)
        await now.reconcile(HERE)
        assert (await store.get(Service, HERE)).uid != service.uid
        await ApiAddress(store, host="127.0.0.1", port=7443).reconcile(HERE)
        assert (await store.get(Service, HERE)).spec["ports"][0]["targetPort"] == 7443
        behind = await store.get(EndpointSlice, HERE)
        assert behind.raw["ports"] == [{"name": "https", "port": 7443, "protocol": "TCP"}]
        assert behind.raw["endpoints"] == [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
        old = (await store.get(Endpoints, HERE)).raw["subsets"]
        assert old == [{"addresses": [{"ip": "127.0.0.1"}], "ports": behind.raw["ports"]}]
        await store.close()

    asyncio.run(body())
