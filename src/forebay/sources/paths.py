"""Every path from outside passes here: nothing escapes the target folder, no two names become one file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from forebay.errors import Denied, Invalid

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
PATH_MAX = 1024
NAME_MAX = 255


def safe_path(path: str) -> str:
    """`path` if it is relative, stays below its root and can be stored on any file system; else raises
    Invalid.

    Refused: empty, absolute, drive letters, backslashes, `.` and `..` parts, empty parts, control characters,
    names over 255 bytes, lone surrogates, and Forebay's own `.forebay` and `.forebay-parts` folders at the
    top.
    """
    shown = repr(path[:200])
    try:
        raw = path.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"the path {shown} is not valid text") from error
    if not path or len(raw) > PATH_MAX:
        raise Invalid(f"the path {shown} is empty or over {PATH_MAX} bytes")
    if path.startswith("/") or _DRIVE.match(path) or "\\" in path or _CONTROL.search(path):
        raise Invalid(f"the path {shown} is absolute or holds characters that no model file needs")
    parts = path.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > NAME_MAX for part in parts):
        raise Invalid(f"the path {shown} leads out of its folder or has a part that is no file name")
    if parts[0].lower() in (".forebay", ".forebay-parts"):
        raise Invalid(f"the path {shown} is reserved")
    return path


def short_name(name: str) -> str:
    """The name, or where no file system takes it one of its own with the same end."""
    raw = name.encode()
    if len(raw) <= NAME_MAX:
        return name
    return sha256(raw).hexdigest()[:32] + raw[-150:].decode(errors="ignore")


def check_together(paths: Iterable[str]) -> None:
    """Raise Invalid if two paths are the same, if only in the eyes of some file system (case, how accents are
    written), or one is a folder of the other."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        key = _same(safe_path(path))
        if key in seen:
            raise Invalid(f"two files of the listing collide: {seen[key]!r} and {path!r}")
        seen[key] = path
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            first = folders.setdefault(_same(folder), folder)
            if first != folder:
                raise Invalid(f"two folders of the listing collide: {first!r} and {folder!r}")
    for key in folders.keys() & seen.keys():
        raise Invalid(f"{seen[key]!r} is a file and a folder of the listing")


def refuse_cached(path: Path, env: Mapping[str, str]) -> None:
    """Raise Denied for a file of the cache that this pull fills: what lies there is for those who have shown
    that they may have it, and a download sees everybody's."""
    root = env.get("FOREBAY_CACHE_ROOT")
    if root and path.resolve().is_relative_to(Path(root).resolve()):
        raise Denied(f"{path} lies in the cache itself; name the source that it was fetched from")


def _same(path: str) -> str:
    """Equal for names that some file system takes for one: macOS and ZFS fold case or compose accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
