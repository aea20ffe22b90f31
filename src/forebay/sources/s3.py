"""s3://bucket/prefix on any S3 endpoint: listed and signed here, moved by the engine.

botocore finds the credentials (environment, profiles, web identity, container and instance metadata) and
signs; its HTTP client is not used, so that proxies, deadlines and trust are the same as for every other
source.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import count
from forebay.kit.redact import redacted
from forebay.sources.archives import is_archive
from forebay.sources.paths import check_together
from forebay.sources.s3env import S3Settings, s3_settings, session_for
from forebay.sources.settings import trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply, refused

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class S3Source:
    """One endpoint and one set of credentials, from the environment and KServe's storage settings."""

    scheme: ClassVar[str] = "s3"
    name: ClassVar[str] = "s3"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._settings: S3Settings = s3_settings(env)
        self._trust = trust_from(self._settings.env, verify=self._settings.verify)
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
            found = [self._version(bucket, key, version)] if version else self._objects(bucket, key)
        facts = "\n".join(f"{f.locator}\0{f.size}\0{f.etag}" for f in found)
        seen = sha256(facts.encode()).hexdigest()
        if revision and revision != seen:
            raise Absent(f"{uri} has changed since it was resolved")
        check_together(f.path for f in found)
        endpoint = "" if self._settings.is_default else self._settings.endpoint
        unpack = len(found) == 1 and is_archive(found[0].path)
        return Listing(uri, seen, tuple(sorted(found, key=lambda f: f.path)), endpoint, unpack=unpack)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """A signed GET; made anew each time, so it never expires midway."""
        bucket, _, _ = parse(listing.uri)
        key, _, version = file.locator.partition("\0")
        query = {"versionId": version} if version else {}
        url = self._url(bucket, key, query)
        trust = self._trust
        return Request(url, self._signed("GET", url), trust.ca_file, trust.client_cert, trust.verify)

    # --- listing ---

    def _objects(self, bucket: str, prefix: str) -> list[RemoteFile]:
        """Below `prefix/`, or the object `prefix` itself (KServe takes any key that starts so; `a` would
        match `ab`)."""
        folder = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        items = list(self._list(bucket, folder))
        found = [_file(item, item["Key"][len(folder) :]) for item in items if _wanted(item, folder)]
        if not found and prefix and not prefix.endswith("/"):
            items = [item for item in self._list(bucket, prefix) if item["Key"] == prefix]
            found = [_file(item, prefix.rpartition("/")[2]) for item in items]
        if not found:
            raise Absent(
                f"s3://{bucket}/{prefix} holds nothing; check the bucket, the prefix and the endpoint"
            )
        return found

    def _list(self, bucket: str, prefix: str) -> Iterator[dict[str, str]]:
        token = ""
        for _ in range(100_000):
            query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
            if token:
                query["continuation-token"] = token
            url = self._url(bucket, "", query)
            reply = self._client.get(url, self._signed("GET", url))
            if reply.status != 200:
                raise self._error(reply, f"s3://{bucket}/{prefix}")
            tree = _xml(reply)
            encoded = tree.get("EncodingType") == "url"
            for item in tree["Contents"]:
                item["Key"] = unquote(item["Key"].replace("+", " ")) if encoded else item["Key"]
                yield item
            token = tree.get("NextContinuationToken", "")
            if tree.get("IsTruncated") != "true" or not token:
                return
        raise Unavailable(f"s3://{bucket}/{prefix} is listed without end")

    def _version(self, bucket: str, key: str, version: str) -> RemoteFile:
        url = self._url(bucket, key, {"versionId": version})
        reply = self._client.get(url, self._signed("HEAD", url), method="HEAD")
        if reply.status != 200:
            raise self._error(reply, f"s3://{bucket}/{key}?versionId={version}")
        item = {"Key": key, "Size": str(reply.head.content_length or 0), "ETag": reply.head.get("etag")}
        file = _file(item, key.rpartition("/")[2])
        return RemoteFile(file.path, file.size, md5=file.md5, etag=file.etag, locator=f"{key}\0{version}")

    def _error(self, reply: Reply, what: str) -> ForebayError:
        try:
            code = _xml(reply).get("Code", "")
        except Unavailable:
            code = ""
        shown = f"{what} at {self._settings.endpoint} ({code or reply.status})"
        if code in ("NoSuchBucket", "NoSuchKey", "NoSuchVersion") or reply.status == 404:
            return Absent(f"{shown} is not there; check bucket, key and endpoint")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
            return Denied(
                f"{shown}: the access key or its secret is wrong or expired; put valid ones in the secret"
            )
        if code in (
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ):
            return Invalid(f"{shown}: the bucket is in another region; set AWS_DEFAULT_REGION to it")
        if code == "RequestTimeTooSkewed":
            return Denied(f"{shown}: this machine's clock is wrong; set it")
        return refused(
            shown, reply.status, hint="these credentials may not read it; check the bucket's policy"
        )

    # --- addresses and signatures ---

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> str:
        parts = urlsplit(self._settings.endpoint)
        path = quote(key, safe="/~-._")
        tail = "?" + urlencode(sorted(query.items()), quote_via=quote, safe="~-._") if query else ""
        base = parts.path.rstrip("/")
        if self._settings.virtual:
            return f"{parts.scheme}://{bucket}.{parts.netloc}{base}/{path}{tail}"
        return f"{parts.scheme}://{parts.netloc}{base}/{bucket}/{path}{tail}"

    def _signed(self, method: str, url: str) -> dict[str, str]:
        if self._settings.anonymous:
            return {}
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        credentials = self._credentials()
        headers = {"X-Amz-Content-SHA256": EMPTY_SHA256}
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


def parse(uri: str) -> tuple[str, str, str]:
    """(bucket, key or prefix, version id) of s3://bucket/key[?versionId=…]. Raises Invalid."""
    rest = uri.partition("://")[2]
    rest, _, version = rest.partition("?versionId=")
    bucket, _, key = rest.partition("/")
    if not bucket or not all(c.isalnum() or c in ".-_" for c in bucket) or "\0" in key:
        raise Invalid(f"{redacted(uri)!r} is not s3://bucket/prefix")
    return bucket, key, version


def _wanted(item: Mapping[str, str], folder: str) -> bool:
    """Folder markers (keys that end in a slash) are no files; empty objects are."""
    return item["Key"].startswith(folder) and not item["Key"].endswith("/") and item["Key"] != folder


def _file(item: Mapping[str, str], path: str) -> RemoteFile:
    etag = item.get("ETag", "").strip('"')
    # A plain ETag is the MD5 of an object that came in one piece, unless it is encrypted with a key of its
    # own.
    md5 = etag.lower() if len(etag) == 32 and all(c in "0123456789abcdefABCDEF" for c in etag) else ""
    try:
        size = count(item["Size"])
    except (KeyError, ValueError) as error:
        raise Unavailable(f"the listing tells no size of {path!r}") from error
    return RemoteFile(path, size, md5=md5, etag=etag, locator=item["Key"])


def _xml(reply: Reply) -> dict[str, Any]:
    """A flat view of S3's XML: texts of the root's children, `Contents` as a list of such views."""
    try:
        root = ElementTree.fromstring(reply.body)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter two: strange encodings
        raise Unavailable(f"{redacted(reply.url)} did not answer with XML; is it an S3 endpoint?") from error
    out: dict[str, Any] = {"Contents": []}
    for child in root:
        name = child.tag.rpartition("}")[2]
        if name == "Contents":
            item = {c.tag.rpartition("}")[2]: c.text or "" for c in child}
            if "Key" not in item:
                raise Unavailable(f"{redacted(reply.url)} lists an object without a key; is it S3?")
            out["Contents"].append(item)
        else:
            out[name] = child.text or ""
    return out
