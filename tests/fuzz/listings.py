"""What the servers of each scheme say: listings, manifests, challenges and tokens."""

from __future__ import annotations

import json
from contextlib import suppress

from forebay.errors import ForebayError, Unavailable
from forebay.sources import azure, hf, oci, s3
from forebay.sources.azureauth import place_of
from forebay.sources.gcs import GcsSource
from forebay.sources.gcsauth import token_of
from forebay.sources.paths import check_together
from forebay.sources.registry import Registry
from forebay.sources.types import RemoteFile
from forebay.sources.wire.client import Client, Reply
from forebay.sources.wire.heads import BadAnswer, Head, parse_head, where

AT = "https://origin.example/"


def reply_of(head: Head, body: bytes) -> Reply:
    """An answer as a source's client gets it."""
    return Reply(head, body, AT, head)


class Said(Client):
    """A client that gets the same answers whatever is asked: in their order, the last one for ever."""

    def __init__(self, *bodies: bytes, status: int = 200, head: Head | None = None) -> None:
        super().__init__({})
        self._answers = [reply_of(head or Head(status, {}), body) for body in bodies]

    def get(self, url: str, headers: object = None, *, method: str = "GET", body: bytes = b"") -> Reply:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def safe(files: list[RemoteFile]) -> None:
    """What a listing promises to its callers, once `check_together` has let it pass."""
    check_together(f.path for f in files)
    for file in files:
        parts = file.path.split("/")
        assert not file.path.startswith("/") and not {"", "..", "."} & set(parts) and "\0" not in file.path
        assert file.size is None or file.size >= 0, "a size below nothing"
        assert file.path.encode(), "a name that no disk can hold"


def s3_lists(data: bytes) -> None:
    """A bucket's listing and an S3 error."""
    source = s3.S3Source({"awsAnonymousCredential": "true", "AWS_ENDPOINT_URL": AT})
    for status in (200, 403):
        source._client = Said(data, b"<a/>", status=status)
        with suppress(ForebayError):
            safe(list(source.resolve("s3://bucket/m").files))


def azure_lists(data: bytes) -> None:
    """A container's listing."""
    env = {"AZURE_STORAGE_ACCOUNT": "acme"}
    source = azure.AzureSource(env)
    source._client = Said(data, b"<a/>")
    with suppress(ForebayError):
        safe(source._listed(place_of("az://models/m", env)))


def hub_lists(data: bytes) -> None:
    """The hub's word on a revision, and its list of files."""
    for bodies in ((data, b"[]"), (b'{"sha": "%s"}' % (b"0" * 40), data)):
        source = hf.HubSource({"HF_ENDPOINT": AT, "HF_TOKEN": "t"})
        source._client = Said(*bodies)
        with suppress(ForebayError):
            safe(list(source.resolve("hf://acme/tiny").files))


def hub_errors(data: bytes) -> None:
    """The hub's refusals: status and headers."""
    with suppress(BadAnswer):
        head = parse_head(data)
        source = hf.HubSource({"HF_ENDPOINT": AT})
        assert isinstance(source._error(reply_of(head, b""), "acme/tiny", "main"), ForebayError)


def gcs_lists(data: bytes) -> None:
    """A bucket's listing, and one object of Google's store."""
    for uri in ("gs://models/m", "gs://models/a/b.bin#1"):
        source = GcsSource({"STORAGE_EMULATOR_HOST": AT})
        source._client = Said(data, b"{}")
        with suppress(ForebayError):
            safe(list(source.resolve(uri).files))


def oci_manifests(data: bytes) -> None:
    """A registry's manifest, or its index with a manifest behind it."""
    source = oci.OciSource({"KSERVE_OCI_INSECURE_REGISTRY": "true", "HOME": "/nonexistent"})
    source._registry.client = Said(data)
    with suppress(ForebayError):
        safe([f for f in source.resolve("oci://registry.example/a:t").files if f.plain])
    body = _json(data)
    if isinstance(body, dict):
        with suppress(ForebayError):
            oci.choose(body, "linux/amd64")
        with suppress(ForebayError):
            safe(list(oci.files_of(body, "oci://registry.example/a")[0]))


def challenges(data: bytes) -> None:
    """WWW-Authenticate of a registry: its realm is asked for a token, and gives one or not."""
    line, _, token = data.partition(b"\n")
    registry = Registry({"HOME": "/nonexistent"})
    registry.client = Said(token)
    head = Head(401, {"www-authenticate": line.strip(b"\r").decode("latin-1")})
    with suppress(ForebayError):
        held = registry._answer(reply_of(head, b""), "registry.example", "a/b")
        value = held.value()
        assert value.startswith("Bearer ")


def tokens(data: bytes) -> None:
    """An OAuth server's answer."""
    with suppress(ForebayError):
        _, life_s = token_of(reply_of(Head(200, {}), data).json(), "login.example")
        assert isinstance(life_s, float)


def links(data: bytes) -> None:
    """The hub's Link header, which leads to the next page: never to another host."""
    head = Head(200, {"link": data.decode("latin-1")})
    asked: list[str] = []

    class Noting(Said):
        def get(self, url: str, headers: object = None, *, method: str = "GET", body: bytes = b"") -> Reply:
            if len(asked) == 3:
                raise Unavailable("enough of this circle")
            asked.append(where(url).url)
            return super().get(url, headers)

    source = hf.HubSource({"HF_ENDPOINT": "https://hub.example", "HF_TOKEN": "t"})
    source._client = Noting(b"[]", head=head)
    with suppress(ForebayError):
        source._tree("acme/tiny", "0" * 40)
    assert all(url.startswith("https://hub.example/api/") for url in asked)


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
