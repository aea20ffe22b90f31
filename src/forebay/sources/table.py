"""The table of schemes: a URI becomes a source, and the source a listing. Adding a scheme is one row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import cast

from forebay.errors import Invalid
from forebay.kit.redact import redacted
from forebay.sources.settings import filtered
from forebay.sources.types import Listing, Source

# scheme: (module, class). Modules are imported on use: botocore alone costs a third of a second.
SOURCES: dict[str, tuple[str, str]] = {
    "hf": ("forebay.sources.hf", "HubSource"),
    "http": ("forebay.sources.http", "HttpSource"),
    "https": ("forebay.sources.http", "HttpSource"),
    "s3": ("forebay.sources.s3", "S3Source"),
    "gs": ("forebay.sources.gcs", "GcsSource"),
    "az": ("forebay.sources.azure", "AzureSource"),
    "azure": ("forebay.sources.azure", "AzureSource"),
    "oci": ("forebay.sources.oci", "OciSource"),
    "oci+fetch": ("forebay.sources.oci", "OciSource"),
    "oci+native": ("forebay.sources.oci", "OciSource"),
    "file": ("forebay.sources.file", "FileSource"),
}
# Addresses of a known service, in KServe's form: they are no plain web servers.
_AZURE = r"https://[a-z0-9]+(-secondary)?\.({0}\.core\.[a-z.]+|z\d\d?\.{0}\.storage\.azure\.net)/"


def _azure(service: str) -> re.Pattern[str]:
    """Addresses of an account's service: by its name, or in one of Azure's DNS zones."""
    return re.compile(_AZURE.format(service), re.IGNORECASE)


_SERVICES = ((_azure("blob"), "azure"),)
_REFUSED = (
    (_azure("file"),
     "Azure file shares are not read: copy the model into a blob container, or mount the share and use pvc://"),
    (_azure("dfs"), "write it with .blob. in place of .dfs.: the same files are there"),
    (re.compile(r"https?://[^?#]+\.git/?$", re.IGNORECASE),
     "git repositories are not cloned: use hf:// for the Hub's, or put the files into a bucket"),
    (re.compile(r"modelscope://", re.IGNORECASE),
     "ModelScope is not read: take the same model from the Hub with hf://, or put it into a bucket"),
)  # fmt: skip


def scheme_of(uri: str) -> str:
    """The scheme of a URI, lower case. Raises Invalid with the schemes that are known."""
    scheme, colon, _ = uri.partition("://")
    if colon and scheme.lower() in SOURCES:
        return scheme.lower()
    known = ", ".join(f"{name}://" for name in SOURCES)
    if scheme.lower() == "pvc":
        raise Invalid(f"{redacted(uri)!r}: a claim is mounted, not downloaded; known are {known}")
    raise Invalid(f"{redacted(uri)!r} has no scheme that can be pulled; known are {known}")


def source_for(uri: str, env: Mapping[str, str]) -> Source:
    """The source of a URI, with its settings from `env`. Raises Invalid."""
    for form, why in _REFUSED:
        if form.match(uri):
            raise Invalid(f"{redacted(uri)}: {why}")
    scheme = next((name for form, name in _SERVICES if form.match(uri)), None) or scheme_of(uri)
    module, name = SOURCES[scheme]
    return cast(Source, getattr(import_module(module), name)(env))


def resolve(uri: str, env: Mapping[str, str], revision: str = "") -> tuple[Source, Listing]:
    """The source and the immutable listing of a URI, with KServe's allow and ignore patterns applied.

    `revision` pins what another node has resolved. Raises Invalid, Denied, Absent, Unavailable.
    """
    source = source_for(uri, env)
    return source, filtered(source.resolve(uri, revision=revision), env)
