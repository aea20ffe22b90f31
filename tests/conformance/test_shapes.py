"""Defaults, pruning, validation and strategic merges, held to the real kube-apiserver.

`verdicts/shapes.json` holds cases (a kind, an object as a client posts it, perhaps a strategic merge patch)
and what the
real server answered; every machine must reproduce it. Where the server's binaries are, the file itself is
held to the
server, and FOREBAY_WRITE_VERDICTS=1 writes the verdicts anew: to add a case, add it without one and run that.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from forebay.api import kinds, schema
from forebay.api.admission import Rules
from forebay.errors import Invalid
from forebay.store import objects
from tests.conformance.test_store import real_kubeconfig  # noqa: F401 - a fixture

VERDICTS = Path(__file__).parent / "verdicts" / "shapes.json"
WRITE = os.environ.get("FOREBAY_WRITE_VERDICTS") == "1"
MADE_UP = {"uid", "creationTimestamp", "resourceVersion", "managedFields", "generation", "namespace"}
# Not ours to give: the clock's, another controller's, or a plug-in's that the test's server does without.
ELSEWHERE = {
    "serviceAccount",
    "serviceAccountName",
    "lastPhaseTransitionTime",
    "clusterIP",
    "clusterIPs",
    "taints",
}
KINDS = {f"{kind.api_version} {kind.kind}": kind for kind in kinds.ALL}
CASES: dict[str, Any] = json.loads(VERDICTS.read_text())
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DRAWN = re.compile(r"\b([xX]-)[a-z0-9]{5}\b")


def plain(value: Any) -> Any:
    """Without nulls and what a server makes up."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None and key not in ELSEWHERE}
    return [plain(item) for item in value] if isinstance(value, list) else value


def stored(raw: Any) -> Any:
    """A stored form, fit to compare."""
    text = json.dumps(raw)
    uid = raw["metadata"].get("uid")
    out = plain(json.loads(text.replace(uid, "UID") if uid else text))
    out["metadata"] = {key: item for key, item in out["metadata"].items() if key not in MADE_UP}
    if "generateName" in out["metadata"]:
        del out["metadata"]["name"]
    if out["kind"] == "CustomResourceDefinition":
        out.pop("status", None)
    return out


def refusal(causes: list[str], message: str) -> Any:
    """The causes, or the message where there are none, without what a server makes up."""
    said = sorted(_DRAWN.sub(r"\1NAME", _UID.sub("UID", one)) for one in causes or [message])
    return {"refused": said}


def ours(kind: Any, raw: Any) -> Any:
    try:
        schema.check_types(raw, kind)
        unknown = schema.unknown_fields(raw, kind)
        if unknown:
            raise schema.strict_error(kind, unknown)
        new = objects.new_object(kind, raw, uid="UID", now="2026-01-01T00:00:00Z")
        return stored(Rules().prepare(kind, new, None, "create"))
    except Invalid as error:
        return refusal([f"{path}: {message}" for path, _, message in error.causes], error.message)


def merged(kind: Any, raw: Any, patch: Any) -> Any:
    live = Rules().prepare(
        kind, objects.new_object(kind, raw, uid="UID", now="2026-01-01T00:00:00Z"), None, "create"
    )
    try:
        new = schema.strategic_merge(live, patch, kind)
        return stored(Rules().prepare(kind, new, live, "update"))
    except Invalid as error:
        return refusal([f"{path}: {message}" for path, _, message in error.causes], error.message)


def posted(kind: Any, raw: dict[str, Any]) -> dict[str, Any]:
    out = {"apiVersion": kind.api_version, "kind": kind.kind, **copy.deepcopy(raw)}
    out.setdefault("metadata", {}).pop("uid", None)
    if kind.namespaced:
        out["metadata"]["namespace"] = "default"
    return out


@pytest.mark.parametrize("name", CASES)
def test_an_object_is_stored_or_refused_as_the_real_server_does(name: str):
    case = CASES[name]
    kind = KINDS[case["kind"]]
    raw = posted(kind, case["object"])
    found = merged(kind, raw, case["patch"]) if "patch" in case else ours(kind, raw)
    assert found == case["verdict"]


@pytest.fixture
def server(real_kubeconfig: Path) -> Iterator[httpx.Client]:  # noqa: F811 - the fixture
    url = yaml.safe_load(real_kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    headers = {"Authorization": "Bearer admin-token"}
    with httpx.Client(base_url=url, verify=False, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def answer(response: httpx.Response) -> Any:
    found = response.json()
    if found.get("kind") != "Status":
        return stored(found)
    causes = (found.get("details") or {}).get("causes") or []
    return refusal([f"{one.get('field')}: {one['message']}" for one in causes], found["message"])


@pytest.mark.kube
@pytest.mark.timeout(300)
def test_the_verdicts_are_the_real_servers(server: httpx.Client):
    found = {}
    for name, case in CASES.items():
        kind = KINDS[case["kind"]]
        found[name] = (_patched if "patch" in case else _created)(server, kind, case)
    if WRITE:
        new = {name: {**case, "verdict": found[name]} for name, case in CASES.items()}
        lines = (f"{json.dumps(name)}: {json.dumps(case, sort_keys=True)}" for name, case in new.items())
        VERDICTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    else:
        assert found == {name: case["verdict"] for name, case in CASES.items()}


def _created(server: httpx.Client, kind: Any, case: Any) -> Any:
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return answer(server.post(_place(kind), params=query, json=posted(kind, case["object"])))


def _patched(server: httpx.Client, kind: Any, case: Any) -> Any:
    server.post(_place(kind), json=posted(kind, case["object"])).raise_for_status()
    place = f"{_place(kind)}/{case['object']['metadata']['name']}"
    media = {"Content-Type": "application/strategic-merge-patch+json"}
    found = server.patch(place, params={"dryRun": "All"}, content=json.dumps(case["patch"]), headers=media)
    server.delete(place).raise_for_status()
    return answer(found)


def _place(kind: Any) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
