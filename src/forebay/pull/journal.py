"""What is already in a part: a small file beside it, replaced at most every quarter of a second.

Nothing in it is believed after a crash: ranges are hashed again, and the prefix's own hash says whether the
disk still holds what was received.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from forebay.kit.failpoints import failpoint
from forebay.kit.foreign import parsed
from forebay.pull.plan import Ranges
from forebay.sources.types import RemoteFile

VERSION = 2


@dataclass(frozen=True)
class Entry:
    """The state of one part. `identity` says whose bytes these are; `prefix` bytes hash to
    `prefix_sha256`."""

    identity: str
    done: Ranges = field(default_factory=Ranges)
    prefix: int = 0
    prefix_sha256: str = ""
    etags: dict[str, str] = field(default_factory=dict)  # per host that sent bytes
    origins: tuple[str, ...] = ()
    boot: str = ""  # of the kernel that took the bytes


@cache
def boot_id() -> str:
    """Names this run of the kernel (Linux); "" where nobody tells. While it is the same no power was cut, and
    what a killed process has written is still there."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def identity(file: RemoteFile, revision: str) -> str:
    """What must be equal for two parts to hold the same bytes: the digest, or else all that tells versions
    apart."""
    if file.sha256:
        return f"sha256:{file.sha256}:{file.size}"
    return "|".join((revision, file.path, str(file.size), file.git_sha1, file.md5, file.etag))


def encode(entry: Entry) -> bytes:
    """The journal's text."""
    body = {
        "version": VERSION,
        "identity": entry.identity,
        "done": list(entry.done),
        "prefix": [entry.prefix, entry.prefix_sha256],
        "etags": entry.etags,
        "origins": list(entry.origins),
        "boot": entry.boot,
    }
    return sealed(json.dumps(body, separators=(",", ":")).encode())


def sealed(body: bytes) -> bytes:
    """The text with its checksum before it: a bit that the disk turned must not become a range that came."""
    return sha256(body).hexdigest()[:16].encode() + b" " + body


def decode(data: bytes) -> Entry | None:
    """The entry, or None for anything that is not one whole journal."""
    text = data[17:]
    if data != sealed(text):
        return None
    try:
        body: Any = parsed(text)
        if not isinstance(body, dict) or body.get("version") != VERSION:
            return None
        done = [(int(a), int(b)) for a, b in body["done"]]
        if any(not 0 <= a < b for a, b in done):
            return None
        length, digest = body["prefix"]
        etags = {str(k): str(v) for k, v in body["etags"].items()}
        names = tuple(str(o) for o in body["origins"])
        boot = str(body.get("boot", ""))
        return Entry(str(body["identity"]), Ranges(done), int(length), str(digest), etags, names, boot)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def load(path: Path, wanted: str) -> Entry | None:
    """The journal at `path` if it is about `wanted` bytes."""
    try:
        entry = decode(path.read_bytes())
    except OSError:
        return None
    return entry if entry is not None and entry.identity == wanted else None


def save(path: Path, entry: Entry) -> None:
    """Replace the journal in one step. A disk that refuses costs only resuming, so errors are not raised."""
    new = path.with_name(path.name + ".new")
    with contextlib.suppress(OSError):
        new.write_bytes(encode(entry))
        failpoint("pull.journal.written")
        new.replace(path)
