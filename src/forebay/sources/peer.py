"""Other nodes' caches as origins beside the source: `forebay blobs` answers by digest.

A peer gets no credentials of the source, and what it sends counts only if the source's own promise holds for
it. For a file without any promised digest no peer is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from forebay.errors import ForebayError, Invalid
from forebay.kit.foreign import parsed
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client
from forebay.sources.wire.conn import Deadlines
from forebay.sources.wire.heads import where

ASK_S = 2.0  # a peer that does not answer so soon is done without
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PeerSource:
    """One peer. `known`: digests by path, of files for which the source promises another kind of digest."""

    scheme: ClassVar[str] = "peer"

    def __init__(self, url: str, known: Mapping[str, str]) -> None:
        self._url, self._known = url.rstrip("/"), known
        self.name = f"peer {urlsplit(url).netloc}"

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """What a name means is the source's to say. Raises Invalid."""
        raise Invalid(f"{self.name} cannot say what {uri} means; ask its source")

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """The blob by its digest; an address that nobody has where no digest can be checked."""
        digest = file.sha256 or (self._known.get(file.path, "") if file.git_sha1 or file.md5 else "")
        return Request(f"{self._url}/blobs/sha256/{digest or 'none'}")


def peers_from(env: Mapping[str, str], listing: Listing, key: str) -> tuple[PeerSource, ...]:
    """The peers that FOREBAY_PEERS names (URLs, separated by spaces) and that answer, in this order.

    `key` is the storage key under which they may have the model. Raises Invalid for what is no http URL.
    """
    urls = env.get("FOREBAY_PEERS", "").split()
    for url in urls:
        if not _is_address(url):
            raise Invalid(f"FOREBAY_PEERS: {url.rpartition('@')[2]} is no http://HOST:PORT of a peer")
    found = [(url, _known(url, env, listing, key)) for url in dict.fromkeys(urls)]
    return tuple(PeerSource(url, known) for url, known in found if known is not None)


def _is_address(url: str) -> bool:
    try:
        where(url)
    except Invalid:
        return False
    return urlsplit(url).username is None


def _known(url: str, env: Mapping[str, str], listing: Listing, key: str) -> Mapping[str, str] | None:
    """Digests by path if the peer has this revision; nothing if it has not; None if it does not answer."""
    client = Client(env, deadlines=Deadlines(ASK_S, ASK_S), attempts_max=1)
    try:
        reply = client.get(f"{url.rstrip('/')}/models/{key}")
    except ForebayError:
        return None
    finally:
        client.close()
    try:
        raw = parsed(reply.body) if reply.status == 200 else {}
        if (raw.get("revision"), raw.get("endpoint")) != (listing.revision, listing.endpoint):
            return {}
        pairs: Sequence[tuple[str, str]] = [(str(f["path"]), str(f["sha256"])) for f in raw["files"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {path: digest for path, digest in pairs if _DIGEST.fullmatch(digest)}
