"""What is made of an answer's head, row by row: each line of the judgement has an answer that only it
refuses."""

from __future__ import annotations

import pytest

from forebay.pull.answers import Asked, Verdict, judge
from forebay.sources.wire.heads import Head

PART = Asked(100, 200, 1000, ranged=True)
FIRST = Asked(0, 100, 1000, ranged=True)
REST = Asked(100, None, None, ranged=True)
WHOLE = Asked(0, 1000, 1000, ranged=False)


@pytest.mark.parametrize(("asked", "status", "headers", "verdict"), [
    (PART, 206, {"content-range": "bytes 100-199/1000"}, Verdict.TAKE),
    (PART, 206, {"content-range": "bytes 100-149/1000"}, Verdict.TAKE),
    (PART, 206, {"content-range": "bytes 100-199/*"}, Verdict.TAKE),
    (PART, 206, {"content-range": "bytes 99-198/1000"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 101-199/1000"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 0-99/1000"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 100-200/1000"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 100-199/1001"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 100-199/1000", "content-length": "99"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 100-199/1000", "content-length": "101"}, Verdict.WRONG),
    (PART, 206, {"content-range": "bytes 100-199/1000", "content-length": "100"}, Verdict.TAKE),
    (PART, 206, {"content-length": "100"}, Verdict.WRONG),
    (PART, 200, {"content-length": "1000"}, Verdict.WHOLE),
    (PART, 200, {"content-length": "100", "content-range": "bytes 100-199/1000"}, Verdict.WHOLE),
    (FIRST, 200, {"content-length": "100", "content-range": "bytes 0-99/1000"}, Verdict.WHOLE),
    (FIRST, 200, {"content-length": "1000"}, Verdict.WHOLE),
    (REST, 206, {"content-range": "bytes 100-999/1000"}, Verdict.TAKE),
    (REST, 206, {"content-range": "bytes 0-999/1000"}, Verdict.WRONG),
    (WHOLE, 200, {"content-length": "1000"}, Verdict.TAKE),
    (WHOLE, 200, {}, Verdict.TAKE),
    (WHOLE, 200, {"content-length": "999"}, Verdict.WRONG),
    (WHOLE, 200, {"content-encoding": "gzip"}, Verdict.WRONG),
    (WHOLE, 206, {"content-range": "bytes 0-999/1000"}, Verdict.WRONG),
    (WHOLE, 304, {}, Verdict.REFUSED),
    (WHOLE, 302, {}, Verdict.REFUSED),
    (WHOLE, 302, {"location": "/x"}, Verdict.REDIRECT),
    (PART, 416, {}, Verdict.CHANGED),
])  # fmt: skip
def test_only_what_was_asked_for_is_taken(
    asked: Asked, status: int, headers: dict[str, str], verdict: Verdict
) -> None:
    assert judge(asked, Head(status, headers)).verdict is verdict


@pytest.mark.parametrize(("etag", "modified", "headers", "changed"), [
    ("a", "", {"etag": '"b"'}, True),
    ("a", "", {"etag": 'W/"a"'}, False),
    ("a", "", {}, False),
    ("", "Mon", {"last-modified": "Tue"}, True),
    ("", "Mon", {"last-modified": "Mon"}, False),
    ("", "Mon", {"last-modified": "Tue", "etag": '"a"'}, False),
    ("", "Mon", {}, False),
])  # fmt: skip
def test_another_version_is_told_by_its_etag_or_else_by_its_date(
    etag: str, modified: str, headers: dict[str, str], changed: bool
) -> None:
    asked = Asked(100, 200, 1000, True, etag, modified)
    head = Head(206, {"content-range": "bytes 100-199/1000", **headers})
    assert judge(asked, head).verdict is (Verdict.CHANGED if changed else Verdict.TAKE)
