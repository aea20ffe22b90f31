"""The store suite on SQLite in process, the embedded API server, and a real kube-apiserver."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from forebay.api.crds import all_crds
from forebay.api.kinds import CustomResourceDefinition, Namespace
from forebay.api.meta import Key
from forebay.errors import Clash
from forebay.store.kube import KubeStore
from forebay.store.sqlite import SqliteStore
from tests.conformance import store_suite
from tests.conformance.real import server as real

VERDICTS = Path(__file__).parent / "verdicts" / "kube-apiserver.json"
WRITE = os.environ.get("FOREBAY_WRITE_VERDICTS") == "1"
_numbers = itertools.count(1)


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Any]:
    from forebay.api.admission import Rules

    store = SqliteStore(folder / "store.db", Rules())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="session")
def real_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real server with our CRDs; skipped (and listed) where its binaries are missing."""
    found = real.binaries()
    if found is None:
        pytest.skip("no kube-apiserver and etcd: run `make cluster-tools` or set KUBEBUILDER_ASSETS")
    with real.running(found, tmp_path_factory.mktemp("real")) as path:
        asyncio.run(_install_crds(path))
        yield path


async def _install_crds(kubeconfig: Path) -> None:
    store = client(kubeconfig)
    for crd in map(CustomResourceDefinition, all_crds()):
        await store.create(crd)
    async with asyncio.timeout(30):
        for crd in map(CustomResourceDefinition, all_crds()):
            while not _established(await store.get(CustomResourceDefinition, crd.key)):
                await asyncio.sleep(0.05)
    await store.close()


def _established(crd: CustomResourceDefinition) -> bool:
    conditions = crd.status.get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def client(kubeconfig: Path) -> KubeStore:
    config = KubeConfig.from_file(kubeconfig).get()
    assert config is not None
    return KubeStore(config, timeout_s=30.0)


async def play(name: str, store: Any) -> list[Any]:
    """Run one case in a namespace of its own and return what it noted."""
    ns = f"t{os.getpid()}-{next(_numbers)}"
    with contextlib.suppress(Clash):
        await store.create(Namespace.new(ns))
    world = store_suite.suite_store(store, ns)
    async with asyncio.timeout(50):
        await store_suite.CASES[name](world)
    await store.delete(Namespace, Key("", ns))
    return world.notes


def judge(name: str, notes: list[Any]) -> None:
    """The notes must be those of the real server."""
    verdicts = json.loads(VERDICTS.read_text())["cases"]
    assert name in verdicts, f"no verdict of the real server for {name}: run `make verdicts`"
    assert notes == verdicts[name]


@pytest.mark.parametrize("name", sorted(store_suite.CASES))
def test_sqlite(name: str, tmp_path: Path) -> None:
    async def body() -> list[Any]:
        async with sqlite(tmp_path) as store:
            return await play(name, store)

    judge(name, asyncio.run(body()))


@pytest.mark.parametrize("name", sorted(store_suite.CASES))
def test_embedded_api_server(name: str, tmp_path: Path) -> None:
    from tests.conformance.embedded import embedded

    async def body() -> list[Any]:
        async with embedded(tmp_path) as kubeconfig:
            store = client(kubeconfig)
            try:
                return await play(name, store)
            finally:
                await store.close()

    judge(name, asyncio.run(body()))


@pytest.mark.kube
@pytest.mark.parametrize("name", sorted(store_suite.CASES))
def test_real_kube_apiserver(name: str, real_kubeconfig: Path) -> None:
    async def body() -> list[Any]:
        store = client(real_kubeconfig)
        try:
            return await play(name, store)
        finally:
            await store.close()

    notes = asyncio.run(body())
    if WRITE:
        write_verdict(name, notes)
    judge(name, notes)


def write_verdict(name: str, notes: list[Any]) -> None:
    """Record what the real server answered (only on request: `make verdicts`)."""
    VERDICTS.parent.mkdir(exist_ok=True)
    data = (
        json.loads(VERDICTS.read_text())
        if VERDICTS.exists()
        else {"server": "kube-apiserver v1.34.4", "cases": {}}
    )
    data["cases"][name] = notes
    data["cases"] = dict(sorted(data["cases"].items()))
    VERDICTS.write_text(json.dumps(data, indent=1, sort_keys=False) + "\n")
