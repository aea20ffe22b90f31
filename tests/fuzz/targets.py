"""One function per parser that meets foreign bytes. It takes any bytes and raises only for a broken promise.

A parser either answers, and then its answer keeps the promise that its callers lean on, or it refuses in the
way that they know. Everything else (a KeyError, endless memory, a path that leads out) fails the target.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from forebay.cache import manifest
from forebay.errors import Damaged, Exhausted, ForebayError, Invalid
from forebay.pull import journal
from forebay.pull.answers import Asked, Verdict, judge
from forebay.sources import archives, gcs, hf, http, oci, s3
from forebay.sources.paths import check_together, safe_path
from forebay.sources.wire.client import Reply, retry_after_s
from forebay.sources.wire.conn import Conn, Deadlines, Trust
from forebay.sources.wire.heads import BadAnswer, Head, WireError, follow, parse_head, where

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
    http._promised(_reply(head, b""))


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
            if not conn.reusable:
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


def journals(data: bytes) -> None:
    """The journal beside a part, after any crash."""
    entry = journal.decode(data)
    if entry is not None:
        assert all(0 <= a < b for a, b in entry.done)
        assert journal.decode(journal.encode(entry)) == entry


def manifests(data: bytes) -> None:
    """A manifest of the cache."""
    try:
        seen = manifest.load(data, "a manifest")
    except Damaged:
        return
    assert all(not f.path.startswith("/") and ".." not in f.path.split("/") for f in seen.files)


def s3_lists(data: bytes) -> None:
    """A bucket's listing and an S3 error."""
    with suppress(ForebayError):
        tree = s3._xml(_reply(Head(200, {}), data))
        for item in tree["Contents"]:
            _safe(s3._file(item, item["Key"]).path)


def hub_lists(data: bytes) -> None:
    """The hub's list of files."""
    items = _json(data)
    for item in items if isinstance(items, list) else [items]:
        with suppress(ForebayError):
            _safe(hf._file("acme/tiny", item).path)


def gcs_lists(data: bytes) -> None:
    """An object of Google's store."""
    item = _json(data)
    with suppress(ForebayError):
        if isinstance(item, dict):
            _safe(gcs._file(item, 0).path)


def oci_manifests(data: bytes) -> None:
    """A registry's manifest or index."""
    body = _json(data)
    if not isinstance(body, dict):
        return
    with suppress(ForebayError):
        oci.choose(body, "linux/amd64")
    with suppress(ForebayError):
        files, _ = oci.files_of(body, "oci://registry.example/a")
        for file in files:
            _safe(file.path)


def packs(data: bytes) -> None:
    """A tar or zip archive: what is unpacked lies below its folder and is no link."""
    with tempfile.TemporaryDirectory() as name:
        for suffix in (".tar", ".zip"):
            archive, into = Path(name) / f"a{suffix}", Path(name) / f"out{suffix}"
            archive.write_bytes(data)
            with suppress(Damaged, Exhausted, Invalid):
                for path in archives.unpack(archive, into, bytes_max=1 << 20):
                    assert not (into / path).is_symlink()
                    assert (into / path).resolve().is_relative_to(into.resolve())
            assert {p.name for p in Path(name).iterdir()} <= {"a.tar", "a.zip", "out.tar", "out.zip"}


def paths(data: bytes) -> None:
    """A file's name from a listing."""
    with suppress(Invalid):
        assert not _leads_out(safe_path(data.decode("utf-8", "surrogateescape")))


def addresses(data: bytes) -> None:
    """A URL from a listing or a redirect."""
    text = data.decode("utf-8", "replace")
    with suppress(Invalid):
        assert where(text).scheme in ("http", "https")
    for parse in (s3.parse, hf.parse, gcs.parse, oci.parse):
        with suppress(Invalid):
            parse(text)


def _reply(head: Head, body: bytes) -> Reply:
    return Reply(head, body, "https://origin.example/", head)


def _safe(path: str) -> None:
    """What every listing goes through before a byte is fetched."""
    check_together([path])
    assert not _leads_out(path)


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/") or "\0" in path or not path


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f
    for f in (
        heads,
        answers,
        journals,
        manifests,
        s3_lists,
        hub_lists,
        gcs_lists,
        oci_manifests,
        packs,
        paths,
        addresses,
    )
}
