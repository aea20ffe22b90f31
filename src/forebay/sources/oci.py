"""oci://registry/name[:tag][@sha256:…]: models in container registries.

An image in KServe's modelcar layout gives what lies below its /models folder; an artifact (ORAS, ModelPack)
gives its layers as files under the names in their annotations. The protocol is four GETs, so it is spoken
here: no client library moves blobs in ranges, and docker's and skopeo's want a daemon or a root file system.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from forebay.errors import Absent, Damaged, Invalid, Unavailable
from forebay.kit.foreign import count, parsed
from forebay.kit.redact import redacted
from forebay.sources.dockerconfig import HUB
from forebay.sources.paths import check_together, safe_path
from forebay.sources.registry import Registry
from forebay.sources.types import Listing, RemoteFile, Request

SUBTREE = "models"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join((*_MANIFESTS, *_INDEXES))
_TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_FOLDER = "io.deis.oras.content.unpack"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True)
class Image:
    """A reference in its parts; `at` is the digest if there is one, else the tag."""

    host: str
    name: str
    at: str


class OciSource:
    """Any registry that speaks the OCI distribution API. Credentials and trust: see `registry.Registry`."""

    scheme: ClassVar[str] = "oci"
    name: ClassVar[str] = "oci"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._registry = Registry(env)
        machine = _MACHINES.get(platform.machine(), platform.machine())
        self._platform = env.get("FOREBAY_OCI_PLATFORM") or f"linux/{machine}"

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """The manifest that the name means now; its digest is the revision. Raises Invalid, Denied, Absent,
        Unavailable, Damaged (a manifest that is not the one its digest names)."""
        image = parse(uri)
        if revision and not _DIGEST.fullmatch(revision):
            raise Absent(f"{uri} has no revision {revision[:80]!r}: it must be the digest of a manifest")
        with closing(self._registry.client):
            manifest, digest = self._manifest(image, revision or image.at)
            if _is_index(manifest):
                chosen = choose(manifest, self._platform)
                manifest, digest = self._manifest(image, chosen)
        files, folder = files_of(manifest, f"{image.host}/{image.name}@{digest}")
        unpack = any(not f.plain for f in files)
        return Listing(uri, digest, files, unpack=unpack, folder=folder)

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """GET of one blob; registries often redirect it to a store that wants no credentials."""
        image, trust = parse(listing.uri), self._registry.trust
        url = self._registry.url(image.host, image.name, "blobs", file.locator)
        headers = self._registry.headers(image.host, image.name, file.locator)
        return Request(url, headers, trust.ca_file, trust.client_cert, trust.verify)

    def _manifest(self, image: Image, at: str) -> tuple[dict[str, Any], str]:
        reply = self._registry.manifest(image.host, image.name, at, _ACCEPT)
        digest = "sha256:" + hashlib.sha256(reply.body).hexdigest()
        if at.startswith("sha256:") and at != digest:
            raise Damaged(f"{image.host} answered with {digest} where {image.name}@{at} was asked for")
        try:
            body = parsed(reply.body)
        except ValueError as error:
            raise Unavailable(f"{image.host} did not answer with a manifest; is it a registry?") from error
        if not isinstance(body, dict) or body.get("schemaVersion") != 2:
            raise Invalid(
                f"{image.host}/{image.name}: only image manifests of schema 2 and OCI are read; push anew"
            )
        return body, digest


def parse(uri: str) -> Image:
    """The parts of oci://[registry/]name[:tag][@digest], also of oci+fetch://. Raises Invalid.

    As docker reads it: the first part is a registry if it has a dot or a port or is `localhost`.
    """
    rest = uri.partition("://")[2].rstrip("/")
    rest, _, digest = rest.partition("@")
    host, slash, name = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, name = HUB, rest if "/" in rest else f"library/{rest}"
    name, colon, tag = name.partition(":")
    host = HUB if host in ("index.docker.io", "registry-1.docker.io") else host
    fits = _HOST.fullmatch(host) and _NAME.fullmatch(name) and len(name) < 256
    if not fits or (colon and not _TAG.fullmatch(tag)) or (("@" in uri) and not _DIGEST.fullmatch(digest)):
        raise Invalid(
            f"{redacted(uri)!r} is not oci://registry/name:tag or oci://registry/name@sha256:<digest>"
        )
    return Image(host, name, digest or tag or "latest")


def _is_index(manifest: Mapping[str, Any]) -> bool:
    return manifest.get("mediaType") in _INDEXES or ("manifests" in manifest and "layers" not in manifest)


def choose(index: Mapping[str, Any], wanted: str) -> str:
    """Digest of the manifest for platform `wanted` (os/architecture), else of the first that is a real image:
    weights are the same on every machine. Raises Absent, Unavailable."""
    found: list[tuple[str, str]] = []
    listed = index.get("manifests")
    for item in listed if isinstance(listed, list) else ():
        try:
            at = item.get("platform") or {}
            digest, name = str(item["digest"]), f"{at.get('os', '')}/{at.get('architecture', '')}"
            attests = "vnd.docker.reference.type" in (item.get("annotations") or {})
        except (KeyError, AttributeError, TypeError) as error:
            raise Unavailable(f"the image index cannot be read ({type(error).__name__})") from error
        if _DIGEST.fullmatch(digest) and not attests and name != "unknown/unknown":
            found.append((name, digest))
    if not found:
        raise Absent("the image index holds no image; push one")
    return next((digest for name, digest in found if name == wanted), found[0][1])


def files_of(manifest: Mapping[str, Any], shown: str) -> tuple[tuple[RemoteFile, ...], str]:
    """The layers as files, and the folder of an image that is the model ("" for artifacts). Raises Invalid,
    Absent, Unavailable."""
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not layers:
        raise Absent(f"{shown} has no layers")
    try:
        if not any(map(_title, layers)):
            # An image: what lies beside its archives (an attestation, a licence) is none of the model.
            layers = [layer for layer in layers if _is_tar(layer)] or layers
        facts = [_layer(shown, layer) for layer in layers]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"the manifest of {shown} cannot be read ({error})") from error
    titled = [f for f in facts if f[1]]
    if titled and len(titled) < len(facts):
        raise Invalid(f"{shown} mixes layers with and without a file name; push it as one or the other")
    if titled:
        files = tuple(f for f, _ in titled)
        check_together(f.path for f in files)
        return files, ""
    # A layer that comes twice counts where it comes last: what it holds lies on top from there on.
    last = {file.sha256: place for place, (file, _) in enumerate(facts)}
    return tuple(facts[place][0] for place in sorted(last.values())), SUBTREE


def _title(layer: dict[str, Any]) -> str:
    notes = layer.get("annotations") or {}
    return next((str(notes[name]) for name in _TITLES if notes.get(name)), "")


def _is_tar(layer: dict[str, Any]) -> bool:
    return re.search(r"[.+]tar([.+]|$)", str(layer.get("mediaType", ""))) is not None


def _layer(shown: str, layer: dict[str, Any]) -> tuple[RemoteFile, str]:
    """One layer, and its file name if it has one."""
    digest, size, media = str(layer["digest"]), count(layer["size"]), str(layer.get("mediaType", ""))
    if not _DIGEST.fullmatch(digest):
        raise ValueError("digest of a layer")
    notes, title, is_tar = layer.get("annotations") or {}, _title(layer), _is_tar(layer)
    packed = (
        not title or str(notes.get(_FOLDER, "")).lower() == "true" or (is_tar and ".cncf.model." in media)
    )
    if packed and "encrypted" in media:
        raise Invalid(f"{shown}: a layer is encrypted, which is not unpacked here; push it as it is")
    if packed and not is_tar:
        raise Invalid(f"{shown}: a layer of type {media[:80]!r} has no file name and is no archive")
    hexed = digest.removeprefix("sha256:")
    path = f"layer-{hexed[:16]}.tar" if packed else safe_path(title.removeprefix("./"))
    return RemoteFile(path, size, sha256=hexed, locator=digest, plain=not packed), title
