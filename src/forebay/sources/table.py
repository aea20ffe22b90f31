"""The table of schemes: a URI becomes a source, and the source a listing. Adding a scheme is one row."""

from __future__ import annotations

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
    "file": ("forebay.sources.file", "FileSource"),
}


def scheme_of(uri: str) -> str:
    """The scheme of a URI, lower case. Raises Invalid with the schemes that are known."""
    scheme, colon, _ = uri.partition("://")
    if colon and scheme.lower() in SOURCES:
        return scheme.lower()
    known = ", ".join(f"{name}://" for name in SOURCES)
    if scheme.lower() == "pvc":
        raise Invalid(f"{uri!r}: a claim is mounted, not downloaded; known are {known}")
    raise Invalid(f"{redacted(uri)!r} has no scheme that can be pulled; known are {known}")


def source_for(uri: str, env: Mapping[str, str]) -> Source:
    """The source of a URI, with its settings from `env`. Raises Invalid."""
    module, name = SOURCES[scheme_of(uri)]
    return cast(Source, getattr(import_module(module), name)(env))


def resolve(uri: str, env: Mapping[str, str], revision: str = "") -> tuple[Source, Listing]:
    """The source and the immutable listing of a URI, with KServe's allow and ignore patterns applied.

    `revision` pins what another node has resolved. Raises Invalid, Denied, Absent, Unavailable.
    """
    source = source_for(uri, env)
    return source, filtered(source.resolve(uri, revision=revision), env)
