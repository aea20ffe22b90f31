"""Text that is safe to log: no credential of a URL or header survives."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^/\s?#\"'<>]+@")  # up to the last @: passwords may hold one
_QUERY = re.compile(r"(?i)([?&](?:[^=&\s]*(?:sig|token|key|secret|credential|password)[^=&\s]*)=)[^&\s]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}")
_HF = re.compile(r"\bhf_[A-Za-z0-9]{8,}")


def redacted(text: str) -> str:
    """`text` with user names, passwords, tokens and signatures replaced by `***`."""
    text = _USERINFO.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    text = _BEARER.sub(r"\1 ***", text)
    return _HF.sub("hf_***", text)


class Secret(str):
    """A string whose repr is redacted; `reveal()` gives the text to the one place that needs it."""

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself."""
        return str.__str__(self)
