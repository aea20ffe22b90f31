"""Text that is safe to log: no credential of a URL or header survives."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^/\s?#\"'<>]+@")  # up to the last @: passwords may hold one
_PASS = r"[^=&\s]*(?:sig|token|key|secret|credential|passw|auth|hmac|md5|jwt)[^=&\s]*"
_QUERY = re.compile(rf"(?i)([?&](?:{_PASS})=)[^&\s]+")
# What else a signature brings along: Amazon's, Google's and others' dates and names, CloudFront's, Azure's.
_SIGNED = re.compile(
    rf"(?i){_PASS}|x-(?:amz|goog|oss|cos|ms)-.*|.*access-?id|expires?|exp|policy|e|s[etprv]|spr|sk[oitesv]\w*"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}")
_HF = re.compile(r"\bhf_[A-Za-z0-9]{8,}")


def redacted(text: str) -> str:
    """`text` with user names, passwords, tokens and signatures replaced by `***`."""
    text = _USERINFO.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    text = _BEARER.sub(r"\1 ***", text)
    return _HF.sub("hf_***", text)


def unsigned(url: str) -> str:
    """A signed address without what a signature brings along: the same for each signature of one file."""
    bare, _, query = url.partition("?")
    if not _QUERY.search(url):
        return url
    kept = [item for item in query.split("&") if not _SIGNED.fullmatch(item.partition("=")[0])]
    return "?".join([bare, "&".join(kept)]) if kept else bare


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
