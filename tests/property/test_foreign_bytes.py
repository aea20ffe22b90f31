"""Parsers that meet foreign bytes: they answer or refuse, and refuse only in the ways their callers know."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import Invalid
from forebay.pull.answers import Asked, Verdict, judge
from forebay.sources.paths import check_together, safe_path
from forebay.sources.wire.client import retry_after_s
from forebay.sources.wire.heads import BadAnswer, Head, follow, parse_head, request_head, where

HEADER = st.sampled_from(
    ["content-length", "content-range", "etag", "content-encoding", "location", "retry-after", "connection"]
)
VALUE = st.one_of(
    st.text(max_size=30),
    st.integers(-5, 1 << 70).map(str),
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200)).map(
        lambda t: f"bytes {t[0]}-{t[1]}/{t[2]}"
    ),
)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_a_bad_answer(data: bytes) -> None:
    with contextlib.suppress(BadAnswer):
        assert 100 <= parse_head(data).status <= 599


@given(st.integers(100, 599), st.dictionaries(HEADER, VALUE, max_size=5), st.integers(0, 100), st.booleans())
def test_a_body_is_taken_only_if_it_is_what_was_asked(
    status: int, headers: dict[str, str], start: int, ranged: bool
) -> None:
    asked = Asked(start if ranged else 0, 101, 120, ranged)
    judged = judge(asked, Head(status, headers))
    retry_after_s(Head(status, headers))
    if judged.verdict is not Verdict.TAKE:
        return
    assert headers.get("content-encoding", "").lower() in ("", "identity")
    if ranged and start > 0:
        assert status == 206
        assert headers["content-range"].strip().startswith(f"bytes {start}-")
        assert judged.length is not None and judged.length <= 101 - start
    elif status == 200 and "content-length" in headers and headers["content-length"]:
        assert judged.length == 120


@given(st.text(max_size=60))
def test_any_text_is_a_url_without_surprises_or_invalid(text: str) -> None:
    try:
        at = where(text)
    except Invalid:
        return
    head = request_head("GET", at, {})
    assert head.count(b"\r\n") == 3 and head.startswith(b"GET /") and at.scheme in ("http", "https")


@given(st.text(max_size=60))
def test_a_redirect_never_leads_from_https_to_http(location: str) -> None:
    with contextlib.suppress(BadAnswer):
        assert follow(where("https://hub.example/a/b"), location).scheme == "https"


@given(st.text(alphabet=st.sampled_from("aB./\\:\x00\n ü-"), max_size=12))
def test_a_safe_path_stays_below_its_folder(text: str) -> None:
    try:
        path = safe_path(text)
    except Invalid:
        return
    parts = path.split("/")
    assert path == text and ".." not in parts and "" not in parts and "." not in parts
    assert "\\" not in path and "\x00" not in path and not re.match("[A-Za-z]:", path)


@pytest.mark.parametrize(
    "pair",
    [
        ("a", "A"),
        ("a/b", "a"),
        ("A/x", "a/y"),
        ("x", "x"),
        ("\u00e9", "e\u0301"),
        ("\u00c9/a", "e\u0301/b"),
        ("a/B", "A"),
    ],
)
def test_paths_that_would_meet_on_some_disk_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        check_together(pair)


@pytest.mark.parametrize(
    "bad", ["", "/etc/passwd", "../x", "a/../../x", "C:x", "a\\b", "a\nb", ".forebay/x", "a//b"]
)
def test_paths_that_lead_elsewhere_are_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        safe_path(bad)
