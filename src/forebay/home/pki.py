"""The home's own certificate authority, its server certificate, and kubeconfig files.

Elliptic keys (P-256): made in a millisecond, where RSA would take a tenth of a second of the start.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

YEARS_CA, DAYS_SERVER, DAYS_RENEW, DAYS_EARLY = 10, 365, 30, 360
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pki:
    """Paths of the PEM files."""

    ca: Path
    cert: Path
    key: Path


def ensure(folder: Path, *, now: datetime | None = None) -> Pki:
    """The files in `folder`, made where they are missing or of no use; what ends is renewed a month early.

    The authority stays until then, so kubeconfig files stay valid across restarts. Raises OSError.
    """
    files = Pki(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    now = now or datetime.now(UTC)
    if _fresh(files, now):
        return files
    from forebay.home import certs  # the library takes 50 ms to import: only when something must be made

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key = folder / "ca.key"
    if not (_pair(files.ca, ca_key) and _lasts(files.ca, now)):
        key, cert = certs.make_ca(now, now + 365 * YEARS_CA * _DAY)
        _write(ca_key, key, 0o600)
        _write(files.ca, cert, 0o644)
    hosts = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    until = now + DAYS_SERVER * _DAY
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    key, cert = certs.make_server(ca_key.read_bytes(), files.ca.read_bytes(), names, hosts, (now, until))
    _write(files.key, key, 0o600)
    _write(files.cert, cert, 0o644)
    _write(folder / "server.until", until.isoformat().encode(), 0o644)
    return files


def _fresh(files: Pki, now: datetime) -> bool:
    try:
        until = datetime.fromisoformat((files.ca.parent / "server.until").read_text())
        soon = until - now <= DAYS_RENEW * _DAY
        early = until - now > (DAYS_SERVER + DAYS_EARLY) * _DAY  # made by a clock that was far ahead
    except (OSError, ValueError, TypeError):
        return False
    return not soon and not early and _lasts(files.ca, now) and _pair(files.cert, files.key)


def _pair(cert: Path, key: Path) -> bool:
    """Whether both can be read and belong to each other."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except OSError:  # SSLError is one
        return False
    return True


def _lasts(ca: Path, now: datetime) -> bool:
    """Whether it is an authority's certificate that is valid now and has more than a month to go."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
        found = context.get_ca_certs()
    except OSError:
        return False
    begins = [ssl.cert_time_to_seconds(str(cert["notBefore"])) for cert in found]
    ends = [ssl.cert_time_to_seconds(str(cert["notAfter"])) for cert in found]
    soon = (now + DAYS_RENEW * _DAY).timestamp()
    return bool(ends) and max(begins) <= now.timestamp() and min(ends) > soon


def kubeconfig(*, server: str, ca: bytes, token: str, user: str = "forebay", namespace: str = "") -> str:
    """The YAML text of a kubeconfig with one cluster, one user and one context."""
    context = {"cluster": "forebay", "user": user, **({"namespace": namespace} if namespace else {})}
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "forebay", "preferences": {},
        "clusters": [{"name": "forebay", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "forebay", "context": context}],
    }  # fmt: skip
    return yaml.safe_dump(document, sort_keys=False)


def write_private(path: Path, text: str) -> None:
    """Replace a file that holds a credential, in one step, readable by its owner only. Raises OSError."""
    _write(path, text.encode(), 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
