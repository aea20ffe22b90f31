"""A stable address that leads to signed ones: wherever in a file one of them ends, the next is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.pull import Settings, pull_to
from tests.conformance.test_http import ranged, serving
from tests.conformance.test_sources import tree_of

BODY = bytes(range(241)) * 50_000  # 12 MB
DIGEST = hashlib.sha256(BODY).hexdigest()
ONE_BY_ONE = Settings(segment_bytes=1 << 19, block_bytes=1 << 18, connections_start=1, connections_max=1)


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("status", [401, 403])
def test_an_address_that_ends_at_any_tenth_is_replaced_and_no_byte_comes_twice(
    tmp_path: Path, tenth: int, status: int
) -> None:
    """The first signed address is good for that much of the file, the next for all of it."""
    issued, sent = [0], [0]

    def store(request: Request) -> Reply:
        number = int(request.target.partition("sig=")[2])
        if "authorization" in request.headers:
            return Reply(400, {}, b"a credential followed the redirect")
        if number == 2 and sent[0] >= len(BODY) * tenth // 10:  # 1 was for the listing's own question
            return Reply(status, {}, b"Request has expired")
        reply = ranged(request, BODY, {"ETag": f'"{DIGEST}"'})
        assert isinstance(reply.body, bytes)
        sent[0] += len(reply.body) if request.method == "GET" else 0
        return reply

    def front(request: Request) -> Reply:
        assert request.headers.get("authorization") == "Bearer sesame"
        issued[0] += 1
        return Reply(302, {"Location": f"http://localhost:{far.port}/w.bin?sig={issued[0]}",
                           "X-Linked-Etag": f'"{DIGEST}"'})  # fmt: skip

    env = {"127.0.0.1-headers": "Authorization: Bearer sesame"}
    with serving(store) as far, serving(front) as near:
        pull_to(f"{near.url}/w.bin", tmp_path / "out", env=env, settings=ONE_BY_ONE)
    assert tree_of(tmp_path / "out") == {"w.bin": BODY}
    assert issued[0] == 3 and sent[0] <= 1.06 * len(BODY)
