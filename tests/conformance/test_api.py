"""The API server's answers beside those of a real kube-apiserver.

`verdicts/kube-apiserver-http.json` holds what the real one said. With its binaries (tests/conformance/real)
it is asked again, and `FOREBAY_WRITE_VERDICTS=1` writes it anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import api_requests
from tests.conformance.embedded import beside
from tests.conformance.real.server import binaries, running

VERDICTS = Path(__file__).parent / "verdicts" / "kube-apiserver-http.json"
# Sentences that Go's libraries make, and what we do not offer: only the code is held.
ONLY_CODE = (
    "accepted media types include", "strict decoding error", "Object 'Kind' is missing",
    "invalid bearer token",
)  # fmt: skip
# Namespaces and definitions have ways of their own to be deleted there; a binding changes no generation.


def embedded(folder: Path) -> list[dict[str, Any]]:
    with beside(folder):
        return api_requests.play(folder / "kubeconfig")


def held(found: dict[str, Any]) -> dict[str, Any]:
    """What both must agree on of one answer."""
    out = dict(found)
    if any(text in out.get("message", "") for text in ONLY_CODE):
        return {"asked": out["asked"], "code": out["code"]}
    if "message" in out:
        out["message"] = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", out["message"])
        out["message"] = re.sub(r"(record|current:) \(?\d+\)?", r"\1 N", out["message"])
    return out


def test_the_embedded_server_answers_as_the_real_one_did(tmp_path: Path) -> None:
    wanted = json.loads(VERDICTS.read_text())["answers"]
    found = embedded(tmp_path)
    assert [held(one) for one in found] == [held(one) for one in wanted]


@pytest.mark.kube
def test_the_real_server_still_answers_so(tmp_path: Path) -> None:
    folder = binaries()
    if folder is None:
        pytest.skip("no kube-apiserver here: make cluster-tools builds one")
    with running(folder, tmp_path) as kubeconfig:
        found = api_requests.play(kubeconfig)
    if os.environ.get("FOREBAY_WRITE_VERDICTS"):
        lines = ",\n".join(json.dumps(held(one), sort_keys=True) for one in found)
        VERDICTS.write_text(f'{{"server": "kube-apiserver 1.34.4", "answers": [\n{lines}\n]}}\n')
    wanted = json.loads(VERDICTS.read_text())["answers"]
    assert [held(one) for one in found] == [held(one) for one in wanted]
