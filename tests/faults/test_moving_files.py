"""Files that grow, shrink or change under a pull, and answers to ranges that are not what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.lying_server import Lie, LyingServer
from tests.faults.pulling import KIB, Folder, quick, some_bytes

from forebay.errors import Clash, Damaged, ForebayError, Unavailable
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile

SIZE = 300 * KIB + 11
BODY = some_bytes(SIZE)
ONE = quick(connections_start=1, connections_max=1, attempts_max=2)


def pull(folder: Folder, server: LyingServer, *, promised: bool, size: int | None = SIZE) -> None:
    """A pull of what was listed before the server began to lie."""
    file = RemoteFile("model.bin", size, sha256=server.digest if promised else "", locator=server.url)
    folder.fetch(Listing(server.url, "r", (file,)), HttpSource({}), settings=ONE)


def content(folder: Folder) -> bytes | None:
    path = folder.out / "model.bin"
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("promised", [True, False], ids=["promised", "observed"])
@pytest.mark.parametrize("hides", [True, False], ids=["same-etag", "new-etag"])
@pytest.mark.parametrize("by", [-SIZE // 2, -1, 1, 64 * KIB])
def test_a_file_that_grows_or_shrinks_midway_is_not_published(
    tmp_path: Path, by: int, hides: bool, promised: bool
) -> None:
    """The listing told its size, and what came before the change is of another file than what comes after."""
    folder = Folder(tmp_path)
    lie = Lie(resize=(2, by), resize_hides=hides)
    with LyingServer(BODY, lie) as server, pytest.raises((Clash, Damaged, Unavailable)) as caught:
        pull(folder, server, promised=promised)
    assert content(folder) is None
    assert "model.bin" in caught.value.message


@pytest.mark.parametrize("by", [-1, 1])
def test_a_file_that_grew_and_rests_is_had_by_listing_it_anew(tmp_path: Path, by: int) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(resize=(2, by))) as server:
        with pytest.raises(ForebayError):
            pull(folder, server, promised=False)
        pull(folder, server, promised=False, size=SIZE + by)
    assert content(folder) == (BODY + bytes(1))[: SIZE + by]


@pytest.mark.parametrize("promised", [True, False], ids=["promised", "observed"])
@pytest.mark.parametrize("ranges", ["multipart", "bare", "more", "no-total"])
def test_an_odd_answer_to_a_range_costs_a_stream(tmp_path: Path, ranges: str, promised: bool) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(ranges=ranges)) as server:
        pull(folder, server, promised=promised)
        streams = [s for s in server.gets if "range" not in s.headers]
    assert content(folder) == BODY
    assert bool(streams) == (ranges != "no-total")


@pytest.mark.parametrize("ends", [{"chunked": "good"}, {"no_length": True}], ids=["chunked", "closes"])
def test_a_body_longer_than_listed_is_damaged_where_a_digest_is_promised_for_its_size(
    tmp_path: Path, ends: dict[str, object]
) -> None:
    """What comes after the listed size is not looked at; what is kept meets the digest or does not."""
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(**ends, extra=7)) as server:  # type: ignore[arg-type]
        pull(folder, server, promised=True)
        assert content(folder) == BODY
    again = Folder(tmp_path / "unknown")
    lie = Lie(**ends, extra=7)  # type: ignore[arg-type]
    with LyingServer(BODY, lie) as server, pytest.raises(Damaged):
        pull(again, server, promised=True, size=None)
    assert content(again) is None


@pytest.mark.parametrize("kind", ["bad-trailer", "cut", "bad-size"])
@pytest.mark.parametrize("size", [SIZE, None], ids=["listed", "unknown"])
def test_a_chunked_body_that_ends_wrong_is_not_published(tmp_path: Path, kind: str, size: int | None) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(chunked=kind)) as server, pytest.raises(ForebayError):
        pull(folder, server, promised=False, size=size)
    assert content(folder) is None


@pytest.mark.parametrize("promised", [True, False], ids=["promised", "observed"])
def test_gzip_where_none_was_asked_is_not_published(tmp_path: Path, promised: bool) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, Lie(gzip=True)) as server, pytest.raises(Damaged, match="encoded"):
        pull(folder, server, promised=promised)
    assert content(folder) is None
    assert all(s.headers["accept-encoding"] == "identity" for s in server.gets)
