"""Every source, behind TLS with a private authority, a server that asks for certificates, and a proxy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from forebay.engines.hub import Hub, HubSettings
from forebay.errors import Unavailable
from forebay.pull import Settings, pull_to
from forebay.sources.table import resolve
from tests.conformance.origins import Origin, write_tree
from tests.conformance.test_sources import ORIGINS, tree_of
from tests.faults.test_pull_local_faults import Tunnel, authority, over_tls

__all__ = ["authority"]  # a fixture
NETWORKED = [name for name in ORIGINS if name not in ("file",) and "-" not in name]


@contextmanager
def small_hub_origin(root: Path) -> Iterator[Origin]:
    """A hub without large files: it redirects those to plain HTTP, where no TLS client follows."""
    tree = {f"{n}.json": b"[]" * n for n in (0, 9, 90_000)}
    write_tree(root / "acme" / "tiny", tree)
    with Hub(HubSettings(root, page=2)) as hub:
        yield Origin("hf://acme/tiny", tree, {"HF_ENDPOINT": hub.url}, {}, "", root)


@pytest.fixture(scope="module", params=[pytest.param(n, marks=ORIGINS[n][1:]) for n in NETWORKED])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    root = tmp_path_factory.mktemp("origin") / "root"
    root.mkdir()
    make = small_hub_origin if request.param == "hf" else ORIGINS[request.param][0]
    with make(root) as origin:
        yield origin


@dataclass
class Secured:
    """An origin's addresses behind a TLS front."""

    uri: str
    env: dict[str, str]
    tree: dict[str, bytes]


@pytest.fixture
def secured(plain: Origin, tmp_path: Path, authority: Path) -> Iterator[Secured]:
    found = re.search(r"127\.0\.0\.1:(\d+)", plain.uri + " ".join(plain.env.values()))
    assert found
    with over_tls(SimpleNamespace(port=int(found[1])), authority, ask_client=True) as url:  # type: ignore[arg-type]
        host = url.split("/")[2]

        def moved(text: str) -> str:
            return text.replace(f"http://{found[0]}", f"https://{host}").replace(found[0], host)

        env = {
            name: moved(value) for name, value in plain.env.items() if name != "KSERVE_OCI_INSECURE_REGISTRY"
        }
        if "KSERVE_OCI_DOCKER_CONFIG" in env:
            config = tmp_path / "config.json"
            config.write_text(moved(Path(env["KSERVE_OCI_DOCKER_CONFIG"]).read_text()))
            env["KSERVE_OCI_DOCKER_CONFIG"] = str(config)
        yield Secured(moved(plain.uri), env, plain.tree)


def test_a_private_authority_a_client_certificate_and_a_proxy_are_honoured(
    secured: Secured, tmp_path: Path, authority: Path
) -> None:
    with closing(Tunnel()) as proxy:
        env = {**secured.env, "SSL_CERT_FILE": str(authority), "FOREBAY_CLIENT_CERT": str(authority),
               "HTTPS_PROXY": proxy.url}  # fmt: skip
        pull_to(secured.uri, tmp_path / "a", env=env, settings=Settings())
        assert tree_of(tmp_path / "a") == secured.tree
        assert len(proxy.asked) > 1 and all(a.startswith("CONNECT") and "with cred" in a for a in proxy.asked)
        count = len(proxy.asked)
        pull_to(secured.uri, tmp_path / "b", env={**env, "NO_PROXY": "127.0.0.1"}, settings=Settings())
        assert tree_of(tmp_path / "b") == secured.tree and len(proxy.asked) == count


def test_who_is_not_known_is_not_trusted(secured: Secured) -> None:
    with pytest.raises(Unavailable, match="not trusted"):
        resolve(secured.uri, secured.env)
