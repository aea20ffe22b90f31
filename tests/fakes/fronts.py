"""One small front per protocol before one file: listings, heads and logins are told truthfully, and who asks
without the right login is refused. The file's own bytes are left to the server that holds the front.

A front promises of `model.bin` what its class says: `digest` is how its bytes can be checked, `etag` whether
the listing names the version, `renews` whether a pass that is refused can be had anew.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from forebay.kit.crc import Crc32c

NAME, SECRET = "model.bin", "sesame"
COMMIT = "c0ffee" * 6 + "c0de"


@dataclass(frozen=True)
class Answer:
    """A whole answer of a front."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def json(body: object) -> Answer:
        return Answer(200, json.dumps(body).encode())


class Front:
    """What all have in common. `base` is set when the server is there, and may be that of a TLS front."""

    source: ClassVar[str]
    digest: ClassVar[str] = ""
    etag: ClassVar[bool] = False
    renews: ClassVar[bool] = False

    def __init__(self, body: bytes, root: Path) -> None:
        self.body, self.root, self.base = body, root, ""
        self.sha256 = hashlib.sha256(body).hexdigest()
        self.md5 = hashlib.md5(body, usedforsecurity=False).digest()
        self.version = self.sha256[:16]  # the ETag of each answer with bytes
        self._passes = itertools.count()

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc

    def uri(self) -> str:
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        """The settings of the source."""
        raise NotImplementedError

    def answer(self, method: str, target: str, login: str) -> Answer | None:
        """The answer to a request with that Authorization; None for the file's bytes."""
        given = self.open(target)
        if given is not None:
            return given
        if SECRET not in login.lower():
            return self.challenge()
        if method == "HEAD":
            return Answer(200, b"", (("Content-Length", str(len(self.body))), *self.facts()))
        return self.told(target)

    def open(self, target: str) -> Answer | None:
        """What is told to everyone: logins."""

    def told(self, target: str) -> Answer | None:
        """Listings; None for the bytes."""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Headers of an answer to HEAD."""
        return (("ETag", f'"{self.version}"'),)

    def challenge(self) -> Answer:
        return Answer(401)

    def token(self) -> Answer:
        """A bearer's token, another one each time."""
        name = f"{SECRET}-{next(self._passes)}"
        return Answer.json({"access_token": name, "token": name, "expires_in": 300})


class Http(Front):
    """Tells size and ETag, and no digest."""

    source, etag = "http", True

    def uri(self) -> str:
        return f"{self.base}/{NAME}"

    def env(self) -> dict[str, str]:
        return {"127.0.0.1-headers": f"Authorization: Bearer {SECRET}"}


class HttpDigest(Http):
    """Tells a sha256 in its heads."""

    digest = "sha256"

    def facts(self) -> tuple[tuple[str, str], ...]:
        return (*super().facts(), ("X-Checksum-Sha256", self.sha256))


class Hub(Front):
    """A large file: its sha256 is listed, and it is redirected to a signed address, another one each time."""

    source, digest, renews = "hf", "sha256", True

    def uri(self) -> str:
        return "hf://acme/tiny"

    def env(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.base, "HF_TOKEN": f"hf_{SECRET}"}

    def told(self, target: str) -> Answer | None:
        if "/revision/" in target:
            return Answer.json({"sha": COMMIT, "id": "acme/tiny"})
        if "/tree/" in target:
            return Answer.json([{"type": "file", "path": NAME, "size": len(self.body), **self.listed()}])
        if "/resolve/" in target and self.renews:
            to = f"/store/{NAME}?Signature={SECRET}{next(self._passes)}"
            return Answer(302, b"", (("Location", to),))
        return None

    def listed(self) -> dict[str, object]:
        return {"oid": "0" * 40, "lfs": {"oid": self.sha256, "size": len(self.body)}}


class HubGit(Hub):
    """A file that lies in git: its blob hash is listed, and it comes from the hub itself."""

    digest, renews = "git sha1", False

    def listed(self) -> dict[str, object]:
        content = b"blob %d\0" % len(self.body) + self.body
        return {"oid": hashlib.sha1(content, usedforsecurity=False).hexdigest()}


class S3(Front):
    """An object in one piece: its ETag is its MD5. The keys come from where containers get them."""

    source, digest, etag, renews = "s3", "md5", True, True

    def __init__(self, body: bytes, root: Path) -> None:
        super().__init__(body, root)
        self.version = self.md5.hex()

    def uri(self) -> str:
        return "s3://models/tiny"

    def env(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.base}

    def process_env(self) -> dict[str, str]:
        """What botocore reads from its process."""
        nowhere = str(self.root / "none")
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.base}/keys", "AWS_CONFIG_FILE": nowhere,
                "AWS_SHARED_CREDENTIALS_FILE": nowhere}  # fmt: skip

    def open(self, target: str) -> Answer | None:
        if target != "/keys":
            return None
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
        return Answer.json({"AccessKeyId": f"AKIASESAME{next(self._passes)}", "SecretAccessKey": SECRET,
                            "Token": SECRET, "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"})  # fmt: skip

    def told(self, target: str) -> Answer | None:
        if "list-type=2" not in target:
            return None
        facts = f'<Key>tiny/{NAME}</Key><Size>{len(self.body)}</Size><ETag>"{self.version}"</ETag>'
        return Answer(200, f"<ListBucketResult><Contents>{facts}</Contents></ListBucketResult>".encode())


class S3Parts(S3):
    """An object that came in parts: its ETag is no digest."""

    digest = ""

    def __init__(self, body: bytes, root: Path) -> None:
        super().__init__(body, root)
        self.version += "-2"


class S3Checksum(S3Parts):
    """In parts, with a checksum of the whole."""

    digest = "crc32"

    def facts(self) -> tuple[tuple[str, str], ...]:
        crc = base64.b64encode(zlib.crc32(self.body).to_bytes(4, "big")).decode()
        return (*super().facts(), ("x-amz-checksum-crc32", crc), ("x-amz-checksum-type", "FULL_OBJECT"))


class Gcs(Front):
    """A generation of an object with its MD5."""

    source, digest, renews = "gs", "md5", True

    def uri(self) -> str:
        return "gs://models/tiny"

    def env(self) -> dict[str, str]:
        login = {"type": "authorized_user", "client_id": "c", "client_secret": SECRET,
                 "refresh_token": SECRET, "token_uri": f"{self.base}/token"}  # fmt: skip
        path = self.root / "google.json"
        path.write_text(json.dumps(login))
        return {"STORAGE_EMULATOR_HOST": self.base, "GOOGLE_APPLICATION_CREDENTIALS": str(path)}

    def open(self, target: str) -> Answer | None:
        return self.token() if target == "/token" else None

    def told(self, target: str) -> Answer | None:
        if target.startswith("/download/"):
            return None
        item = {"name": f"tiny/{NAME}", "size": str(len(self.body)), "generation": "7", **self.listed()}
        return Answer.json(item if "/o/" in target else {"items": [item]})

    def listed(self) -> dict[str, str]:
        return {"md5Hash": base64.b64encode(self.md5).decode()}


class GcsComposed(Gcs):
    """An object that was composed has only a CRC32C."""

    digest = "crc32c"

    def listed(self) -> dict[str, str]:
        crc = Crc32c()
        crc.update(memoryview(self.body))
        return {"crc32c": base64.b64encode(bytes.fromhex(crc.hexdigest())).decode()}


class Azure(Front):
    """A blob with its MD5, and a client with a secret."""

    source, digest, etag, renews = "az", "md5", True, True

    def uri(self) -> str:
        return "az://models/tiny"

    def env(self) -> dict[str, str]:
        who = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": SECRET}
        return {"AZURE_STORAGE_ENDPOINT": f"{self.base}/acme", "AZURE_AUTHORITY_HOST": self.base, **who}

    def open(self, target: str) -> Answer | None:
        return self.token() if target.endswith("/token") else None

    def told(self, target: str) -> Answer | None:
        if "comp=list" not in target:
            return None
        facts = f"<Content-Length>{len(self.body)}</Content-Length><Etag>{self.version}</Etag>"
        if self.digest:
            facts += f"<Content-MD5>{base64.b64encode(self.md5).decode()}</Content-MD5>"
        blob = f"<Blob><Name>tiny/{NAME}</Name><Properties>{facts}</Properties></Blob>"
        return Answer(200, f"<EnumerationResults><Blobs>{blob}</Blobs></EnumerationResults>".encode())


class AzureBlocks(Azure):
    """A blob of blocks has no MD5 unless who wrote it said one."""

    digest = ""


class Oci(Front):
    """A layer under a file name, behind the token dance."""

    source, digest, renews = "oci", "sha256", True

    def uri(self) -> str:
        return f"oci://{self.host}/team/tiny:v1"

    def env(self) -> dict[str, str]:
        path = self.root / "docker.json"
        auth = base64.b64encode(f"me:{SECRET}".encode()).decode()
        path.write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        plain = str(self.base.startswith("http://")).lower()
        return {"KSERVE_OCI_DOCKER_CONFIG": str(path), "KSERVE_OCI_INSECURE_REGISTRY": plain}

    def open(self, target: str) -> Answer | None:
        return self.token() if target.startswith("/token") else None

    def challenge(self) -> Answer:
        return Answer(401, b"", (("WWW-Authenticate", f'Bearer realm="{self.base}/token",service="s"'),))

    def told(self, target: str) -> Answer | None:
        if "/manifests/" not in target:
            return None
        layer = {"mediaType": "application/octet-stream", "digest": f"sha256:{self.sha256}",
                 "size": len(self.body), "annotations": {"org.opencontainers.image.title": NAME}}  # fmt: skip
        media = "application/vnd.oci.image.manifest.v1+json"
        return Answer.json({"schemaVersion": 2, "mediaType": media, "layers": [layer]})


FRONTS: dict[str, type[Front]] = {
    "http": Http, "http-sha256": HttpDigest, "hf": Hub, "hf-git": HubGit, "s3": S3, "s3-parts": S3Parts,
    "s3-crc32": S3Checksum, "gs": Gcs, "gs-crc32c": GcsComposed, "az": Azure, "az-blocks": AzureBlocks,
    "oci": Oci,
}  # fmt: skip
SOURCES = ("http", "hf", "s3", "gs", "az", "oci")  # one of each: for what no promise changes
