"""Small requests for listings: redirects, retries and errors in words; large bodies go through the transfer
engine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from forebay.errors import Denied, ForebayError, Invalid, Unavailable
from forebay.kit.backoff import backoff_s
from forebay.kit.foreign import parsed
from forebay.kit.redact import redacted
from forebay.sources.wire.conn import Conn, Deadlines, Trust, Untrusted
from forebay.sources.wire.heads import Head, Where, WireError, follow, headers_after, where
from forebay.sources.wire.proxy import ProxyRefused, proxy_for

BODY_MAX = 64 * 1024 * 1024
LEAST_BYTES_S = 64  # a listing that comes a byte a second would take hours
AGENT = "forebay"
_SPENT = re.compile(r";\s*r=0\s*;\s*t=(\d{1,9})")
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Reply:
    """An answer with its whole body; `url` is where it came from in the end."""

    head: Head
    body: bytes
    url: str
    first: Head  # the answer before any redirect: hubs put the facts there
    via: str = ""  # the proxy that may have answered itself

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.head.status

    def json(self) -> object:
        """The body as JSON. Raises Unavailable."""
        try:
            return parsed(self.body)
        except ValueError as error:
            raise Unavailable(f"{redacted(self.url)} did not answer with JSON") from error


@dataclass
class Client:
    """Blocking client with one kept connection per origin. `env` gives proxies, CA files and client
    certificates."""

    env: Mapping[str, str]
    deadlines: Deadlines = field(default_factory=lambda: Deadlines(15, 30, LEAST_BYTES_S))
    trust: Trust = field(default_factory=Trust)
    attempts_max: int = 4
    body_max: int = BODY_MAX
    sleep: Callable[[float], None] = time.sleep
    _kept: dict[tuple[str, str, int], Conn] = field(default_factory=dict)

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes = b""
    ) -> Reply:
        """GET, HEAD or POST. 429 and 5xx are tried again; other statuses are the caller's to read.

        Redirects are followed, but for POST: a body with credentials goes nowhere else. Raises Unavailable
        when nobody answers, Invalid for a bad URL.
        """
        for attempt in range(self.attempts_max):
            last = attempt + 1 == self.attempts_max
            try:
                reply = self._hops(method, url, headers or {}, body)
            except Untrusted as error:
                raise Unavailable(f"{redacted(url)}: {error}") from error
            except ProxyRefused as error:
                raise Denied(f"{redacted(url)}: {error}") from error
            except WireError as error:
                if last:
                    raise Unavailable(
                        f"{redacted(url)}: {error}; is the address right and the network up?"
                    ) from error
                self.sleep(backoff_s(attempt, first_s=0.2, most_s=5))
                continue
            if reply.status not in (429, 500, 502, 503, 504):
                return reply
            if last:
                raise _busy(reply)
            wait = retry_after_s(reply.head)
            self.sleep(min(60, wait) if wait is not None else backoff_s(attempt, first_s=0.5, most_s=8))
        raise AssertionError("unreachable")

    def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Reply:
        """POST of a form, as token servers want it (RFC 6749)."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.get(url, {**(headers or {}), **kind}, method="POST", body=urlencode(form).encode())

    def _hops(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        at, sent, first = where(url), {"User-Agent": AGENT, "Accept-Encoding": "identity", **headers}, None
        for _ in range(10):
            head, answer, via = self._once(method, at, sent, body)
            first = first or head
            if head.status not in REDIRECTS or not head.get("location") or method == "POST":
                return Reply(head, answer, at.url, first, via)
            to = follow(at, head.get("location"))
            sent, at = headers_after(sent, at, to), to
        raise WireError("more than ten redirects, one after the other")

    def _once(
        self, method: str, at: Where, headers: Mapping[str, str], body: bytes
    ) -> tuple[Head, bytes, str]:
        conn = self._kept.pop(at.origin, None)
        if conn is not None and conn.stale():
            conn.close()
            conn = None
        conn = conn or Conn(at, deadlines=self.deadlines, trust=self.trust, proxy=proxy_for(at, self.env))
        try:
            length = {"Content-Length": str(len(body))} if method == "POST" else {}
            conn.send(method, at, {**headers, **length}, body)
            head = conn.answer(method=method)
            most = 0 if method == "HEAD" else min(self.body_max, head.content_length or self.body_max)
            answer = conn.skip(most)
        except BaseException:
            conn.close()
            raise
        if conn.reusable:
            self._kept[at.origin] = conn
        else:
            conn.close()
        return head, answer, conn.via

    def close(self) -> None:
        """Close the kept connections."""
        for conn in self._kept.values():
            conn.close()
        self._kept.clear()


def _busy(reply: Reply) -> Unavailable:
    wait = retry_after_s(reply.head)
    again = f"in {wait:.0f} s" if wait else "later"
    if reply.status == 429:
        why = "allows no more requests for now; a token or another address may have more"
        return Unavailable(f"{redacted(reply.url)} {why} (429): try again {again}", retry_after_s=wait)
    text = f"{redacted(reply.url)} answered {reply.status}{reply.via}; try again {again}"
    return Unavailable(text, retry_after_s=wait)


def retry_after_s(head: Head) -> float | None:
    """Seconds that an answer asks to wait: Retry-After (RFC 9110 section 10.2.3), or the time to the reset of
    a used-up RateLimit (IETF draft of HTTP API rate limits; the Hugging Face Hub sends it). At most an hour;
    None if it does not ask."""
    spent = _SPENT.search(head.get("ratelimit"))
    if spent and not head.get("retry-after"):
        return float(min(3600, int(spent[1]) + 1))
    text = head.get("retry-after").strip()
    if text.isascii() and text.isdigit():
        return float(min(3600, int(text[:9])))
    try:
        return min(3600.0, max(0.0, parsedate_to_datetime(text).timestamp() - time.time()))
    except (TypeError, ValueError, OverflowError):
        return None


def refused(what: str, status: int, *, hint: str) -> ForebayError:
    """The error for an answer that is not 2xx: Denied for 401 and 403, Unavailable for 408 and 5xx, else
    Invalid."""
    if status in (401, 403):
        return Denied(f"{what} answered {status}: {hint}")
    if status >= 500 or status in (408, 429):
        return Unavailable(f"{what} answered {status}; try again later")
    return Invalid(f"{what} answered {status}: {hint}")
