"""The token server that a registry sends its clients to (distribution spec, token authentication)."""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from forebay.engines.fileserver import FileServer, Reply, Request


class TokenServer:
    """Hands out tokens for `user`, or for the refresh token `refresh-1`. A registry with `section` in its
    configuration believes them."""

    def __init__(self, root: Path, user: str, password: str) -> None:
        self._wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _self_signed(self._key)
        (root / "issuer.pem").write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self._server = FileServer(self._answer, host="127.0.0.1", port=0)
        self.section = (f"auth: {{token: {{realm: '{self._server.url}/token', service: reg, issuer: us, "
                        f"rootcertbundle: {root}/issuer.pem}}}}")  # fmt: skip

    def __enter__(self) -> TokenServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def bearer(self, name: str, actions: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token(f'repository:{name}:{actions}')}"}

    def _answer(self, request: Request) -> Reply:
        text = request.body.decode() if request.method == "POST" else urlsplit(request.target).query
        asked = {n: v[0] for n, v in parse_qs(text).items()}
        if request.method == "POST":
            known = asked.get("refresh_token") == "refresh-1" and asked.get("client_id")
        else:
            known = request.headers.get("authorization") == self._wanted
        if not known or asked.get("service") != "reg":
            return Reply.json(401, {"details": "incorrect username or password"})
        name = "access_token" if request.method == "POST" else "token"
        return Reply.json(200, {name: self._token(asked.get("scope", "")), "expires_in": 300})

    def _token(self, scope: str) -> str:
        kind, name, actions = scope.split(":")
        now = int(time.time())
        claim = {"iss": "us", "sub": "me", "aud": "reg", "exp": now + 300, "nbf": now - 5, "iat": now - 5,
                 "jti": secrets.token_hex(8),
                 "access": [{"type": kind, "name": name, "actions": actions.split(",")}]}  # fmt: skip
        chain = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        parts = ({"typ": "JWT", "alg": "RS256", "x5c": [chain]}, claim)
        signed = b".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts)
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    return made.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
