"""Who we are at Google Cloud: a key file, a user's login, the machine's own account, or nobody."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forebay.errors import Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import parsed, seconds
from forebay.sources.gcsfederated import federated, impersonated
from forebay.sources.tokens import Renewed
from forebay.sources.wire.client import Client
from forebay.sources.wire.conn import Deadlines

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_TOKEN_URI = "https://oauth2.googleapis.com/token"
_PRODUCT = Path("/sys/class/dmi/id/product_name")


def authorization(env: Mapping[str, str], client: Client, *, emulated: bool) -> Renewed | None:
    """The first of: GOOGLE_APPLICATION_CREDENTIALS (KServe mounts gcloud-application-credentials.json there),
    gcloud's own login file, the metadata server (GCE_METADATA_HOST, or on Google's machines). None: nobody.

    Raises Invalid for a file that cannot be used.
    """
    named = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return _from_file(Path(named), client, env)
    if emulated:
        return None
    home = env.get("CLOUDSDK_CONFIG") or (f"{env['HOME']}/.config/gcloud" if env.get("HOME") else "")
    known = Path(home, "application_default_credentials.json")
    if home and known.is_file():
        return _from_file(known, client, env)
    host = env.get("GCE_METADATA_HOST") or ("metadata.google.internal" if _on_google(env) else "")
    return Renewed(lambda: _of_machine(host)) if host else None


def _on_google(env: Mapping[str, str]) -> bool:
    try:
        return env.get("NO_GCE_CHECK", "").lower() != "true" and _PRODUCT.read_text().startswith("Google")
    except OSError:
        return False


def _from_file(path: Path, client: Client, env: Mapping[str, str]) -> Renewed:
    try:
        facts: Any = parsed(path.read_bytes())
        kind = facts.get("type")
    except (OSError, ValueError, AttributeError) as error:
        raise Invalid(f"{path} cannot be read as Google credentials ({type(error).__name__})") from error
    if kind == "service_account":
        return Renewed(lambda: _exchange(client, path, lambda: _assertion(facts, time.time()), facts))
    if kind == "authorized_user":
        return Renewed(lambda: _exchange(client, path, lambda: _refresh(facts), facts))
    if kind == "external_account":
        return Renewed(lambda: _foreign(path, lambda: federated(facts, client, _SCOPE, env)))
    if kind == "impersonated_service_account":
        return Renewed(lambda: _foreign(path, lambda: _impersonated(client, path, facts)))
    raise Invalid(f"{path} holds credentials of type {str(kind)[:60]!r}; known are service_account, "
                  "authorized_user, external_account and impersonated_service_account")  # fmt: skip


def _foreign(path: Path, ask: Callable[[], object]) -> tuple[str, float]:
    try:
        return token_of(ask(), "Google's token service")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        text = f"{path} lacks something of a credential file ({type(error).__name__}); make a new one"
        raise Invalid(text) from error


def _impersonated(client: Client, path: Path, facts: Mapping[str, Any]) -> object:
    source = facts["source_credentials"]
    if source["type"] != "authorized_user":
        raise Invalid(f"{path} impersonates with a {str(source['type'])[:60]!r}; only a user's login is read")
    bearer, _ = _exchange(client, path, lambda: _refresh(source), source)
    url = str(facts["service_account_impersonation_url"])
    return impersonated(url, bearer.removeprefix("Bearer "), client, _SCOPE)


def _refresh(facts: Mapping[str, str]) -> dict[str, str]:
    form = {name: facts[name] for name in ("client_id", "client_secret", "refresh_token")}
    return {"grant_type": "refresh_token", **form}


def _assertion(facts: Mapping[str, str], now: float) -> dict[str, str]:
    """The signed claim that is exchanged for a token (RFC 7523)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(facts["private_key"].encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    head = {"alg": "RS256", "typ": "JWT", "kid": facts.get("private_key_id", "")}
    claim = {"iss": facts["client_email"], "scope": _SCOPE, "aud": facts.get("token_uri", _TOKEN_URI),
             "iat": int(now), "exp": int(now) + 3600}  # fmt: skip
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, claim))
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    text = (signed + b"." + _base64url(signature)).decode()
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": text}


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _exchange(
    client: Client, path: Path, form: Callable[[], dict[str, str]], facts: Mapping[str, str]
) -> tuple[str, float]:
    try:
        asked, uri = form(), str(facts.get("token_uri") or _TOKEN_URI)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Invalid(
            f"{path} lacks something of a key file ({type(error).__name__}); make a new one"
        ) from error
    with closing(client):
        reply = client.post(uri, asked)
    if reply.status != 200:
        body = reply.body[:300].decode(errors="replace")
        skew = " (is this machine's clock right?)" if "iat" in body else ""
        raise Denied(
            f"{urlsplit(uri).netloc} refused the key in {path} ({reply.status}){skew}: make a new one"
        )
    return token_of(reply.json(), urlsplit(uri).netloc)


def _of_machine(host: str) -> tuple[str, float]:
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    # Never through a proxy: it would be the proxy's identity.
    with closing(Client({}, deadlines=Deadlines(2, 10), attempts_max=3)) as client:
        reply = client.get(url, {"Metadata-Flavor": "Google"})
    if reply.status != 200:
        raise Denied(f"the metadata server {host} gives this machine no token ({reply.status}): "
                     "give its service account access, or set GOOGLE_APPLICATION_CREDENTIALS")  # fmt: skip
    return token_of(reply.json(), host)


def token_of(body: object, host: str) -> tuple[str, float]:
    """(header value, seconds) of an OAuth answer (RFC 6749 section 5.1). Raises Unavailable."""
    error: ForebayError = Unavailable(f"{host} answered without an access token")
    if not isinstance(body, dict) or not isinstance(body.get("access_token"), str):
        raise error
    try:
        if body.get("expires_on") and not body.get("expires_in"):  # Azure's App Service
            return f"Bearer {body['access_token']}", max(0.0, seconds(body["expires_on"]) - time.time())
        return f"Bearer {body['access_token']}", seconds(body.get("expires_in") or 3600)
    except ValueError:
        raise error from None
