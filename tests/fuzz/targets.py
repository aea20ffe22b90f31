"""One function per parser that meets foreign bytes. It takes any bytes and raises only for a broken promise.

A parser either answers, and then its answer keeps the promise that its callers lean on, or it refuses in the
way that they know. Everything else (a KeyError, endless memory, a path that leads out) fails the target.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from forebay.errors import ForebayError, Invalid
from forebay.pull.answers import Asked, Verdict, judge
from forebay.sources import gcs, hf, http, oci, s3
from forebay.sources.azureauth import place_of
from forebay.sources.file import local_path
from forebay.sources.paths import safe_path
from forebay.sources.s3env import s3_settings
from forebay.sources.settings import patterns
from forebay.sources.table import scheme_of
from forebay.sources.wire.client import retry_after_s
from forebay.sources.wire.conn import Conn, Deadlines, Trust
from forebay.sources.wire.heads import BadAnswer, WireError, follow, parse_head, where
from forebay.sources.wire.proxy import proxy_for
from tests.fuzz import listings, local, logins, servers

QUICK = Deadlines(2.0, 2.0)


def heads(data: bytes) -> None:
    """An answer's head, and the verdict on it for a range in the middle of a file."""
    try:
        head = parse_head(data)
    except BadAnswer:
        return
    judged = judge(Asked(100, 200, 1000, ranged=True), head)
    if judged.verdict is Verdict.TAKE:
        assert head.status == 206 and judged.length is not None and judged.length <= 100
    wait = retry_after_s(head)
    assert wait is None or wait >= 0
    with suppress(BadAnswer):
        assert follow(where("https://hub.example/a"), head.get("location")).scheme == "https"
    with suppress(ForebayError):
        http._size(head)
    http._promised(listings.reply_of(head, b""))


def answers(data: bytes) -> None:
    """Whole answers over a socket: head, chunks, trailers, one after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_say, args=(listener, data), daemon=True).start()
    conn = Conn(where(f"http://127.0.0.1:{listener.getsockname()[1]}/"), deadlines=QUICK, trust=Trust())
    view, got = memoryview(bytearray(1 << 16)), 0
    try:
        conn.send("GET", where("http://127.0.0.1/x"), {})
        for _ in range(4):
            conn.answer()
            count = conn.read_into(view, lambda _: None)
            got += count
            if not conn.between:
                break
        assert got <= len(data)
    except WireError:
        pass
    finally:
        conn.close()
        listener.close()


def _say(listener: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        peer, _ = listener.accept()
        with peer:
            peer.sendall(data)


def paths(data: bytes) -> None:
    """A file's name from a listing."""
    with suppress(Invalid):
        assert not _leads_out(safe_path(data.decode("utf-8", "surrogateescape")))


def addresses(data: bytes) -> None:
    """A URL from a listing or a redirect, a URI from a spec, an endpoint or a proxy from the environment."""
    text = data.decode("utf-8", "replace")
    with suppress(Invalid):
        assert where(text).scheme in ("http", "https")
    for parse in (s3.parse, hf.parse, gcs.parse, oci.parse, local_path, scheme_of):
        with suppress(Invalid):
            parse(text)
    for env in ({}, {"AZURE_STORAGE_ENDPOINT": text}, {"AZURE_STORAGE_CONNECTION_STRING": text}):
        for uri in (text, "az://models/m"):
            with suppress(Invalid):
                assert where(place_of(uri, env).endpoint)
    with suppress(Invalid):
        assert where(s3_settings({"S3_ENDPOINT": text}).endpoint)
    with suppress(Invalid):
        to = proxy_for(where("http://hub.example/"), {"http_proxy": text, "no_proxy": text[::-1]})
        assert to is None or (to.host and 0 < to.port < 65536)
    with suppress(Invalid):
        patterns({"P": text}, "P")


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/") or "\0" in path or not path


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f
    for f in (
        heads,
        answers,
        paths,
        addresses,
        listings.s3_lists,
        listings.azure_lists,
        listings.hub_lists,
        listings.hub_errors,
        listings.gcs_lists,
        listings.oci_manifests,
        listings.challenges,
        listings.tokens,
        listings.links,
        local.journals,
        local.manifests,
        local.notes,
        local.records,
        local.packs,
        local.credentials,
        logins.docker_configs,
        logins.google_files,
        logins.netrcs,
        logins.rate_files,
        logins.peer_models,
        logins.rate_limits,
        servers.requests,
        servers.fields,
    )
}
