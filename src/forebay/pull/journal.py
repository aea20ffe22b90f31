"""What is already in a part: a small file beside it with a line for each state; the last whole one counts.

Lines are appended: replacing the file takes about three times the CPU, and a fast pull saves hundreds of
times. Now and then the file begins anew with one line.

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
from forebay.kit.foreign import count, parsed
from forebay.pull.plan import Ranges
from forebay.sources.types import RemoteFile

VERSION = 2
_ANEW_BYTES = 64 * 1024  # of a journal: then it begins anew


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
    void: bool = False  # the MD5 that was promised is none


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
    """The state as a line of the journal, without its end."""
    body = {
        "version": VERSION,
        "identity": entry.identity,
        "done": list(entry.done),
        "prefix": [entry.prefix, entry.prefix_sha256],
        "etags": entry.etags,
        "origins": list(entry.origins),
        "boot": entry.boot,
        "void": entry.void,
    }
    return sealed(json.dumps(body, separators=(",", ":")).encode())


def sealed(body: bytes) -> bytes:
    """The text with its checksum before it: a bit that the disk turned must not become a range that came."""
    return sha256(body).hexdigest()[:16].encode() + b" " + body


def decode(data: bytes) -> Entry | None:
    """The state of one line, or None for anything that is not a whole one."""
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
        about, boot, void = str(body["identity"]), str(body.get("boot", "")), body.get("void") is True
        return Entry(about, Ranges(done), count(length), str(digest), etags, names, boot, void)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def last(data: bytes) -> Entry | None:
    """The newest whole state in a journal: a kill or a full disk may have torn the lines after it."""
    return next((entry for line in reversed(data.split(b"\n")) if (entry := decode(line)) is not None), None)


def load(path: Path, wanted: str) -> Entry | None:
    """The journal at `path` if it is about `wanted` bytes."""
    try:
        entry = last(path.read_bytes())
    except OSError:
        return None
    return entry if entry is not None and entry.identity == wanted else None


def save(path: Path, entry: Entry) -> None:
    """Add a state to the journal. A disk that refuses costs only resuming, so errors are not raised."""
    with contextlib.suppress(OSError):
        with path.open("ab") as file:
            grown = file.tell() > _ANEW_BYTES
            if not grown:
                file.write(b"\n" + encode(entry))  # on a line of its own, whatever was torn before
        if grown:
            new = path.with_name(path.name + ".new")
            new.write_bytes(encode(entry))
            new.replace(path)
        failpoint("pull.journal.written")
