"""s3://bucket/prefix on any S3 endpoint: listed and signed here, moved by the engine.

botocore finds the credentials (environment, profiles, web identity, container and instance metadata) and
signs; its HTTP client is not used, so that proxies, deadlines and trust are the same as for every other
source.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlencode, urlsplit

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.redact import redacted
from forebay.sources.objects import listing_of
from forebay.sources.s3env import S3Settings, s3_settings, session_for
from forebay.sources.s3objects import checked, error_of, file_of, is_file, parse, region_of, xml_of
from forebay.sources.settings import trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class S3Source:
    """One endpoint and one set of credentials, from the environment and KServe's storage settings."""

    scheme: ClassVar[str] = "s3"
    name: ClassVar[str] = "s3"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._settings: S3Settings = s3_settings(env)
        self._trust = trust_from(self._settings.env, verify=self._settings.verify, aws=True)
        self._client = Client(env, trust=self._trust)
        self._session: Any = None
        self._lock = threading.Lock()

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """Everything below the prefix now. Raises Invalid, Denied, Absent, Unavailable.

        The revision is a hash over keys, sizes and ETags (or the one version id of a single object).
        """
        from hashlib import sha256

        bucket, key, version = parse(uri)
        with closing(self._client):
            found = [self._one(bucket, key, version)] if version else self._found(bucket, key)
        facts = "\n".join(f"{f.locator}\0{f.size}\0{f.etag}" for f in found)
        seen = sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{uri} has changed since it was resolved")
        endpoint = "" if self._settings.is_default else self._settings.endpoint
        named = found[0].locator.partition("\0")[0] == key.lstrip("/")
        return listing_of(found, uri, seen, endpoint, named=named, env=self._settings.env)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """A signed GET; made anew each time, so it never expires midway."""
        bucket, _, _ = parse(listing.uri)
        key, _, version = file.locator.partition("\0")
        query = {"versionId": version} if version else {}
        url = self._url(bucket, key, query)
        trust = self._trust
        return Request(url, self._signed("GET", url), trust.ca_file, trust.client_cert, trust.verify)

    # --- listing ---

    def _found(self, bucket: str, key: str) -> list[RemoteFile]:
        """What lies at `key`; slashes before it are those of the address if nobody stored any (KServe)."""
        try:
            return self._objects(bucket, key)
        except Absent:
            if not key.startswith("/"):
                raise
            return self._objects(bucket, key.lstrip("/"))

    def _objects(self, bucket: str, prefix: str) -> list[RemoteFile]:
        """The object `prefix` itself, or what is below `prefix/` (KServe takes any key that starts so; `a`
        would match `ab`): who may read one object may not always list."""
        try:
            return self._proved(bucket, self._listed(bucket, prefix))
        except Denied:
            if not prefix or prefix.endswith("/"):
                raise
            with suppress(ForebayError):
                return [self._one(bucket, prefix, "")]
            raise

    def _listed(self, bucket: str, prefix: str) -> list[tuple[dict[str, str], RemoteFile]]:
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        items = [item for item in self._list(bucket, folder) if is_file(item, folder)]
        found = [(item, file_of(item, item["Key"][len(folder) :])) for item in items]
        if prefix and not prefix.endswith("/"):
            items = [item for item in self._beginning(bucket, prefix, bool(found)) if item["Key"] == prefix]
            itself = [(item, file_of(item, prefix.rpartition("/")[2])) for item in items]
            # An empty object beside a folder of its name marks the folder.
            found = itself if itself and (itself[0][1].size or not found) else found
        if not found:
            raise Absent(
                f"s3://{bucket}/{prefix} holds nothing; check the bucket, the prefix and the endpoint"
            )
        return found

    def _beginning(self, bucket: str, prefix: str, folder: bool) -> Iterator[dict[str, str]]:
        """Objects whose keys begin so; where there is a `folder`, the first of them, or none if a policy lets
        only the folder be listed."""
        if not folder:
            return self._list(bucket, prefix)
        with suppress(Denied, Absent, Invalid):
            return iter(list(islice(self._list(bucket, prefix, most=1), 1)))
        return iter(())

    def _proved(self, bucket: str, found: list[tuple[dict[str, str], RemoteFile]]) -> list[RemoteFile]:
        """The files with the checksums of those that came in parts, whose ETags are no MD5. At least one is
        asked for: the right to list is no right to read, and resolving must show the latter."""
        files: list[RemoteFile] = []
        for place, (item, file) in enumerate(found):
            if place and (file.md5 or not item.get("ChecksumAlgorithm")):
                files.append(file)
                continue
            files.append(checked(file, self._ask("HEAD", bucket, file.locator, {}).head))
        return files

    def _list(self, bucket: str, prefix: str, *, most: int = 0) -> Iterator[dict[str, str]]:
        token = ""
        for _ in range(100_000):
            query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
            query |= {"max-keys": str(most)} if most else {}
            if token:
                query["continuation-token"] = token
            tree = xml_of(self._ask("GET", bucket, "", query, what=prefix))
            encoded = tree.get("EncodingType") == "url"
            for item in tree["Contents"]:
                item["Key"] = unquote(item["Key"].replace("+", " ")) if encoded else item["Key"]
                yield item
            token = tree.get("NextContinuationToken", "")
            if tree.get("IsTruncated") != "true" or not token:
                return
        raise Unavailable(f"s3://{bucket}/{prefix} is listed without end")

    def _one(self, bucket: str, key: str, version: str) -> RemoteFile:
        head = self._ask("HEAD", bucket, key, {"versionId": version} if version else {}).head
        item = {"Key": key, "Size": str(head.content_length or 0), "ETag": head.get("etag")}
        file = file_of(item, key.rpartition("/")[2])
        locator = f"{key}\0{version}" if version else key
        return checked(replace(file, locator=locator), head)

    def _ask(self, method: str, bucket: str, key: str, query: Mapping[str, str], *, what: str = "") -> Reply:
        """An answer 200; in the bucket's own region, which Amazon names when it is asked in another one."""
        for again in (True, False):
            url = self._url(bucket, key, query)
            reply = self._client.get(url, self._signed(method, url), method=method)
            region = region_of(reply)
            if not again or not region or region == self._settings.region:
                break
            self._settings = self._settings.in_region(region)
        if reply.status != 200:
            shown = f"s3://{bucket}/{key or what} at {self._settings.endpoint}"
            raise error_of(reply, shown, anonymous=self._settings.anonymous)
        return reply

    # --- addresses and signatures ---

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> str:
        parts = urlsplit(self._settings.endpoint)
        path = quote(key, safe="/~-._")
        tail = "?" + urlencode(sorted(query.items()), quote_via=quote, safe="~-._") if query else ""
        base = parts.path.rstrip("/")
        # A wildcard certificate covers one label: a bucket with dots in its name goes into the path.
        if self._settings.virtual and not ("." in bucket and parts.scheme == "https"):
            return f"{parts.scheme}://{bucket}.{parts.netloc}{base}/{path}{tail}"
        return f"{parts.scheme}://{parts.netloc}{base}/{bucket}/{path}{tail}"

    def _signed(self, method: str, url: str) -> dict[str, str]:
        asked = {"X-Amz-Request-Payer": "requester"} if self._settings.pays else {}
        if method == "HEAD":
            asked["X-Amz-Checksum-Mode"] = "ENABLED"
        if self._settings.anonymous:
            return asked
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        credentials = self._credentials()
        headers = {"X-Amz-Content-SHA256": EMPTY_SHA256, **asked}
        request = AWSRequest(method=method, url=url, headers=headers)
        # botocore's own S3 signer looks for a client's context that a bare request does not have.
        request.context = {"payload_signing_enabled": True}
        S3SigV4Auth(credentials, "s3", self._settings.region).add_auth(request)
        return {str(k): str(v) for k, v in request.headers.items() if k.lower() != "host"}

    def _credentials(self) -> Any:
        from botocore.exceptions import BotoCoreError

        with self._lock:
            try:
                self._session = self._session or session_for(self._settings)
                found = self._session.get_credentials()
                frozen = found.get_frozen_credentials() if found is not None else None
            except (BotoCoreError, OSError) as error:
                raise Denied(
                    f"no credentials for {self._settings.endpoint}: {redacted(str(error))}"
                ) from error
        if frozen is None:
            raise Denied(
                f"no credentials for {self._settings.endpoint}: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, a profile or a role, or awsAnonymousCredential=true if it is public"
            )
        return frozen
