"""Where Azure blobs are and who we are there: addresses, account keys, signed links, Entra tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit

from forebay.errors import Denied, Invalid
from forebay.kit.redact import redacted
from forebay.sources.gcsauth import token_of
from forebay.sources.settings import endpoint_of
from forebay.sources.tokens import Renewed
from forebay.sources.wire.client import Client
from forebay.sources.wire.conn import Deadlines
from forebay.sources.wire.heads import where

VERSION = "2021-12-02"  # of the service's API: the oldest with the fields that are signed below
_SAS_LIFE_S = 3600
_RESOURCE = "https://storage.azure.com/"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$root|\$web|[a-z0-9](?:-?[a-z0-9]){2,62}")
# Published by Microsoft for the emulator of every developer; it opens nothing else.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Place:
    """A prefix in a container. `secret` is the query of a signed link (or of one to a version), or ""."""

    endpoint: str
    account: str
    container: str
    prefix: str
    secret: str = field(default="", repr=False)

    @property
    def is_public_cloud(self) -> bool:
        """Whether the account's name says it all."""
        return self.endpoint == f"https://{self.account}.blob.core.windows.net"

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.endpoint}/{self.container}/{self.prefix}"

    def locator(self, key: str) -> str:
        """What finds one blob again, besides the listing's URI, which is stored without its secret."""
        return f"{self.secret} {key}"


def place_of(uri: str, env: Mapping[str, str]) -> Place:
    """The parts of https://account.blob.core.windows.net/container/prefix[?signature], or of
    az://container/prefix with the account from the environment. Raises Invalid.

    AZURE_STORAGE_ENDPOINT (or BlobEndpoint of AZURE_STORAGE_CONNECTION_STRING) is another service's address,
    for the emulator with the account as its path; else AZURE_STORAGE_ACCOUNT names the account.
    """
    scheme, _, rest = uri.partition("://")
    rest, _, query = rest.partition("?")
    if scheme.lower() in ("az", "azure"):
        endpoint = _endpoint(env)
    else:
        host, _, rest = rest.partition("/")
        endpoint, rest = f"https://{host.lower()}", unquote(rest)
    where(endpoint)
    account = urlsplit(endpoint).path.strip("/") or (urlsplit(endpoint).hostname or "").partition(".")[0]
    account = account.removesuffix("-secondary")  # the copy in another region has the account's keys
    container, _, prefix = rest.partition("/")
    if (
        not _ACCOUNT.fullmatch(account)
        or not _CONTAINER.fullmatch(container)
        or re.search(r"[\x00\r\n]", prefix)
    ):
        raise Invalid(f"{redacted(uri)!r} is not https://account.blob.core.windows.net/container/prefix "
                      "or az://container/prefix")  # fmt: skip
    return Place(endpoint, account, container, prefix, query)


def _endpoint(env: Mapping[str, str]) -> str:
    said = connection(env)
    given = env.get("AZURE_STORAGE_ENDPOINT") or said.get("BlobEndpoint", "")
    account = (
        env.get("AZURE_STORAGE_ACCOUNT") or env.get("AZURE_STORAGE_ACCOUNT_NAME") or said.get("AccountName")
    )
    if not given and not account:
        raise Invalid("an az:// address names no account: set AZURE_STORAGE_ACCOUNT, or write "
                      "https://account.blob.core.windows.net/container/prefix")  # fmt: skip
    suffix = said.get("EndpointSuffix", "core.windows.net")
    return endpoint_of(given or f"https://{account}.blob.{suffix}", "the Azure endpoint")


def connection(env: Mapping[str, str]) -> dict[str, str]:
    """AZURE_STORAGE_CONNECTION_STRING in its parts; UseDevelopmentStorage=true: the emulator's defaults."""
    pairs = (item.partition("=") for item in env.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    said = {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
    if said.get("UseDevelopmentStorage", "").lower() == "true":
        emulator = {"AccountName": "devstoreaccount1", "AccountKey": _EMULATOR_KEY}
        return {**emulator, "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1", **said}
    return said


class Identity:
    """Proof for a request, from the first of these that is there.

    The link's own signature; AZURE_STORAGE_ACCESS_KEY, AZURE_STORAGE_KEY or the connection string's
    AccountKey; AZURE_STORAGE_SAS_TOKEN or its SharedAccessSignature; AZURE_ACCESS_TOKEN; a client with its
    secret or its federated token file (AZURE_*, or KServe's older AZ_*); the app's own identity
    (IDENTITY_ENDPOINT and IDENTITY_HEADER); the machine's identity when only a client is named.
    """

    def __init__(self, env: Mapping[str, str], client: Client) -> None:
        said = connection(env)
        self._env, self._client = env, client
        self._sas = env.get("AZURE_STORAGE_SAS_TOKEN") or said.get("SharedAccessSignature", "")
        self._key = (
            env.get("AZURE_STORAGE_ACCESS_KEY") or env.get("AZURE_STORAGE_KEY") or said.get("AccountKey", "")
        )
        self._token = self._entra()

    @property
    def known(self) -> bool:
        """Whether there are any credentials."""
        return bool(self._sas or self._key or self._token is not None)

    def proof(self, place: Place, secret: str, *, what: str = "") -> tuple[str, dict[str, str]]:
        """(query, headers) to add. An account key signs a link that is good for an hour: the signature of a
        header would cover the range, which the engine chooses later. Raises Denied, Invalid, Unavailable."""
        if "sig=" in secret:
            return secret, {}
        if self._key:
            return _and(secret, _signed(place, self._key, time.time())), {"x-ms-version": VERSION}
        if self._sas:
            return _and(secret, self._sas.lstrip("?")), {"x-ms-version": VERSION}
        bearer = {"Authorization": self._token.value(what)} if self._token is not None else {}
        return secret, {"x-ms-version": VERSION, **bearer}

    def _entra(self) -> Renewed | None:
        env = self._env
        if env.get("AZURE_ACCESS_TOKEN"):
            return Renewed(lambda: (f"Bearer {env['AZURE_ACCESS_TOKEN']}", 86400.0))
        tenant, client, secret = (_either(env, n) for n in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"))
        file = env.get("AZURE_FEDERATED_TOKEN_FILE", "")
        if tenant and client and (secret or file):
            return Renewed(lambda: self._exchange(tenant, client, secret, file))
        if secret or file:
            return None
        if env.get("IDENTITY_ENDPOINT") and env.get("IDENTITY_HEADER"):
            return Renewed(lambda: _of_app(env, client))
        return Renewed(lambda: _of_machine(env, client)) if client else None

    def _exchange(self, tenant: str, client: str, secret: str, file: str) -> tuple[str, float]:
        host = (self._env.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com").rstrip("/")
        form = {"grant_type": "client_credentials", "client_id": client, "scope": _RESOURCE + ".default"}
        if secret:
            form["client_secret"] = secret
        else:
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            form |= {"client_assertion_type": kind, "client_assertion": _read(file)}
        with closing(self._client):
            reply = self._client.post(f"{host}/{quote(tenant)}/oauth2/v2.0/token", form)
        if reply.status != 200:
            where = f"{urlsplit(host).netloc} refused client {client} of tenant {tenant} ({reply.status})"
            raise Denied(f"{where}: check AZURE_CLIENT_SECRET, or make a new one")
        return token_of(reply.json(), urlsplit(host).netloc)


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(f"AZURE_{name}") or env.get(f"AZ_{name}") or ""


def _and(*queries: str) -> str:
    return "&".join(q for q in queries if q)


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()  # it is replaced from time to time: read anew for each token
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"AZURE_FEDERATED_TOKEN_FILE names {file}, which cannot be read") from error


def _of_app(env: Mapping[str, str], client: str) -> tuple[str, float]:
    """The identity that App Service, Functions and Container Apps give (IDENTITY_ENDPOINT)."""
    facts = {"api-version": "2019-08-01", "resource": _RESOURCE, **({"client_id": client} if client else {})}
    endpoint = env["IDENTITY_ENDPOINT"]
    with closing(Client({}, deadlines=Deadlines(2, 10), attempts_max=3)) as asking:
        header = {"X-IDENTITY-HEADER": env["IDENTITY_HEADER"]}
        reply = asking.get(f"{endpoint}?{urlencode(facts)}", header)
    if reply.status != 200:
        raise Denied(
            f"this app has no identity {client} ({reply.status}): assign one that may read the container"
        )
    return token_of(reply.json(), urlsplit(endpoint).netloc)


def _of_machine(env: Mapping[str, str], client: str) -> tuple[str, float]:
    host = env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or "http://169.254.169.254"
    query = urlencode({"api-version": "2018-02-01", "resource": _RESOURCE, "client_id": client})
    with closing(Client({}, deadlines=Deadlines(2, 10), attempts_max=3)) as asking:
        reply = asking.get(f"{host.rstrip('/')}/metadata/identity/oauth2/token?{query}", {"Metadata": "true"})
    if reply.status != 200:
        raise Denied(f"this machine has no identity {client} ({reply.status}): set AZURE_CLIENT_SECRET and "
                     "AZURE_TENANT_ID, or assign the identity")  # fmt: skip
    return token_of(reply.json(), urlsplit(host).netloc)


def _signed(place: Place, key: str, now: float) -> str:
    """Query of a service signature that lets read and list a container (Microsoft: Create a service SAS)."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + _SAS_LIFE_S))
    resource = f"/blob/{place.account}/{place.container}"
    fields = ["rl", "", ends, resource, "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
    try:
        secret = base64.b64decode(key, validate=True)
    except ValueError as error:
        raise Denied("AZURE_STORAGE_ACCESS_KEY is not base64: copy the whole key of the account") from error
    signature = hmac.new(secret, "\n".join(fields).encode(), hashlib.sha256).digest()
    facts = {"sp": "rl", "se": ends, "sv": VERSION, "sr": "c", "sig": base64.b64encode(signature).decode()}
    return urlencode(facts)
