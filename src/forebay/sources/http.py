"""http(s)://host/path/file: one file, perhaps an archive, from any web server."""

from __future__ import annotations

import base64
import hashlib
import netrc
import posixpath
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit, urlunsplit

from forebay.errors import Absent, Clash, Invalid, Unavailable
from forebay.kit.foreign import parsed
from forebay.kit.redact import redacted
from forebay.sources.archives import is_archive
from forebay.sources.paths import safe_path
from forebay.sources.settings import trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply, refused
from forebay.sources.wire.heads import BadAnswer, Head, is_page, where

_PAGES = (".html", ".htm", ".xhtml")


class HttpSource:
    """A plain web server. Credentials, most particular first: the URL's user information, KServe's
    `<host>-headers` variable (JSON object or `Name: value` lines), a netrc file (NETRC or HOME/.netrc)."""

    scheme: ClassVar[str] = "https"
    name: ClassVar[str] = "http"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._trust = trust_from(env)
        self._client = Client(env, trust=self._trust, body_max=4096)  # it asks for heads alone

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """Size, ETag and digest that the server tells now. Raises Invalid, Denied, Absent, Unavailable,
        Clash."""
        where(uri)  # refuses what is no address
        name = _name(uri)
        request = self._request(uri)
        with closing(self._client):
            reply = self._probe(request, name)
        size = _size(reply.head)
        etag = reply.head.get("etag")
        strong = etag.strip('"') if etag and not etag.startswith("W/") else ""
        sha256 = _promised(reply)
        if not sha256 and _is_page(reply, name):
            raise Unavailable(f"{redacted(reply.url)} is a web page where {name} was expected, perhaps a "
                              "login or a proxy's notice: use the address that downloads the file, with "
                              "the credentials that it wants (netrc, <host>-headers)")  # fmt: skip
        # A date and a size may be those of another file, and what looks like a signature may be its name.
        weak = f"{reply.head.get('last-modified') or etag}|{size}|{uri}"
        seen = sha256 or strong or hashlib.sha256(weak.encode()).hexdigest()
        if revision and revision != seen:
            raise Clash(f"{redacted(uri)} has changed since it was resolved; pull the new one on purpose")
        file = RemoteFile(name, size, sha256=sha256, etag=strong, locator=uri)
        return Listing(redacted(uri), seen, (file,), unpack=is_archive(name), named=True)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """The same GET each time; a signed URL that has expired stays expired."""
        return self._request(file.locator)

    def _probe(self, request: Request, name: str) -> Reply:
        reply = self._client.get(request.url, request.headers, method="HEAD")
        if reply.status != 200 or _is_page(reply, name):
            # Signed URLs are often good for GET only, and some servers know no HEAD.
            reply = self._client.get(request.url, {**request.headers, "Range": "bytes=0-0"})
        if reply.status in (200, 206):
            return reply
        if reply.status == 416:  # an empty file has no first byte
            return reply
        if reply.status in (404, 410):
            raise Absent(f"{redacted(request.url)} is not there ({reply.status}); check the address")
        hint = "is this the address that downloads the file?"
        if reply.status in (401, 403):
            hint = "check the credentials (netrc, <host>-headers) or whether a signed address has expired"
        if reply.status == 400:
            hint = "does it want https, or a client certificate (FOREBAY_CLIENT_CERT)?"
        raise refused(redacted(request.url), reply.status, hint=hint)

    def _request(self, uri: str) -> Request:
        parts = urlsplit(uri)
        if not parts.hostname:
            raise Invalid(f"{redacted(uri)!r} names no host")
        headers = _host_headers(self._env, parts.hostname)
        user, password = parts.username, parts.password
        if user is None and "authorization" not in (n.lower() for n in headers):
            user, password = _netrc(self._env, parts.hostname)
        if user is not None:
            pair = f"{unquote(user)}:{unquote(password or '')}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        return Request(bare, headers, self._trust.ca_file, self._trust.client_cert, self._trust.verify)


def _name(uri: str) -> str:
    """The file's name: the last part of the path, or of the query where that is an archive's (KServe), as in
    `/get?file=model.tar.gz`."""
    parts = urlsplit(uri)
    name = posixpath.basename(unquote(parts.path))
    if not name:
        raise Invalid(f"{redacted(uri)!r} names a folder: an address is one file, an archive for several")
    asked = posixpath.basename(unquote(parts.query.rpartition("=")[2]))
    return safe_path(asked if "." not in name and is_archive(asked) else name)


def _is_page(reply: Reply, name: str) -> bool:
    """Whether a page came in place of a file: of a login, of a folder, or what shows the file to people."""
    return is_page(reply.head) and not name.lower().endswith(_PAGES)


def _size(head: Head) -> int | None:
    try:
        return _told_size(head)
    except BadAnswer as error:
        raise Unavailable(f"the server's answer makes no sense: {error}") from error


def _told_size(head: Head) -> int | None:
    if head.status == 416:
        return 0
    if head.status == 206:
        ranged = head.content_range
        return ranged[2] if ranged else None
    if head.get("content-encoding") not in ("", "identity"):
        return None  # the length of something else
    return head.content_length


def _promised(reply: Reply) -> str:
    """A sha256 that the server promises: Repr-Digest (RFC 9530), the older Digest, or what registries
    send."""
    for head in (reply.head, reply.first):
        for name in ("repr-digest", "digest"):
            for item in head.get(name).split(","):
                algorithm, _, value = item.strip().partition("=")
                if algorithm.lower() == "sha-256":
                    return _from_base64(value.strip(":"))
        value = head.get("x-checksum-sha256") or head.get("x-linked-etag").strip('"')
        if len(value) == 64 and all(c in "0123456789abcdef" for c in value.lower()):
            return value.lower()
    return ""


def _from_base64(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return ""
    return raw.hex() if len(raw) == 32 else ""


def _host_headers(env: Mapping[str, str], host: str) -> dict[str, str]:
    text = env.get(f"{host}-headers", "").strip()
    if not text.startswith("{"):
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, _, value in pairs}
    try:
        return {str(n): str(v) for n, v in parsed(text).items()}
    except (ValueError, AttributeError) as error:
        raise Invalid(f"the variable {host}-headers is not a JSON object of strings") from error


def _netrc(env: Mapping[str, str], host: str) -> tuple[str | None, str | None]:
    path = Path(env.get("NETRC") or f"{env.get('HOME', '')}/.netrc")
    try:
        found = netrc.netrc(path).authenticators(host) if path.is_file() else None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be read as a netrc file") from error
    return (found[0], found[2]) if found else (None, None)
