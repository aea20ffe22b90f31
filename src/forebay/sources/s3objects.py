"""What S3 says: addresses, listings, checksums and errors as plain data."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import count
from forebay.kit.redact import redacted
from forebay.sources.types import RemoteFile
from forebay.sources.wire.client import Reply, refused
from forebay.sources.wire.heads import Head


def parse(uri: str) -> tuple[str, str, str]:
    """(bucket, key or prefix, version id) of s3://bucket/key[?versionId=…]. Raises Invalid."""
    rest = uri.partition("://")[2]
    rest, _, version = rest.partition("?versionId=")
    bucket, _, key = rest.partition("/")
    if not bucket or not all(c.isalnum() or c in ".-_" for c in bucket) or "\0" in key:
        raise Invalid(f"{redacted(uri)!r} is not s3://bucket/prefix")
    return bucket, key, version


def is_file(item: Mapping[str, str], folder: str) -> bool:
    """Folder markers (keys that end in a slash) are no files; empty objects are."""
    return item["Key"].startswith(folder) and not item["Key"].endswith("/") and item["Key"] != folder


def file_of(item: Mapping[str, str], path: str) -> RemoteFile:
    etag = item.get("ETag", "").strip('"')
    # A plain ETag is the MD5 of an object that came in one piece, unless it is encrypted with a key of its
    # own.
    md5 = etag.lower() if len(etag) == 32 and all(c in "0123456789abcdefABCDEF" for c in etag) else ""
    try:
        size = count(item["Size"])
    except (KeyError, ValueError) as error:
        raise Unavailable(f"the listing tells no size of {path!r}") from error
    return RemoteFile(path, size, md5=md5, etag=etag, locator=item["Key"])


def checked(file: RemoteFile, head: Head) -> RemoteFile:
    """`file` with the checksum of the whole object that `head` promises, if an MD5 is not there already.
    Those of objects in parts (COMPOSITE) are a hash over hashes and of no use."""
    if file.md5 or head.get("x-amz-checksum-type").upper() == "COMPOSITE":
        return file
    for name, size in (("sha256", 32), ("crc32", 4), ("crc32c", 4), ("crc64nvme", 8)):
        try:
            raw = base64.b64decode(head.get(f"x-amz-checksum-{name}"), validate=True)
        except ValueError:
            continue
        if len(raw) == size:
            if name == "sha256":
                return replace(file, sha256=raw.hex())
            return replace(file, crc=f"{name}:{raw.hex()}")
    return file


def region_of(reply: Reply) -> str:
    """The region that an answer other than 200 names as the bucket's, or ""."""
    if reply.status == 200:
        return ""
    told = reply.first.get("x-amz-bucket-region") or reply.head.get("x-amz-bucket-region")
    return told or _error_of(reply).get("Region", "")


def error_of(reply: Reply, what: str, *, anonymous: bool) -> ForebayError:
    """An answer other than 200 in words; `what` names object and endpoint."""
    code = _error_of(reply).get("Code", "")
    shown = f"{what} ({code or reply.status})"
    if code in ("NoSuchBucket", "NoSuchKey", "NoSuchVersion") or reply.status == 404:
        return Absent(f"{shown} is not there; check bucket, key and endpoint")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        return Denied(
            f"{shown}: the access key or its secret is wrong or expired; put valid ones in the secret"
        )
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return Invalid(f"{shown}: the bucket is in another region; set AWS_DEFAULT_REGION to it")
    if code == "RequestTimeTooSkewed":
        return Denied(f"{shown}: this machine's clock is wrong; set it")
    hint = "these credentials may not read it; check the bucket's policy"
    if anonymous:
        hint = "nobody reads it without credentials; take awsAnonymousCredential away and set a key or a role"
    return refused(shown, reply.status, hint=hint)


def _error_of(reply: Reply) -> dict[str, Any]:
    try:
        return xml_of(reply)
    except Unavailable:
        return {}


def xml_of(reply: Reply) -> dict[str, Any]:
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
