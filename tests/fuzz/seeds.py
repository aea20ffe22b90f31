"""Where the search begins: good inputs of each parser, and what once went wrong. Small enough for text."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from base64 import b64decode

from forebay.cache.manifest import File, Manifest
from forebay.pull.journal import Entry, encode
from forebay.pull.plan import Ranges
from tests.fuzz import logins, servers

S3 = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false'
    b"</IsTruncated><Contents><Key>m/a.bin</Key><Size>7</Size><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;"
    b"</ETag></Contents></ListBucketResult>"
)
HUB = {"type": "file", "path": "a/b.bin", "size": 7, "oid": "0" * 40, "lfs": {"oid": "0" * 64, "size": 7}}
GCS = {"name": "m/b.bin", "size": "7", "generation": "1", "md5Hash": "AAAAAAAAAAAAAAAAAAAAAA==", "etag": "e"}
AZURE = (
    b'<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>m/a.bin</Name><Properties><Content-Length>7'
    b"</Content-Length><Etag>0x8D</Etag><Content-MD5>AAAAAAAAAAAAAAAAAAAAAA==</Content-MD5></Properties></Blob>"
    b"</Blobs><NextMarker/></EnumerationResults>"
)
BEARER = b'Bearer realm="https://login.example/token",service="registry.example",scope="repository:a/b:pull"'
LAYER = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar",
    "digest": "sha256:" + "0" * 64,
    "size": 7,
}
OCI = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [LAYER]}
HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-199/1000\r\nContent-Length: 100"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"


def tar(name: str = "a/b", *, kind: bytes = tarfile.REGTYPE, to: str = "") -> bytes:
    """A tar with one entry of any kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as pack:
        item = tarfile.TarInfo(name)
        item.type, item.linkname, item.size = kind, to, 3 if kind == tarfile.REGTYPE else 0
        pack.addfile(item, io.BytesIO(b"abc") if item.size else None)
    return out.getvalue()[:2048]


def zipped(name: str = "a/b", *, body: bytes = b"abc", mode: int = 0) -> bytes:
    """A zip with one entry; `mode` are Unix permission and kind bits."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        item = zipfile.ZipInfo(name)
        item.external_attr, item.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        pack.writestr(item, body)
    return out.getvalue()


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


SEEDS: dict[str, list[bytes]] = {
    "heads": [
        HEAD,
        b"HTTP/1.1 302 Found\r\nLocation: http://hub.example/x",
        b"HTTP/1.1 429 Slow\r\nRetry-After: 1",
        b"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT",
        b"HTTP/1.0 200",
        b"HTTP/1.1 302 Found\r\nLocation: //[x",
        b"HTTP/1.1 999 x",
        b"",
        b"HTTP/1.1 503 x\r\nRetry-After: -5",
        b"HTTP/1.1 503 x\r\nRetry-After: " + b"9" * 400,
        b"HTTP/1.1 206 x\r\nContent-Range: bytes 100-199/" + b"9" * 5000,
    ],
    "answers": [
        WHOLE * 2,
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 200 OK\r\n\r\nto the end",
        CHUNKED.replace(b"3;x=y", b"-3"),
        CHUNKED.replace(b"3;x=y", b"fffffffffffffff"),
        CHUNKED[:60],
    ],
    "journals": [
        encode(Entry("sha256:0:7", Ranges([(0, 4)]), 4, "0" * 64, {"0 h": "e"}, ("hub",), "b")),
        encode(Entry("sha256:0:7", Ranges([(0, 4)]), 4, "0" * 64, {"0 h": "e"}, ("hub",), "b"))[17:],
        b'{"version":2}',
        b"[" * 5000,
        b"\xff\xfe",
        b'{"version":2,"identity":"x","done":[[1e999,2]]}',
    ],
    "manifests": [
        Manifest("k", "hf://a/b", "r", (File("a", 1, "0" * 64),)).dump(),
        Manifest("k", "hf://a/b", "r", (File("a", -1, "zz"),)).dump(),
        b"{}",
        b"[]",
        b"[" * 5000,
    ],
    "s3_lists": [
        S3,
        S3.replace(b"<Size>7", b"<Size>x"),
        S3.replace(b"m/a.bin", b"../a"),
        b"<Error><Code>x</Code>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        S3.replace(b"<Key>m/a.bin</Key>", b""),
    ],
    "hub_lists": [
        _json([HUB]),
        _json({**HUB, "path": "/etc/passwd"}),
        _json({**HUB, "size": "x"}),
        b"[null, 1]",
        _json([{**HUB, "lfs": None, "size": 10**400}]),
        _json([{**HUB, "lfs": None, "size": float("inf")}]),
        _json({**HUB, "lfs": 7}),
        _json({**HUB, "size": -1}),
    ],
    "hub_errors": [
        b"HTTP/1.1 401 x\r\nX-Error-Code: GatedRepo",
        b"HTTP/1.1 404 x\r\nX-Error-Code: RevisionNotFound",
        b"HTTP/1.1 403 x",
    ],
    "gcs_lists": [
        _json({"items": [GCS]}),
        _json({"items": [{**GCS, "size": "-1"}]}),
        _json(GCS),
        _json({**GCS, "md5Hash": "?"}),
        _json({**GCS, "size": "x"}),
        b"{}",
    ],
    "azure_lists": [
        AZURE,
        AZURE.replace(b">7<", b">-7<"),
        AZURE.replace(b"m/a.bin", b"m/../a"),
        AZURE.replace(b"<Name>", b'<Name Encoded="true">%2e%2e/'),
        AZURE.replace(b'"1.0"', b'"1.0" encoding="zz"'),
        AZURE.replace(b"<Content-Length>7</Content-Length>", b""),
    ],
    "challenges": [
        BEARER + b'\n{"token": "t", "expires_in": 300}',
        BEARER + b'\n{"access_token": "t"}',
        BEARER + b'\n{"token": "t", "expires_in": 1' + b"0" * 400 + b"}",
        b'Basic realm="x"',
        b"Bearer realm=http://login.example/",
        b"Bearer",
    ],
    "tokens": [
        _json({"access_token": "t", "expires_in": 3600}),
        _json({"access_token": "t", "expires_in": "soon"}),
        _json({"access_token": "t", "expires_in": 10**400}),
        b"[" * 5000,
    ],
    "links": [
        b'<https://hub.example/api/models/a/b/tree/x?cursor=y>; rel="next"',
        b"<https://elsewhere.example/api/models>; rel=next",
        b'<//x@y/api/#>; rel="next"',
    ],
    "notes": [
        _json({"id": "a", "key": "k", "model": "m", "bytes_needed": 7, "state": "granted", "progress": {}}),
        _json({"uid": "u", "pod": "n/p", "keys": ["k"]}),
        b"1",
        _json({"model": "m", "key": "k", "uri": "x", "revision": "r", "endpoint": "", "at": 1.0}),
        _json({"digest": "0" * 64, "found": "x", "at": 1.0, "keys": ["k"]}),
        _json({"revision": "r", "files": {"a": ["0" * 64, 7]}}),
        b"[" * 5000,
        b"\xff",
    ],
    "records": [
        _json({"path": "a.bin", "identity": "sha256:0:3", "stat": [3, 1]}) + b"\n",
        _json({"path": "a.bin", "identity": "x", "unpacked": {"a": [1, 2]}}) + b"\ntorn",
        b"[1]\n7\n{}\n",
        b"[" * 5000,
    ],
    "credentials": [
        b"machine origin.example login me password sesame\n",
        b"machine origin.example login me",
        b"default login a password b\nmacdef x\n\n",
        _json({"auths": {"origin.example": {"auth": "bWU6c2VzYW1l"}}}),
        _json({"auths": {"origin.example": {"auth": 7}}}),
        _json({"auths": 7}),
        _json({"type": "service_account", "client_email": "a", "private_key": "x"}),
        b"Authorization: Bearer x\nX-A: b",
        b'{"Authorization": "Bearer x"}',
        b"[" * 5000,
        b"{" * 5000,
    ],
    "oci_manifests": [
        _json(OCI),
        b"[" * 5000,
        _json({**OCI, "layers": 7}),
        _json({**OCI, "layers": [{**LAYER, "size": "x"}]}),
        _json({"manifests": [{"digest": "sha256:" + "0" * 64, "platform": 7}]}),
        b"{}",
    ],
    "packs": [
        b64decode(  # an encrypted file without a name
            "UEsDBBQAAAAIAAAAIQDCQSQ1BQAAAAMAAAAAAAAAS0xKBgBQSwECFAMAAAMAAAAAAAAAS0xKBgBQSwECFAMUAAAACAAAAAAAAAAAgAEA"
            "AAAAUEsFBgAAAAABAAEALgAAACMAAAAAAA=="
        ),
        tar(),
        zipped(),
        tar("../x"),
        tar("/x"),
        zipped("../x"),
        tar("l", kind=tarfile.SYMTYPE, to="/etc"),
        tar("l", kind=tarfile.LNKTYPE, to="/etc/passwd"),
        tar("d", kind=tarfile.CHRTYPE),
        zipped("l", body=b"/etc/passwd", mode=0o120777),
        zipped("big", body=bytes(2 << 20)),
        zipped(""),
        b"",
        b"PK\5\6",
    ],
    "paths": [b"a/b", b"../a", b"/a", b"a//b", b"C:a", b"a\\b", b"\xff", b".forebay/x", b"a\0b", b"con"],
    "addresses": [
        b"http://h:1/p?q#f",
        b"https://[::1]/x",
        b"http://h:99999/",
        b"http://me:pw@[x",
        b"file://[x/",
        b"https://acme.blob.core.windows.net/c/p?sv=1&sig=x",
        b"AccountName=acme;BlobEndpoint=http://h/acme",
        b'["*.bin", ""]',
        b"s3://b/k?versionId=v",
        b"hf://a/b:main",
        b"oci://r.example/a:t@sha256:0",
        b"gs://b/k#1",
        b"http://\xe2\x80\x8b/",
        b"http://[",
    ],
    **logins.seeds(),
    **servers.seeds(),
}
