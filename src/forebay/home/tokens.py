"""Bearer tokens of the embedded home: JSON Web Tokens signed with the data folder's own key (HS256).

Source: RFC 7519 and RFC 7515; the claims of a service account are those of Kubernetes, so that a client that
looks into its token finds what it expects.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ISSUER = "https://forebay.local"
AUDIENCE = "https://kubernetes.default.svc"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
NAMESPACE_GROUP = "forebay:namespace:"
KEY_BYTES = 32
_HEADER = {"alg": "HS256", "typ": "JWT"}


class Bound(NamedTuple):
    """An object that a token ends with. `kind` as in its claims: serviceaccount, pod, secret, node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class User:
    """Who asks: a name and groups, as in Kubernetes' UserInfo; `bound` must all be there still."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    bound: tuple[Bound, ...] = ()

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces that are this user's own."""
        return frozenset(
            group.removeprefix(NAMESPACE_GROUP) for group in self.groups if group.startswith(NAMESPACE_GROUP)
        )


def service_account(namespace: str, name: str, *, uid: str = "") -> User:
    """The user that a pod of this ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def load_key(path: Path) -> bytes:
    """The signing key; made at the first call, readable by its owner only. Raises OSError."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) >= KEY_BYTES:
        return key
    key = secrets.token_bytes(KEY_BYTES)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return key


def mint(key: bytes, user: str, groups: tuple[str, ...] = (), ttl_s: float | None = None, *, uid: str = "",
         audiences: tuple[str, ...] = (AUDIENCE,), bound: Bound | None = None) -> str:  # fmt: skip
    """A token for `user` in `groups`. `ttl_s` is its life in seconds; None means that it does not end by
    itself. One of a service account ends with the account, and with what it is `bound` to besides."""
    now = int(time.time())
    claims: dict[str, Any] = {"iss": ISSUER, "sub": user, "aud": list(audiences), "iat": now, "nbf": now}
    if groups:
        claims["groups"] = list(groups)
    if uid:
        claims["uid"] = uid
    if ttl_s is not None:
        claims["exp"] = now + int(ttl_s)
    if user.startswith("system:serviceaccount:") and user.count(":") == 3:
        namespace, name = user.split(":")[2:]
        claims["kubernetes.io"] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if bound is not None:
            claims["kubernetes.io"][bound.kind] = {"name": bound.name, "uid": bound.uid}
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (_HEADER, claims))
    return f"{signed}.{_encode(_sign(key, signed))}"


def verify(key: bytes, token: str) -> User | None:
    """Whose token this is; None if it is not ours, was changed, or is over."""
    signed, _, signature = token.rpartition(".")
    try:
        if not hmac.compare_digest(_decode(signature), _sign(key, signed)):
            return None
        header, claims = (json.loads(_decode(part)) for part in signed.split("."))
        if header.get("alg") != "HS256" or claims.get("exp", float("inf")) <= time.time():
            return None
        groups = tuple(claims.get("groups", ()))
        if AUTHENTICATED not in groups:
            groups += (AUTHENTICATED,)
        return User(str(claims["sub"]), groups, str(claims.get("uid", "")), _bound(claims))
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _bound(claims: dict[str, Any]) -> tuple[Bound, ...]:
    told = claims.get("kubernetes.io") or {}
    objects = ((kind, about) for kind, about in told.items() if kind != "namespace" and about["uid"])
    return tuple(Bound(kind, str(about["name"]), str(about["uid"])) for kind, about in objects)


def _sign(key: bytes, signed: str) -> bytes:
    return hmac.digest(key, signed.encode("ascii", "replace"), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
