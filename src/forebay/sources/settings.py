"""What several sources read from the environment: trust, patterns, small numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from forebay.errors import Absent, Invalid
from forebay.kit.foreign import parsed
from forebay.kit.redact import redacted
from forebay.sources.archives import is_archive
from forebay.sources.paths import check_together
from forebay.sources.types import Listing
from forebay.sources.wire.conn import Trust
from forebay.sources.wire.heads import where

TRUE = ("1", "true", "yes", "on")
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def flag(env: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A yes-or-no variable; "1", "true", "yes" and "on" in any case are yes."""
    text = env.get(name, "").strip().lower()
    return default if not text else text in TRUE


def trust_from(env: Mapping[str, str], *, verify: bool = True, aws: bool = False) -> Trust:
    """CA bundle and client certificate for TLS.

    The first of: KServe's CA_BUNDLE_VOLUME_MOUNT_POINT/cabundle.crt (when CA_BUNDLE_CONFIGMAP_NAME or
    AWS_CA_BUNDLE_CONFIGMAP is set), REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE, AWS_CA_BUNDLE, which
    comes first of all for `aws`; none where nothing is verified.
    FOREBAY_CLIENT_CERT is a PEM file with certificate and key. Raises Invalid when a named file is not there.
    """
    ca_file = _bundle(env, aws=aws) if verify else ""
    client = env.get("FOREBAY_CLIENT_CERT", "")
    for name, what in ((ca_file, "the CA bundle's mount or variable"), (client, "FOREBAY_CLIENT_CERT")):
        if name and not Path(name).is_file():
            raise Invalid(f"the certificate file {name} is not there; check {what}")
    return Trust("" if ca_file in _SYSTEM_ROOTS else ca_file, client, verify)


def _bundle(env: Mapping[str, str], *, aws: bool) -> str:
    if aws and env.get("AWS_CA_BUNDLE"):
        return env["AWS_CA_BUNDLE"]
    mounted = env.get("CA_BUNDLE_CONFIGMAP_NAME") or env.get("AWS_CA_BUNDLE_CONFIGMAP")
    if mounted and env.get("CA_BUNDLE_VOLUME_MOUNT_POINT"):
        return f"{env['CA_BUNDLE_VOLUME_MOUNT_POINT'].rstrip('/')}/cabundle.crt"
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")
    return next((env[n] for n in names if env.get(n)), "")


def endpoint_of(url: str, name: str) -> str:
    """A service's address without a slash at its end. Raises Invalid for one with a user or password in it:
    addresses are stored and shown, credentials have variables of their own."""
    try:
        where(url)
    except Invalid as error:
        shown = redacted(url[:200])
        raise Invalid(f"{name} must be an http:// or https:// address, not {shown!r}") from error
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise Invalid(f"{name} holds a user or password; take it out and use the source's own variables")
    return url.rstrip("/")


def patterns(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """STORAGE_ALLOW_PATTERNS and its like: a JSON array, one JSON string, or a comma list, whose first
    pattern may itself begin with a bracket. Raises Invalid."""
    text = env.get(name, "").strip()
    if not text.startswith(("[", '"')):
        return _each(text.split(","))
    try:
        said = parsed(text)
    except ValueError as error:
        if re.match(r'\[\s*["\]]', text):
            raise Invalid(f"{name} is neither a JSON array nor a comma list") from error
        return _each(text.split(","))
    items = said if isinstance(said, list) else [said]
    if not all(isinstance(i, str) for i in items):
        raise Invalid(f"{name} must be a JSON array of strings")
    return _each(items)


def _each(items: list[str]) -> tuple[str, ...]:
    return tuple(item.strip() for item in items if item.strip())


def filtered(listing: Listing, env: Mapping[str, str]) -> Listing:
    """`listing` with the files that the patterns let through (KServe: fnmatch on the relative path).

    One file that the URI names comes whatever they say. Archives stay: the patterns then choose among what
    they hold, unless they let the archive itself through. One archive that they leave of many is unpacked.
    """
    allow = patterns(env, "STORAGE_ALLOW_PATTERNS")
    ignore = patterns(env, "STORAGE_IGNORE_PATTERNS")
    packed = listing.unpack
    if not (allow or ignore) or (listing.named and not packed):
        return listing
    kept = tuple(f for f in listing.files if (packed and not f.plain) or wanted(f.path, allow, ignore))
    if not kept and listing.files:
        raise Absent(f"no file of {listing.uri} passes STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS")
    if listing.objects and not packed and len(kept) == 1 and is_archive(kept[0].path):
        return replace(listing, files=kept, unpack=True, folders=())
    if packed and not listing.folder and len(kept) == 1 and wanted(kept[0].path, allow, ()):
        allow = ()  # it was the archive's own name
    return replace(listing, files=kept, allow=allow, ignore=ignore, folders=())


def check_wanted(paths: Iterable[str], env: Mapping[str, str]) -> None:
    """Raise Invalid for paths that cannot be stored, or not together. What the patterns leave out does not
    matter: they are the way out."""
    allow, ignore = patterns(env, "STORAGE_ALLOW_PATTERNS"), patterns(env, "STORAGE_IGNORE_PATTERNS")
    try:
        check_together(p for p in paths if not (allow or ignore) or wanted(p, allow, ignore))
    except Invalid as error:
        way_out = "STORAGE_IGNORE_PATTERNS (--exclude) can leave it out"
        raise Invalid(f"{error.message}; {way_out}") from error


def wanted(path: str, allow: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    """Whether a path passes the patterns; a pattern that ends in a slash means all below it."""

    def hit(pattern: str) -> bool:
        return fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern)

    return (not allow or any(map(hit, allow))) and not any(map(hit, ignore))
