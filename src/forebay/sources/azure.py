"""Azure Blob Storage: https://<account>.blob.core.windows.net/container/prefix, az:// and azure://.

List and get are two GETs with XML; Microsoft's client would bring six packages and moves the bytes itself.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from hashlib import sha256
from typing import ClassVar
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

from forebay.errors import Absent, Denied, ForebayError, Unavailable
from forebay.kit.foreign import count
from forebay.kit.redact import redacted
from forebay.sources.azureauth import VERSION, Identity, Place, place_of
from forebay.sources.objects import listing_of
from forebay.sources.settings import trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply, refused


class AzureSource:
    """One account's blobs, with the credentials that `azureauth.Identity` finds, or with none."""

    scheme: ClassVar[str] = "az"
    name: ClassVar[str] = "az"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._trust = trust_from(env)
        self._client = Client(env, trust=self._trust)
        self._identity = Identity(env, self._client)

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """Everything below the prefix now, each blob with its ETag; empty blobs too.

        The revision is a hash over names, sizes and ETags. Raises Invalid, Denied, Absent, Unavailable.
        """
        place = place_of(uri, self._env)
        with closing(self._client):
            found = self._blobs(place)
        facts = "\n".join(f"{f.path}\0{f.size}\0{f.etag}" for f in sorted(found, key=lambda f: f.path))
        seen = sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{redacted(uri)} has changed since it was resolved; pull the new one on purpose")
        endpoint = "" if place.is_public_cloud else place.endpoint
        named = found[0].locator.partition(" ")[2] == place.prefix
        return listing_of(found, redacted(uri), seen, endpoint, named=named, env=self._env)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """GET of one blob. Its ETag was listed, and an answer with another one is refused."""
        secret, _, key = file.locator.partition(" ")
        place = place_of(listing.uri, self._env)
        query, headers = self._identity.proof(place, secret, what=file.locator)
        url = f"{place.endpoint}/{place.container}/{quote(key, safe='/~-._')}{'?' + query if query else ''}"
        trust = self._trust
        return Request(url, headers, trust.ca_file, trust.client_cert, trust.verify)

    def _blobs(self, place: Place) -> list[RemoteFile]:
        """Below `prefix/`, or the blob `prefix` itself: who may read one blob may not always list."""
        prefix = place.prefix
        if "versionid=" in place.secret:
            return [self._one(place)]
        try:
            found = self._listed(place)
            # The right to list is no right to read, and resolving must show the latter.
            self._one(replace(place, prefix=found[0].locator.partition(" ")[2]))
            return found
        except (Absent, Denied):
            if not prefix or prefix.endswith("/"):
                raise
            with suppress(ForebayError):
                return [self._one(place)]
            raise

    def _listed(self, place: Place) -> list[RemoteFile]:
        prefix = place.prefix
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        found = [_file(place, item, len(folder)) for item in self._list(place, folder) if _is_file(item)]
        if not found and prefix and not prefix.endswith("/"):
            items = [item for item in self._list(place, prefix) if _name(item) == prefix]
            found = [_file(place, item, prefix.rfind("/") + 1) for item in items]
        if not found:
            raise Absent(f"{place.shown} holds nothing; check account, container and prefix")
        return found

    def _list(self, place: Place, prefix: str) -> Iterator[ElementTree.Element]:
        facts = {"restype": "container", "comp": "list", "include": "metadata", "prefix": prefix}
        for _ in range(100_000):
            reply = self._get(place, "", urlencode(facts))
            try:
                root = ElementTree.fromstring(reply.body)
            except (ElementTree.ParseError, LookupError, ValueError) as error:  # or a strange encoding
                raise Unavailable(
                    f"{place.endpoint} did not answer with XML; is it a blob service?"
                ) from error
            yield from (item for item in root.iter("Blob") if _name(item).startswith(prefix))
            facts["marker"] = root.findtext("NextMarker") or ""
            if not facts["marker"]:
                return
        raise Unavailable(f"{place.shown} is listed without end")

    def _one(self, place: Place) -> RemoteFile:
        reply = self._get(place, "/" + quote(place.prefix, safe="/~-._"), "", method="HEAD")
        md5, head = _md5(reply.head.get("content-md5")), reply.head
        path, locator = place.prefix.rpartition("/")[2], place.locator(place.prefix)
        return RemoteFile(path, head.content_length, md5=md5, etag=head.etag, locator=locator)

    def _get(self, place: Place, path: str, query: str, *, method: str = "GET") -> Reply:
        proof, headers = self._identity.proof(place, place.secret)
        asked = "&".join(part for part in (query, proof) if part)
        url = f"{place.endpoint}/{place.container}{path}{'?' + asked if asked else ''}"
        reply = self._client.get(url, {"x-ms-version": VERSION, **headers}, method=method)
        if reply.status != 200:
            raise self._error(reply, place)
        return reply

    def _error(self, reply: Reply, place: Place) -> ForebayError:
        code = reply.head.get("x-ms-error-code")
        shown = f"{place.shown} ({code or reply.status})"
        if reply.status == 404 or code in ("ContainerNotFound", "BlobNotFound", "ResourceNotFound"):
            hint = "" if self._identity.known or place.secret else ", and set credentials if it is private"
            return Absent(f"{shown} is not there; check account, container and name{hint}")
        if reply.status in (400, 401, 403) and (
            "Auth" in code or "PublicAccess" in code or reply.status != 400
        ):
            how = "the signature or key is wrong, or has ended, or may not read and list it"
            if not self._identity.known and not place.secret:
                how = "nobody reads it without credentials: set AZURE_STORAGE_ACCESS_KEY or AZURE_CLIENT_ID …"
            return Denied(f"{shown}: {how}")
        return refused(shown, reply.status, hint="is this a blob service?")


def _name(item: ElementTree.Element) -> str:
    found = item.find("Name")
    text = (found.text or "") if found is not None else ""
    return unquote(text) if found is not None and found.get("Encoded") == "true" else text


def _is_file(item: ElementTree.Element) -> bool:
    """Folders of a hierarchical account are listed as empty blobs with a mark."""
    marked = item.findtext("Metadata/hdi_isfolder") or item.findtext("Metadata/Hdi_isfolder") or ""
    kind = item.findtext("Properties/ResourceType") or ""
    return not (_name(item).endswith("/") or marked.lower() == "true" or kind == "directory")


def _file(place: Place, item: ElementTree.Element, skip: int) -> RemoteFile:
    name, properties = _name(item), item.find("Properties")
    try:
        size = count((properties.findtext("Content-Length") if properties is not None else None) or "")
    except ValueError as error:
        raise Unavailable(f"the listing tells no size of {name[:200]!r}") from error
    assert properties is not None
    etag = (properties.findtext("Etag") or "").strip('"')
    md5 = _md5(properties.findtext("Content-MD5") or "")
    return RemoteFile(name[skip:], size, md5=md5, etag=etag, locator=place.locator(name))


def _md5(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return ""
    return raw.hex() if len(raw) == 16 else ""
