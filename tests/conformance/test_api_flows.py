"""Conversations with the API server: the embedded one says what a real kube-apiserver said.

`verdicts/kube-apiserver-flows.json` holds the real one's words; `FOREBAY_WRITE_VERDICTS=1` writes it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.api_flows import FLOWS, Talk
from tests.conformance.embedded import beside
from tests.conformance.real.server import binaries, running

VERDICTS = Path(__file__).parent / "verdicts" / "kube-apiserver-flows.json"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The embedded API server, alone."""
    folder = tmp_path_factory.mktemp("embedded")
    with beside(folder):
        yield folder / "kubeconfig"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real one; skipped (and listed) where its binaries are missing."""
    folder = binaries()
    if folder is None:
        pytest.skip("no kube-apiserver here: make cluster-tools builds one")
    with running(folder, tmp_path_factory.mktemp("real")) as kubeconfig:
        yield kubeconfig


def said(name: str, kubeconfig: Path) -> Any:
    return json.loads(json.dumps(FLOWS[name](Talk(kubeconfig, name[:50].rstrip("-")))))


@pytest.mark.parametrize("name", FLOWS)
def test_the_embedded_server_says_what_the_real_one_said(name: str, embedded: Path) -> None:
    assert said(name, embedded) == json.loads(VERDICTS.read_text())["flows"][name]


@pytest.mark.kube
@pytest.mark.parametrize("name", FLOWS)
def test_the_real_server_still_says_so(name: str, real: Path) -> None:
    found = said(name, real)
    if os.environ.get("FOREBAY_WRITE_VERDICTS") == "1":
        known = json.loads(VERDICTS.read_text())["flows"] if VERDICTS.exists() else {}
        lines = [f"{json.dumps(n)}: {json.dumps({**known, name: found}[n])}"
                 for n in FLOWS if n == name or n in known]  # fmt: skip
        text = ",\n".join(lines)
        VERDICTS.write_text(f'{{"server": "kube-apiserver 1.34.4", "flows": {{\n{text}\n}}}}\n')
    assert found == json.loads(VERDICTS.read_text())["flows"][name]
