"""Request and answer heads as pure functions over bytes (RFC 9110 and 9112)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from forebay.errors import Invalid
from forebay.kit.redact import redacted

HEAD_MAX = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_SAFE = "/:?#[]@!$&'()*+,;=%~-._|"


class WireError(Exception):
    """The connection or the answer is of no use; the caller decides whether to try again."""


class BadAnswer(WireError):
    """The peer does not speak HTTP/1.1 as it should."""


@dataclass(frozen=True)
class Where:
    """A URL in the parts that a connection needs."""

    scheme: str
    host: str  # without brackets
    port: int
    target: str  # path and query

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: credentials stay within one."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _port(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL again."""
        return f"{self.scheme}://{self.authority}{self.target}"


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def where(url: str) -> Where:
    """Split an absolute http(s) URL. User information is not kept. Raises Invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port or _port(parts.scheme)
        host = (
            (parts.hostname or "")
            .encode("idna" if not (parts.hostname or "").isascii() else "ascii")
            .decode()
        )
    except (ValueError, UnicodeError) as error:
        raise Invalid(f"{redacted(url)} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\x00-\x20\x7f]", url):
        raise Invalid(f"{redacted(url)!r} is not an http or https URL")
    path = quote(parts.path, safe=_SAFE) or "/"
    target = urlunsplit(("", "", path, quote(parts.query, safe=_SAFE + "?"), ""))
    # urlunsplit drops a leading "//" of the path; a target must keep it as it was signed.
    return Where(parts.scheme, host, port, path + target[len(target.split("?", 1)[0]) :])


@dataclass(frozen=True)
class Head:
    """The head of an answer. Header names are lower case; repeated ones are joined with a comma."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    http11: bool = True

    def get(self, name: str) -> str:
        """Value of a header, "" if absent; `name` in lower case."""
        return self.headers.get(name, "")

    @property
    def keeps_open(self) -> bool:
        """Whether the connection may carry another request."""
        tokens = [t.strip().lower() for t in self.get("connection").split(",")]
        return "close" not in tokens and (self.http11 or "keep-alive" in tokens)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body if the head says so. Raises BadAnswer when it says nonsense."""
        text = self.get("content-length")
        if not text:
            return None
        values = {v.strip() for v in text.split(",")}
        if len(values) != 1 or not re.fullmatch(r"\d{1,18}", min(values)):
            raise BadAnswer(f"content-length {text[:60]!r}")
        return int(values.pop())

    @property
    def content_range(self) -> tuple[int, int, int | None] | None:
        """(first, one past the last, total or None), or None without a usable header."""
        match = _RANGE.fullmatch(self.get("content-range").strip())
        if not match:
            return None
        first, last, total = int(match[1]), int(match[2]), match[3]
        size = None if total == "*" else int(total)
        if last < first or (size is not None and last >= size):
            raise BadAnswer(f"content-range {self.get('content-range')[:60]!r}")
        return first, last + 1, size

    @property
    def etag(self) -> str:
        """ETag without quotes and weakness mark."""
        return self.get("etag").removeprefix("W/").strip('"')


def is_page(head: Head) -> bool:
    """Whether it says of its body that it is a web page: logins and notices of proxies come so, with 200."""
    return head.get("content-type").partition(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    )


def parse_head(data: bytes) -> Head:
    """Parse an answer's head: everything before the empty line. Raises BadAnswer."""
    lines = data.split(b"\r\n") if b"\r\n" in data else data.split(b"\n")
    match = _STATUS.fullmatch(lines[0])
    if not match:
        raise BadAnswer(f"not an HTTP/1 answer: {lines[0][:60]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if not colon or not _TOKEN.fullmatch(key):
            raise BadAnswer(f"bad header line {line[:60]!r}")
        text = value.strip(b" \t").decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Head(int(match[2]), headers, match[1] == b"1")


def request_head(method: str, at: Where, headers: Mapping[str, str], *, absolute: bool = False) -> bytes:
    """The bytes of a request's head; `absolute` for a plain proxy. Raises Invalid on a header with control
    characters."""
    lines = [f"{method} {at.url if absolute else at.target} HTTP/1.1", f"Host: {at.authority}"]
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise Invalid(f"header {name[:40]!r} holds characters that a header cannot carry")
        if name.lower() != "host":
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def follow(at: Where, location: str) -> Where:
    """Where a redirect leads. Raises BadAnswer for one from https to http or to something that is no URL."""
    try:
        to = where(quote(urljoin(at.url, location), safe=_SAFE))
    except (Invalid, ValueError) as error:
        raise BadAnswer(f"redirect to {redacted(location[:120])!r}") from error
    if at.scheme == "https" and to.scheme != "https":
        raise BadAnswer(f"redirect from https to http ({to.host})")
    return to


def headers_after(headers: Mapping[str, str], at: Where, to: Where) -> dict[str, str]:
    """Headers that may go along with a redirect: to the same scheme, host and port all of them, else none of
    the caller's but the range and what says nothing about who asks.
    """
    if at.origin == to.origin:
        return dict(headers)
    neutral = ("range", "if-match", "accept", "accept-encoding", "user-agent")
    return {n: v for n, v in headers.items() if n.lower() in neutral}
