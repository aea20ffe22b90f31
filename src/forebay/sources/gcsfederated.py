"""Google's token for somebody else's: workload identity federation (a token of another cloud, a cluster or a
company is exchanged) and impersonation (one account's token is exchanged for another's)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forebay.errors import Denied, Invalid, Unavailable
from forebay.kit.foreign import parsed
from forebay.sources.paths import refuse_cached
from forebay.sources.wire.client import Client

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_ALL = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")  # an emulator; inside a pod nobody else listens there


def federated(facts: Mapping[str, Any], client: Client, scope: str, env: Mapping[str, str]) -> object:
    """The answer of Google's token service (RFC 8693) for the subject token that the credential file leads
    to, impersonated if the file says so. Raises KeyError and the like for a file that lacks something,
    Denied, Invalid, Unavailable."""
    other = facts.get("service_account_impersonation_url")
    url = _at_google(str(facts["token_url"]), env)
    subject = _subject(facts["credential_source"], client, env)
    form = {"grant_type": _EXCHANGE, "audience": facts["audience"], "scope": _ALL if other else scope,
            "requested_token_type": _ACCESS, "subject_token": subject,
            "subject_token_type": facts["subject_token_type"]}  # fmt: skip
    with closing(client):
        reply = client.post(url, form)
    if reply.status != 200:
        raise Denied(f"{urlsplit(url).netloc} does not take the federated token ({reply.status}): "
                     "check the pool, its provider and the audience in the credential file")  # fmt: skip
    answer = reply.json()
    if not other:
        return answer
    token = answer.get("access_token") if isinstance(answer, dict) else None
    return impersonated(str(other), str(token), client, scope)


def impersonated(url: str, token: str, client: Client, scope: str) -> object:
    """An access token of the account that `url` (…:generateAccessToken) names, in the shape of an OAuth
    answer; `token` says who asks. Raises Denied, Unavailable."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"scope": [scope], "lifetime": "3600s"}).encode()
    with closing(client):
        reply = client.get(url, headers, method="POST", body=body)
    if reply.status != 200:
        who = urlsplit(url).path.rpartition("/")[2].partition(":")[0]
        raise Denied(f"{who} may not be impersonated ({reply.status}): "
                     "grant Service Account Token Creator on it")  # fmt: skip
    answer = reply.json()
    if not isinstance(answer, dict):
        raise Unavailable(f"{urlsplit(url).netloc} answered without an access token")
    return {"access_token": answer.get("accessToken"), "expires_in": 3600}


def _at_google(url: str, env: Mapping[str, str]) -> str:
    """`url`, when the token that this machine's files and metadata hold may be sent there: whoever wrote the
    credential file chose it, and need not be whoever runs the transfer. Raises Denied."""
    where = urlsplit(url)
    host = (where.hostname or "").lower()
    ours = env.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN") or "googleapis.com"
    if (where.scheme == "https" and host.endswith(f".{ours}")) or host in _LOOPBACK:
        return url
    raise Denied(f"the credential file has this machine's token sent to {host or 'nowhere'}, which is not "
                 f"Google's: its token_url must be https://sts.{ours}/v1/token or a region's")  # fmt: skip


def _subject(source: Mapping[str, Any], client: Client, env: Mapping[str, str]) -> str:
    """The token to exchange, from a file or an address; read anew each time, since it is replaced."""
    if source.get("file"):
        path = Path(str(source["file"]))
        refuse_cached(path, env)  # a copy is nobody's token
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"the federated token {source['file']} cannot be read; check its mount") from error
    elif source.get("url"):
        url = str(source["url"])
        with closing(client):
            reply = client.get(url, {str(n): str(v) for n, v in (source.get("headers") or {}).items()})
        if reply.status != 200:
            raise Denied(f"{urlsplit(url).netloc} gives no federated token ({reply.status}): "
                         "check its headers in the credential file")  # fmt: skip
        text = reply.body.decode(errors="replace")
    else:
        kind = "AWS" if source.get("environment_id") else "executable"
        raise Invalid(
            f"federated credentials of the kind {kind} are not read; use a file or an address (url)"
        )
    form = source.get("format") or {}
    if form.get("type", "text") == "json":
        return str(parsed(text)[form["subject_token_field_name"]])
    return text.strip()
