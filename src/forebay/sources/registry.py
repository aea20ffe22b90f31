"""A container registry: where it is, who we are there, and its token dance (OCI distribution spec 1.1)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import parsed, seconds
from forebay.sources.settings import flag, trust_from
from forebay.sources.tokens import Renewed
from forebay.sources.wire.client import Client, Reply, refused
from forebay.sources.wire.heads import where

HUB = "docker.io"
_HUB_HOST, _HUB_KEY = "registry-1.docker.io", "index.docker.io"
_PAIR = re.compile(r'([a-z_]+)="([^"]*)"|([a-z_]+)=([^\s,"]+)', re.IGNORECASE)
_FOREVER_S = 10 * 365 * 86400.0


@dataclass(frozen=True)
class Login:
    """What a docker config says of one registry; all "" means nothing."""

    user: str = ""
    password: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)  # identity token: exchanged for access tokens
    bearer: str = field(default="", repr=False)  # registry token: used as it is

    @property
    def basic(self) -> str:
        """Value of the Authorization header, or ""."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode() if self.user else ""


class Registry:
    """Requests to registries with the credentials of the docker config.

    Read: KSERVE_OCI_DOCKER_CONFIG (a file), DOCKER_CONFIG (a folder, or a file), REGISTRY_AUTH_FILE,
    HOME/.docker/config.json; KSERVE_OCI_INSECURE_REGISTRY speaks plain HTTP.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.trust = trust_from(env)
        self.client = Client(env, trust=self.trust)
        self._insecure = flag(env, "KSERVE_OCI_INSECURE_REGISTRY")
        self._auth: dict[tuple[str, str], Renewed] = {}

    def url(self, host: str, name: str, kind: str, reference: str) -> str:
        """Address of a manifest or blob of repository `name`."""
        at = _HUB_HOST if host == HUB else host
        scheme = "http" if self._insecure else "https"
        return f"{scheme}://{at}/v2/{name}/{kind}/{quote(reference, safe=':')}"

    def headers(self, host: str, name: str, what: str = "") -> dict[str, str]:
        """Authorization as far as one has been asked for. Raises Denied, Unavailable."""
        held = self._auth.get((host, name))
        value = held.value(what) if held is not None else ""
        return {"Authorization": value} if value else {}

    def manifest(self, host: str, name: str, reference: str, accept: str) -> Reply:
        """One manifest, after the token dance if the registry wants one. Raises Absent, Denied, Invalid,
        Unavailable."""
        url = self.url(host, name, "manifests", reference)
        try:
            reply = self.client.get(url, {"Accept": accept, **self.headers(host, name)})
        except Unavailable as error:
            if "WRONG_VERSION_NUMBER" not in error.message:
                raise
            hint = "set KSERVE_OCI_INSECURE_REGISTRY=true if that is meant"
            raise Unavailable(f"{host} speaks plain HTTP where TLS was expected: {hint}") from error
        if reply.status == 401:
            self._auth[host, name] = self._answer(reply, host, name)
            reply = self.client.get(url, {"Accept": accept, **self.headers(host, name)})
        if reply.status != 200:
            raise self._error(reply, host, f"{host}/{name}", reference)
        return reply

    def _answer(self, reply: Reply, host: str, name: str) -> Renewed:
        """What to send after this 401: the challenge says which kind (RFC 9110 section 11)."""
        login, challenge = login_for(self._env, host, name), reply.head.get("www-authenticate")
        if login.bearer:
            return Renewed(lambda: (f"Bearer {login.bearer}", _FOREVER_S))
        at = re.search(r"\bbearer\s", challenge, re.IGNORECASE)
        if at is None:
            if not login.basic:
                raise Denied(
                    f"{host} wants a login for {name} and no docker config names it: {_WHERE}", reason="login"
                )
            return Renewed(lambda: (login.basic, _FOREVER_S))
        asked = {(m[1] or m[3]).lower(): m[2] or m[4] or "" for m in _PAIR.finditer(challenge[at.end() :])}
        asked.setdefault("scope", f"repository:{name}:pull")
        realm = where(asked.get("realm", ""))
        if realm.scheme != "https" and not self._insecure:
            raise Denied(f"{host} sends logins to {realm.host}, over plain http; refused")
        return Renewed(lambda: self._token(host, name, login, asked))

    def _token(self, host: str, name: str, login: Login, asked: Mapping[str, str]) -> tuple[str, float]:
        """An access token and its life in seconds (distribution spec, token authentication)."""
        realm, facts = asked["realm"], {n: asked[n] for n in ("service", "scope") if asked.get(n)}
        if login.refresh:
            form = {"grant_type": "refresh_token", "client_id": "forebay", "refresh_token": login.refresh}
            with closing(self.client):
                reply = self.client.post(realm, {**form, **facts})
        else:
            headers = {"Authorization": login.basic} if login.basic else {}
            with closing(self.client):
                reply = self.client.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(facts)}", headers)
        if reply.status != 200:
            how = f"the login of {login.user or 'the docker config'}" if login != Login() else "no login"
            text = f"{urlsplit(realm).netloc} gives no token for {host}/{name} with {how}: {_WHERE}"
            raise (
                Denied(text) if reply.status in (400, 401, 403) else refused(text, reply.status, hint=_WHERE)
            )
        body = reply.json()
        token = (body.get("token") or body.get("access_token")) if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(token, str) or not token:
            raise Unavailable(f"{urlsplit(realm).netloc} answered without a token for {host}/{name}")
        life_s = 0.0
        with suppress(ValueError):
            life_s = seconds(body.get("expires_in"))
        return f"Bearer {token}", life_s or 60.0

    def _error(self, reply: Reply, host: str, name: str, reference: str) -> ForebayError:
        shown = f"{name}{'@' if reference.startswith('sha256:') else ':'}{reference}"
        if reply.status == 404:
            return Absent(f"{shown} is not there; check the registry, the name and the tag")
        if reply.status in (401, 403):
            known = login_for(self._env, host, name.partition("/")[2]) != Login()
            how = "refused the login" if known else "wants a login, or does not know the name"
            return Denied(f"{host} {how} for {shown} ({reply.status}): {_WHERE}")
        return refused(shown, reply.status, hint="is this an OCI registry?")


_WHERE = "put one that may pull into the image pull secret or the docker config (KSERVE_OCI_DOCKER_CONFIG)"


def login_for(env: Mapping[str, str], host: str, name: str) -> Login:
    """The login of the most particular entry: `host/org/name`, `host/org`, `host`. Raises Invalid."""
    path = _config(env)
    if path is None:
        return Login()
    try:
        body: Any = parsed(path.read_bytes())
        entries = body.get("auths", body if "credsStore" not in body else {})
        known = {_key(at): entry for at, entry in entries.items() if isinstance(entry, dict)}
        hosts = (HUB, _HUB_KEY, _HUB_HOST) if host == HUB else (host,)
        parts = name.split("/")
        places = [[*parts[:depth]] for depth in range(len(parts), -1, -1)]
        for wanted in ("/".join([at, *place]) for place in places for at in hosts):
            if wanted in known and (login := _login(known[wanted])) != Login():
                return login
        if host in body.get("credHelpers", {}) or (body.get("credsStore") and not known):
            raise Invalid(f"{path} keeps its logins in a helper program, which is not run; {_WHERE}")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Invalid(f"{path} cannot be read as a docker config ({type(error).__name__})") from error
    return Login()


def _config(env: Mapping[str, str]) -> Path | None:
    folder = env.get("DOCKER_CONFIG") or (f"{env['HOME']}/.docker" if env.get("HOME") else "")
    named = env.get("KSERVE_OCI_DOCKER_CONFIG")
    if named and not Path(named).exists():
        raise Invalid(f"KSERVE_OCI_DOCKER_CONFIG names {named}, which is not there; check the secret's mount")
    for text in (named, env.get("DOCKER_CONFIG") and folder, env.get("REGISTRY_AUTH_FILE"), folder):
        for path in (Path(text), Path(text, "config.json"), Path(text, ".dockerconfigjson")) if text else ():
            if path.is_file():
                return path
    return None


def _key(text: str) -> str:
    """An entry's name without scheme and the version part that docker login writes."""
    return re.sub(r"/v[12]/?$", "", re.sub(r"^https?://", "", text)).rstrip("/")


def _login(entry: Mapping[str, Any]) -> Login:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth") and not user:
        pair = base64.b64decode(str(entry["auth"]) + "===").decode()
        user, _, password = pair.rstrip("\0").partition(":")
    refresh = str(entry.get("identitytoken") or "")
    if user == "<token>":  # how some registries' tools write an identity token into `auth`
        user, password, refresh = "", "", refresh or password
    return Login(user, password, refresh, str(entry.get("registrytoken") or ""))
