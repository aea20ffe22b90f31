"""What the health paths tell, in kube-apiserver's words."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from forebay.home.apiserver.health import answer, is_health

WELL = {"ping": True, "store": True, "shutdown": True}
ENDING = {**WELL, "shutdown": False}


@pytest.mark.parametrize(
    ("path", "query", "checks", "code", "text"),
    [
        ("/livez", "", WELL, 200, "ok"),
        ("/livez", "verbose", WELL, 200, "[+]ping ok\n[+]store ok\nlivez check passed\n"),
        ("/livez", "verbose", ENDING, 200, "[+]ping ok\n[+]store ok\nlivez check passed\n"),
        ("/readyz", "", ENDING, 500,
         "[+]ping ok\n[+]store ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"),
        ("/readyz", "exclude=shutdown", ENDING, 200, "ok"),
        ("/readyz", "verbose&exclude=shutdown", ENDING, 200,
         "[+]ping ok\n[+]store ok\n[+]shutdown excluded: ok\nreadyz check passed\n"),
        ("/healthz/", "", WELL, 200, "ok"),
        ("/readyz/store", "", WELL, 200, "ok"),
        ("/readyz/shutdown", "", ENDING, 500, "internal server error\n"),
        ("/livez/nothing", "", WELL, 404, "404 page not found\n"),
    ],
)  # fmt: skip
def test_health_is_told(path: str, query: str, checks: dict[str, bool], code: int, text: str):
    found = answer(path, QueryParams(query), checks)
    assert (found.status_code, found.body.decode()) == (code, text)


def test_an_unknown_exclusion_is_told():
    found = answer("/livez", QueryParams("verbose&exclude=x"), WELL)
    assert b"warn: some health checks cannot be excluded: no matches for x" in found.body


def test_only_health_is_health():
    assert is_health("/livez/ping") and is_health("/healthz")
    assert not is_health("/livezz") and not is_health("/api")
