"""gs://bucket/prefix: Google Cloud Storage by its JSON API, or an emulator of it.

Two GETs are all that is needed; Google's client would bring nine packages and moves the bytes itself.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import count
from forebay.kit.redact import redacted
from forebay.sources.gcsauth import authorization
from forebay.sources.objects import listing_of
from forebay.sources.settings import endpoint_of, trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply, refused

DEFAULT = "https://storage.googleapis.com"
_FIELDS = "nextPageToken,items(name,size,generation,md5Hash,crc32c,contentEncoding)"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


class GcsSource:
    """One project's view of the service. Reads STORAGE_EMULATOR_HOST, and the credentials that
    `gcsauth.authorization` finds; without any it asks anonymously, as KServe does."""

    scheme: ClassVar[str] = "gs"
    name: ClassVar[str] = "gs"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        emulator = env.get("STORAGE_EMULATOR_HOST", "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self._endpoint = endpoint_of(emulator or DEFAULT, "STORAGE_EMULATOR_HOST")
        self._trust = trust_from(env)
        self._client = Client(env, trust=self._trust)
        self._token = authorization(env, self._client, emulated=bool(emulator))

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """Everything below the prefix now, each object pinned to its generation.

        The revision is a hash over names, sizes and generations. Raises Invalid, Denied, Absent, Unavailable.
        """
        bucket, key, generation = parse(uri)
        with closing(self._client):
            found = [self._object(bucket, key, generation)] if generation else self._objects(bucket, key)
        files = sorted((f for f in found if not f.path.endswith("/")), key=lambda f: f.locator)
        facts = "\n".join(f"{f.locator}\0{f.size}" for f in files)
        seen = sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{uri} has changed since it was resolved; pull the new one on purpose")
        endpoint = "" if self._endpoint == DEFAULT else self._endpoint
        named = found[0].locator.rpartition("#")[0] == key
        return listing_of(found, uri, seen, endpoint, named=named, env=self._env)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """GET of one generation of one object: no range can come from another version."""
        bucket, _, _ = parse(listing.uri)
        key, _, generation = file.locator.rpartition("#")
        query = urlencode({"alt": "media", "generation": generation})
        url = f"{self._endpoint}/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}?{query}"
        trust = self._trust
        return Request(url, self._headers(file.locator), trust.ca_file, trust.client_cert, trust.verify)

    def _headers(self, what: str = "") -> dict[str, str]:
        value = self._token.value(what) if self._token is not None else ""
        return {"Authorization": value} if value else {}

    def _objects(self, bucket: str, prefix: str) -> list[RemoteFile]:
        """Below `prefix/`, or the object `prefix` itself: who may read one object may not always list."""
        try:
            found = self._listed(bucket, prefix)
        except Denied:
            if not prefix or prefix.endswith("/"):
                raise
            with suppress(ForebayError):
                return [self._object(bucket, prefix, "")]
            raise
        # The right to list is no right to read, and resolving must show the latter.
        key, _, generation = found[0].locator.rpartition("#")
        self._object(bucket, key, generation)
        return found

    def _listed(self, bucket: str, prefix: str) -> list[RemoteFile]:
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        # Names that end in a slash are folders: KServe makes them here, and nowhere else.
        items = [item for item in self._list(bucket, folder) if item["name"] != folder]
        files = any(not item["name"].endswith("/") for item in items)
        found = [_file(item, len(folder)) for item in items] if files else []
        if not found and prefix and not prefix.endswith("/"):
            items = [i for i in self._list(bucket, prefix) if i["name"] == prefix]
            found = [_file(item, prefix.rfind("/") + 1) for item in items]
        if not found:
            raise Absent(f"gs://{bucket}/{prefix} holds nothing; check the bucket and the prefix")
        return found

    def _list(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        query = {"prefix": prefix, "maxResults": "1000", "fields": _FIELDS}
        for _ in range(100_000):
            body = self._json(f"/storage/v1/b/{bucket}/o?{urlencode(query)}", f"gs://{bucket}/{prefix}")
            items = body.get("items", [])
            if not isinstance(items, list) or not all(
                isinstance(i, dict) and isinstance(i.get("name"), str) for i in items
            ):
                raise Unavailable(f"{self._endpoint} did not list gs://{bucket}/{prefix}")
            yield from (item for item in items if item["name"].startswith(prefix))
            token = body.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = str(token)
        raise Unavailable(f"gs://{bucket}/{prefix} is listed without end")

    def _object(self, bucket: str, key: str, generation: str) -> RemoteFile:
        query = f"?generation={generation}" if generation else ""
        path, shown = f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}{query}", f"gs://{bucket}/{key}"
        return _file(self._json(path, f"{shown}#{generation}" if generation else shown), key.rfind("/") + 1)

    def _json(self, path: str, what: str) -> dict[str, Any]:
        reply = self._client.get(self._endpoint + path, self._headers())
        if reply.status != 200:
            raise self._error(reply, what)
        body = reply.json()
        if not isinstance(body, dict):
            raise Unavailable(f"{self._endpoint} did not answer about {what} as Cloud Storage does")
        return body

    def _error(self, reply: Reply, what: str) -> ForebayError:
        if reply.status == 404:
            return Absent(f"{what} is not there; check the bucket, the name and the generation")
        if reply.status in (401, 403):
            who = (
                "these credentials may not read"
                if self._token is not None
                else "without credentials nobody reads"
            )
            how = (
                "grant them Storage Object Viewer"
                if self._token is not None
                else "set GOOGLE_APPLICATION_CREDENTIALS"
            )
            return Denied(f"{who} {what} ({reply.status}), or there is no such bucket: {how}")
        return refused(what, reply.status, hint="check the bucket's name")


def parse(uri: str) -> tuple[str, str, str]:
    """(bucket, key or prefix, generation or "") of gs://bucket/key[#generation]. Raises Invalid."""
    bucket, _, rest = uri.partition("://")[2].partition("/")
    match = re.fullmatch(r"(.+)#(\d{1,20})", rest, re.DOTALL)
    key, generation = (match[1], match[2]) if match else (rest, "")
    if not _BUCKET.fullmatch(bucket) or re.search(r"[\x00\r\n]", key):
        raise Invalid(f"{redacted(uri)!r} is not gs://bucket/prefix or gs://bucket/object#generation")
    return bucket, key, generation


def _file(item: Mapping[str, Any], skip: int) -> RemoteFile:
    try:
        locator, size = f"{item['name']}#{count(item['generation'])}", count(item["size"])
        md5 = base64.b64decode(item.get("md5Hash") or "", validate=True).hex()
        crc32c = base64.b64decode(item.get("crc32c") or "", validate=True).hex()
        if len(md5) not in (0, 32) or len(crc32c) not in (0, 8):
            raise ValueError("md5Hash or crc32c")
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(
            f"the listing's entry {str(item.get('name'))[:200]!r} cannot be read ({error})"
        ) from error
    if item.get("contentEncoding") not in (None, "", "identity"):
        # The service unpacks such an object on the way: size and hash are those of other bytes.
        return RemoteFile(str(item["name"])[skip:], None, locator=locator)
    crc = f"crc32c:{crc32c}" if crc32c else ""
    return RemoteFile(str(item["name"])[skip:], size, md5=md5, crc=crc, locator=locator)
