"""Which proxy a URL takes: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as curl reads them."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from forebay.errors import Invalid
from forebay.sources.wire.heads import Head, Where, WireError, where


class ProxyRefused(WireError):
    """The proxy does not let us through; asking again soon changes nothing."""


class ProxyFailed(WireError):
    """The proxy does not get through to the server."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `headers` may hold its credentials."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {host}:{self.port}"

    def check(self, head: Head, host: str, *, tunnel: bool) -> None:
        """Raise ProxyRefused or ProxyFailed if this answer is the proxy's own, and no good: for a `tunnel`
        every answer is; else Squid says which ones are."""
        if head.status == 407 or (head.status == 401 and tunnel):
            how = "refused the user and password" if self.headers else "wants a user and a password"
            hint = "put user:password@ before the host in its address"
            raise ProxyRefused(f"{self} {how} ({head.status}): {hint}")
        said = re.match(r"[A-Z_]{0,60}", head.get("x-squid-error"))
        why = f"{head.status} {said[0] if said else ''}".strip()
        if head.status == 403 and (tunnel or "ERR_ACCESS_DENIED" in why):
            hint = f"ask who runs it, or name {host} in NO_PROXY if no proxy is needed"
            raise ProxyRefused(f"{self} lets nobody through to {host} ({why}): {hint}")
        if not 200 <= head.status < 300 and (tunnel or "ERR_" in why):
            raise ProxyFailed(f"{self} does not get through to {host} ({why})")


def proxy_for(at: Where, env: Mapping[str, str]) -> Proxy | None:
    """The proxy that `env` names for a URL, or None. Raises Invalid for one that is not http."""
    # Upper-case HTTP_PROXY is honoured here: there is no CGI request that could have set it.
    text = _either(env, f"{at.scheme}_proxy") or _either(env, "all_proxy")
    if not text or _excepted(at, _either(env, "no_proxy")):
        return None
    url = text if "://" in text else f"http://{text}"
    try:
        to, parts = where(url), urlsplit(url)
    except Invalid:
        to = None
    if to is None or to.scheme != "http":
        names = f"{at.scheme.upper()}_PROXY and ALL_PROXY"
        raise Invalid(f"the proxy for {at.host} must be an http:// address; check {names}")
    headers = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(to.host, parts.port or 80, headers)


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.upper()) or ""


def _excepted(at: Where, text: str) -> bool:
    return any(_matches(at, item.strip().lower()) for item in text.split(",") if item.strip())


def _matches(at: Where, rule: str) -> bool:
    if rule == "*":
        return True
    has_port = rule.count(":") == 1 or re.fullmatch(r"\[.*\]:\d+", rule)
    host, _, port = rule.rpartition(":") if has_port else (rule, "", "")
    if port and port != str(at.port):
        return False
    try:
        return ipaddress.ip_address(at.host) in ipaddress.ip_network(host.strip("[]"), strict=False)
    except ValueError:
        bare = host.lstrip("*").lstrip(".")
        return bool(bare) and (at.host == bare or at.host.endswith("." + bare))
