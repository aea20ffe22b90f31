"""What to make of an answer to a request for a range: a pure function from heads to verdicts."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from forebay.sources.wire.client import REDIRECTS, retry_after_s
from forebay.sources.wire.heads import BadAnswer, Head, is_page


class Verdict(enum.Enum):
    """What the worker does next."""

    TAKE = "the body is what was asked for"
    WHOLE = "the body is the whole file although a range was asked for"
    REDIRECT = "ask elsewhere"
    EXPIRED = "ask the source for a new request"
    AGAIN = "wait and ask again"
    ABSENT = "it is not there"
    CHANGED = "another version than before"
    ALONE = "nothing tells which version it is: only one answer may bring the file"
    WRONG = "this cannot be the file that was listed"
    REFUSED = "asking again will not help"


@dataclass(frozen=True)
class Asked:
    """What was asked: bytes from `start` to `end` (None: to the end) of a file of `size` bytes (None:
    unknown)."""

    start: int
    end: int | None
    size: int | None
    ranged: bool
    etag: str = ""  # that earlier answers of the same host carried, "" if none has come
    modified: str = ""  # their Last-Modified, where nothing better tells versions apart
    joins: bool = False  # bytes of several answers make the file, and no digest decides in the end
    versions: frozenset[str] = frozenset()  # what `version` was of all answers that brought bytes so far


@dataclass(frozen=True)
class Judged:
    """A verdict with its reason for a person; `length` bytes of body are expected (None: unknown)."""

    verdict: Verdict
    why: str = ""
    length: int | None = None
    size: int | None = None  # of the whole file, if the answer says so
    wait_s: float | None = None


def version(head: Head) -> str:
    """What tells this version of the file from others, "" if nothing does. A file that was written in the
    very second of the answer may be written again in it, and keep its date."""
    modified = head.get("last-modified")
    return head.etag or (modified if modified != head.get("date") else "")


def judge(asked: Asked, head: Head) -> Judged:
    """The verdict on an answer's head. Never raises: nonsense is WRONG."""
    try:
        if head.status in (200, 206):
            return _body(asked, head)
    except BadAnswer as error:
        return Judged(Verdict.WRONG, str(error))
    return _other(asked, head)


def _other(asked: Asked, head: Head) -> Judged:
    status = head.status
    if status in REDIRECTS and head.get("location"):
        return Judged(Verdict.REDIRECT)
    if status in (401, 403):
        return Judged(Verdict.EXPIRED, f"{status}")
    if status in (404, 410):
        return Judged(Verdict.ABSENT, f"{status}")
    if status in (408, 425, 429) or status >= 500:
        return Judged(Verdict.AGAIN, f"{status}", wait_s=retry_after_s(head))
    if status in (412, 416):
        return Judged(Verdict.CHANGED, f"{status} to a range that the listing has")
    return Judged(Verdict.REFUSED, f"{status}")


def _body(asked: Asked, head: Head) -> Judged:
    coding = head.get("content-encoding").lower()
    if coding not in ("", "identity"):
        return Judged(Verdict.WRONG, f"the body is encoded ({coding[:20]}) although that was not asked for")
    if asked.etag and head.etag and head.etag != asked.etag:
        return Judged(Verdict.CHANGED, f"its ETag was {asked.etag[:80]} and is {head.etag[:80]}")
    modified = head.get("last-modified")
    if asked.modified and not head.etag and modified and modified != asked.modified:
        return Judged(Verdict.CHANGED, f"it was of {asked.modified[:80]} and is of {modified[:80]}")
    if asked.joins and not _fits(asked, head):
        return Judged(Verdict.ALONE, "nothing tells its versions apart (no digest, ETag or date)")
    if head.status == 206:
        return _partial(asked, head)
    if asked.ranged and (asked.start > 0 or head.get("content-range")):
        # 200 means the whole file, even beside a Content-Range: who believes the latter builds a corrupt
        # file.
        return Judged(Verdict.WHOLE, "the range was ignored")
    length = head.content_length
    if length is not None and asked.size is not None and length != asked.size:
        page = " and is a web page, perhaps a login" if is_page(head) else ""
        return Judged(Verdict.WRONG, f"it has {length} bytes{page}, the listing said {asked.size}")
    if asked.ranged and asked.end is not None and asked.size != asked.end:
        return Judged(Verdict.WHOLE, "the range was ignored", length, length)
    return Judged(Verdict.TAKE, "", length, length)


def _fits(asked: Asked, head: Head) -> bool:
    """Whether this answer is known to be of the version of which bytes have come."""
    told = version(head)
    return bool(told) and (told in asked.versions or not asked.versions)


def _partial(asked: Asked, head: Head) -> Judged:
    ranged = head.content_range
    if not asked.ranged or ranged is None:
        return Judged(Verdict.WRONG, "a part came without a usable Content-Range")
    first, end, total = ranged
    if asked.size is not None and total is not None and total != asked.size:
        return Judged(Verdict.WRONG, f"it has {total} bytes, the listing said {asked.size}")
    if first != asked.start or (asked.end is not None and end > asked.end):
        return Judged(Verdict.WRONG, f"bytes {first} to {end} came, from {asked.start} were asked for")
    length = head.content_length
    if length is not None and length != end - first:
        return Judged(Verdict.WRONG, f"{length} bytes are announced for a range of {end - first}")
    return Judged(Verdict.TAKE, "", end - first, total)
