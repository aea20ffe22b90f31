"""A list that is continued after its moment was forgotten: 410 over HTTP, with what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from forebay.store import history
from tests.conformance.api_flows import Talk
from tests.conformance.embedded import embedded


def conversation(kubeconfig: Path) -> None:
    talk = Talk(kubeconfig, "forgotten")
    for name in ("a", "b", "c"):
        talk.map(name)
    page = talk.ok("GET", f"{talk.maps}?limit=1")["metadata"]
    token = quote(page["continue"])
    assert talk("GET", f"{talk.maps}?limit=1&continue={token}")[0] == 200
    for number in range(20):
        talk.map(f"later-{number}")
    code, told = talk("GET", f"{talk.maps}?limit=1&continue={token}")
    assert (code, told["code"], told["reason"], told["status"]) == (410, 410, "Expired", "Failure")
    assert "start a new list without the continue parameter" in told["message"]
    exact = f"resourceVersion={page['resourceVersion']}&resourceVersionMatch=Exact"
    code, told = talk("GET", f"{talk.maps}?{exact}")
    assert (code, told["reason"]) == (410, "Expired") and "too old" in told["message"]
    assert len(talk.ok("GET", talk.maps)["items"]) == 23


def test_a_forgotten_token_is_410_and_a_new_list_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEEP_LOG_ROWS", 4)

    async def body() -> None:
        async with embedded(tmp_path) as kubeconfig:
            await asyncio.to_thread(conversation, kubeconfig)

    asyncio.run(body())
