"""A container registry: where it is, who we are there, and its token dance (OCI distribution spec 1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing, suppress
from urllib.parse import quote, urlencode, urlsplit

from forebay.errors import Absent, Denied, ForebayError, Unavailable
from forebay.kit.foreign import seconds
from forebay.sources.dockerconfig import HUB, HUB_HOST, WHERE, Login, login_for
from forebay.sources.settings import flag, trust_from
from forebay.sources.tokens import Renewed
from forebay.sources.wire.client import Client, Reply, refused
from forebay.sources.wire.heads import where

_PAIR = re.compile(r'([a-z_]+)="([^"]*)"|([a-z_]+)=([^\s,"]+)', re.IGNORECASE)
_FOREVER_S = 10 * 365 * 86400.0


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
        at = HUB_HOST if host == HUB else host
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
                    f"{host} wants a login for {name} and no docker config names it: {WHERE}", reason="login"
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
            text = f"{urlsplit(realm).netloc} gives no token for {host}/{name} with {how}: {WHERE}"
            raise (
                Denied(text) if reply.status in (400, 401, 403) else refused(text, reply.status, hint=WHERE)
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
            return Denied(f"{host} {how} for {shown} ({reply.status}): {WHERE}")
        return refused(shown, reply.status, hint="is this an OCI registry?")
