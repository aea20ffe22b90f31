"""Cloud Storage and Azure blobs on loopback: what a pull sees, with the services' own checks of who asks.

Both pass the source suite as the real servers do (fake-gcs-server and azurite, which it runs on request).
Signatures are checked here by code that shares nothing with the sources.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from forebay.engines.fileserver import FileBody, FileServer, Reply, Request

PAGE = 2  # objects per answer, so that every listing has several


class Cloud:
    """A file server with a folder per bucket, and helpers for both services."""

    def __init__(self, root: Path, answer: Callable[[Request], Reply]) -> None:
        self.root = root
        self.server = FileServer(answer, host="127.0.0.1", port=0)

    def __enter__(self) -> Cloud:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def names(self, bucket: str, prefix: str) -> list[str]:
        folder = self.root / bucket
        found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return sorted(name for name in found if name.startswith(prefix))


def md5_of(path: Path) -> str:
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


class FakeGcs(Cloud):
    """The JSON API. `accounts` are public keys by e-mail address; without any, everyone may read.

    `generation` of an object is its file's modification time; another one is 404, as without versioning.
    """

    def __init__(self, root: Path, accounts: dict[str, rsa.RSAPublicKey] | None = None) -> None:
        super().__init__(root, self._answer)
        self.accounts, self.tokens = accounts or {}, set[str]()
        self.encoded: set[str] = set()  # names that are stored with Content-Encoding: gzip
        self.composed: dict[str, str] = {}  # names of objects without MD5: their crc32c in base64
        self.tokens_made = 0
        self.revoke_before_media = (
            0  # the n-th request for content comes with a token that is no good any more
        )

    def _answer(self, request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query).items()}
        if parts.path == "/token":
            return self._token(request)
        if parts.path.startswith("/computeMetadata/"):
            if request.headers.get("metadata-flavor") != "Google":
                return Reply(403)
            return self._issue()
        if parts.path.startswith("/download/") and self.revoke_before_media:
            self.revoke_before_media -= 1
            self.tokens = self.tokens if self.revoke_before_media else set()
        if (
            self.accounts
            and request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens
        ):
            return Reply.json(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        pieces = parts.path.removeprefix("/download").split("/")  # '', storage, v1, b, BUCKET, o, NAME
        bucket, name = unquote(pieces[4]), unquote(pieces[6]) if len(pieces) > 6 else ""
        if not (self.root / bucket).is_dir():
            return Reply.json(404, {"error": {"code": 404}})
        return self._object(bucket, name, query) if name else self._list(bucket, query)

    def _list(self, bucket: str, query: dict[str, str]) -> Reply:
        names = self.names(bucket, query.get("prefix", ""))
        start = int(query.get("pageToken", "0"))
        body: dict[str, object] = {"items": [self._item(bucket, n) for n in names[start : start + PAGE]]}
        if start + PAGE < len(names):
            body["nextPageToken"] = str(start + PAGE)
        return Reply.json(200, body)

    def _object(self, bucket: str, name: str, query: dict[str, str]) -> Reply:
        path = self.root / bucket / name
        if not path.is_file() or query.get("generation", self.generation(path)) != self.generation(path):
            return Reply.json(404, {"error": {"code": 404}})
        if query.get("alt") != "media":
            return Reply.json(200, self._item(bucket, name))
        return Reply(200, {"x-goog-generation": self.generation(path)}, FileBody(path))

    def _item(self, bucket: str, name: str) -> dict[str, str]:
        path = self.root / bucket / name
        item = {"name": name, "size": str(path.stat().st_size), "generation": self.generation(path)}
        if name in self.encoded:
            item |= {"contentEncoding": "gzip", "size": "1"}
        if name in self.composed:
            return item | {"crc32c": self.composed[name]}
        return item | {"md5Hash": md5_of(path)}

    @staticmethod
    def generation(path: Path) -> str:
        return str(path.stat().st_mtime_ns)

    def _token(self, request: Request) -> Reply:
        form = {n: v[0] for n, v in parse_qs(request.body.decode()).items()}
        if form.get("refresh_token") == "r-1" and form.get("client_secret") == "s":
            return self._issue()
        head, claim, signature = (form.get("assertion", "") + "..").split(".")[:3]
        try:
            said = json.loads(_unbase64url(claim))
            self.accounts[said["iss"]].verify(
                _unbase64url(signature), f"{head}.{claim}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            assert said["aud"] == f"{self.server.url}/token" and said["exp"] - said["iat"] <= 3600
        except (InvalidSignature, ValueError, KeyError, AssertionError):
            return Reply.json(400, {"error": "invalid_grant"})
        return self._issue()

    def _issue(self) -> Reply:
        self.tokens_made += 1
        self.tokens = {f"gcs-token-{self.tokens_made}"}  # one at a time: an earlier one is no good any more
        return Reply.json(200, {"access_token": next(iter(self.tokens)), "expires_in": 3600})


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def blob_sas(account: str, key: str, container: str, *, ends: str, rights: str = "rl") -> str:
    """Query of a service SAS on a container, version 2020-12-06 and later, by Microsoft's page."""
    to_sign = (f"{rights}\n\n{ends}\n/blob/{account}/{container}\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n").encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), to_sign, "sha256")).decode()
    return f"sp={rights}&se={quote(ends)}&sv=2021-12-02&sr=c&sig={quote(signature, safe='')}"


class FakeAzure(Cloud):
    """One account's blob service, the account in the path as in the emulators. Reads want a signature made
    with `key`, or one of `tokens`; a container in `public` wants nothing."""

    account = "devstoreaccount1"

    def __init__(self, root: Path, key: str, tokens: frozenset[str] = frozenset()) -> None:
        super().__init__(root, self._answer)
        self.key, self.tokens = key, tokens
        self.public: set[str] = set()
        self.unlisted: set[str] = set()  # containers of which blobs may be read, but not listed
        self.folders: set[str] = set()  # names of folders of a hierarchical account
        self.after_list: Callable[[], None] = lambda: None
        self.secrets = {"tenant-1": {"client-1": "sesame"}}

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.account}"

    def _answer(self, request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query, keep_blank_values=True).items()}
        if parts.path.endswith("/oauth2/v2.0/token"):
            return self._token(parts.path.split("/")[1], request)
        container, _, name = unquote(parts.path).removeprefix(f"/{self.account}/").partition("/")
        if not self._allowed(container, query, request.headers.get("authorization", "")):
            return Reply(403, {"x-ms-error-code": "AuthenticationFailed"})
        if not (self.root / container).is_dir():
            return Reply(404, {"x-ms-error-code": "ContainerNotFound"})
        if query.get("comp") == "list":
            if container in self.unlisted:
                return Reply(404, {"x-ms-error-code": "ResourceNotFound"})
            return self._list(container, query)
        path = self.root / container / name
        if not path.is_file():
            return Reply(404, {"x-ms-error-code": "BlobNotFound"})
        return Reply(200, {"ETag": f'"{self.etag(path)}"'}, FileBody(path))

    def _allowed(self, container: str, query: dict[str, str], authorization: str) -> bool:
        if "sig" in query:
            good = blob_sas(
                self.account, self.key, container, ends=query.get("se", ""), rights=query.get("sp", "")
            )
            return parse_qs(good)["sig"][0] == query["sig"]
        return container in self.public or authorization.removeprefix("Bearer ") in self.tokens

    def _list(self, container: str, query: dict[str, str]) -> Reply:
        names = sorted([*self.names(container, query.get("prefix", "")), *self.folders])
        start = int(query.get("marker") or "0")
        more = str(start + PAGE) if start + PAGE < len(names) else ""
        blobs = "".join(self._blob(container, name) for name in names[start : start + PAGE])
        text = (
            f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{more}</NextMarker></EnumerationResults>"
        )
        if not more:
            self.after_list()
        return Reply(
            200, {"Content-Type": "application/xml"}, b'\xef\xbb\xbf<?xml version="1.0"?>' + text.encode()
        )

    def _blob(self, container: str, name: str) -> str:
        path = self.root / container / name
        if name in self.folders:
            facts = "<Content-Length>0</Content-Length><Etag>0x1</Etag>"
            marked = "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"
            return f"<Blob><Name>{escape(name)}</Name><Properties>{facts}</Properties>{marked}</Blob>"
        facts = f"<Etag>{self.etag(path)}</Etag><Content-Length>{path.stat().st_size}</Content-Length>"
        facts += f"<Content-MD5>{md5_of(path)}</Content-MD5>"
        return f"<Blob><Name>{escape(name)}</Name><Properties>{facts}</Properties><Metadata /></Blob>"

    @staticmethod
    def etag(path: Path) -> str:
        return f"0x{path.stat().st_mtime_ns:X}"

    def _token(self, tenant: str, request: Request) -> Reply:
        form = {n: v[0] for n, v in parse_qs(request.body.decode()).items()}
        secret = form.get("client_secret") or form.get("client_assertion")
        if self.secrets.get(tenant, {}).get(form.get("client_id", "")) != secret:
            return Reply.json(401, {"error": "invalid_client"})
        return Reply.json(200, {"access_token": sorted(self.tokens)[0], "expires_in": 3599})
