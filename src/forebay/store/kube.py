"""The store's other home: any Kubernetes-shaped API server, over HTTP.

lightkube gives kubeconfig, in-cluster configuration, authentication (tokens, rotating token files, exec,
client certificates) and TLS; the seven verbs are plain requests, so objects keep every field we do not know.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from forebay.api.kinds import Pod
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent, Clash, Damaged, Denied, Exhausted, ForebayError, Invalid, Unavailable
from forebay.store.protocol import EVERYWHERE, Event, Page, T, Where

PAGE_ITEMS = 500
WATCH_S = 290  # the server ends a watch after this time; we go on from where it stood
SILENCE_S = 400.0
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class KubeStore:
    """Client of one API server. `timeout_s` bounds each request but the watches."""

    def __init__(self, config: SingleConfig, *, timeout_s: float) -> None:
        self._client = AsyncClient(
            config, ConnectionParams(timeout=httpx.Timeout(timeout_s), trust_env=False)
        )

    @classmethod
    def from_env(cls, *, timeout_s: float) -> KubeStore:
        """The server that KUBECONFIG, the pod's service account or ~/.kube/config names. Raises Invalid."""
        try:
            config = KubeConfig.from_env().get()
        except ConfigError as error:
            raise Invalid(f"no API server to talk to: {error}; set KUBECONFIG or run `forebay up`") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            named = os.environ.get("KUBECONFIG") or "~/.kube/config"
            raise Invalid(f"{named} is not a kubeconfig that can be read ({_short(error)}); "
                          f"`forebay kubeconfig` prints the path of one that can") from error  # fmt: skip
        if config is None:
            raise Invalid("the kubeconfig names no current context; `kubectl config use-context` sets it")
        return cls(config, timeout_s=timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, kind: type[T], key: Key) -> T:
        return kind(await self._ask("GET", object_path(kind, key)))

    async def list(self, kind: type[T], where: Where = EVERYWHERE) -> Page[T]:
        params = {**_selectors(where), "limit": str(PAGE_ITEMS)}
        items: list[T] = []
        while True:
            answer = await self._ask("GET", path_of(kind, where.namespace), params=params)
            items += [kind(_named(kind, raw)) for raw in answer.get("items") or []]
            more = answer["metadata"].get("continue")
            if not more:
                return Page(tuple(items), answer["metadata"]["resourceVersion"])
            params["continue"] = more

    async def create(self, item: T, *, dry_run: bool = False, strict: bool = False) -> T:
        path, params = path_of(type(item), item.namespace), _write_params(dry_run, strict)
        return type(item)(await self._ask("POST", path, params=params, body=item.raw))

    async def update(self, item: T, *, dry_run: bool = False, strict: bool = False) -> T:
        kind, params = type(item), _write_params(dry_run, strict)
        path = object_path(kind, item.key)
        return kind(await self._ask("PUT", path, params=params, body=item.raw))

    async def update_status(self, item: T) -> T:
        kind = type(item)
        return kind(await self._ask("PUT", object_path(kind, item.key) + "/status", body=item.raw))

    async def delete(
        self,
        kind: type[T],
        key: Key,
        *,
        uid: str | None = None,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        options: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        await self._ask("DELETE", object_path(kind, key), body=options)

    async def watch(self, kind: type[T], where: Where = EVERYWHERE, *, since: str) -> AsyncIterator[Event[T]]:
        at = since
        while True:
            params = {
                **_selectors(where),
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": at,
                "timeoutSeconds": str(WATCH_S),
            }
            async for event in self._stream(kind, path_of(kind, where.namespace), params):
                at = event.revision
                yield event

    async def table_changes(
        self, kind: type[Resource], where: Where = EVERYWHERE, *, since: str
    ) -> AsyncIterator[tuple[str, Json]]:
        """(type, meta.k8s.io/v1 Table) of each change; ends when the server ends the watch."""
        params = {**_selectors(where), "watch": "true", "resourceVersion": since}
        path = path_of(kind, where.namespace)
        async for event in self._lines(kind, path, params, headers={"Accept": TABLE}):
            yield event["type"], event["object"]

    async def _stream(self, kind: type[T], path: str, params: dict[str, str]) -> AsyncIterator[Event[T]]:
        async for event in self._lines(kind, path, params):
            yield Event(event["type"], kind(_named(kind, event["object"])))

    async def _lines(
        self,
        kind: type[Resource],
        path: str,
        params: dict[str, str],
        *,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[Json]:
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        try:
            async with self._client.stream(
                "GET", path, params=params, timeout=timeout, headers=headers
            ) as answer:
                if answer.status_code >= 300:
                    raise as_error(answer.status_code, _json(await answer.aread()))
                async for line in answer.aiter_lines():
                    event: Json = json.loads(line)
                    if event["type"] == "ERROR":
                        raise as_error(int(event["object"].get("code", 500)), event["object"])
                    yield event
        except httpx.TransportError as error:
            raise Unavailable(f"the API server ended the watch of {kind.plural}: {_said(error)}") from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, params=params, json=body, headers=headers)
        except httpx.TransportError as error:
            where = self._client.base_url
            raise Unavailable(f"no answer from the API server at {where}: {_said(error)}") from error
        data = _json(answer.content)
        if answer.status_code >= 300:
            raise as_error(answer.status_code, data)
        return data

    async def table(self, kind: type[Resource], where: Where = EVERYWHERE) -> Json:
        """A meta.k8s.io/v1 Table, as `kubectl get` asks for it."""
        headers = {"Accept": TABLE}
        return await self._ask(
            "GET", path_of(kind, where.namespace), params=_selectors(where), headers=headers
        )

    async def logs(
        self,
        key: Key,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
    ) -> AsyncIterator[str]:
        """Lines of a pod's log. Raises Absent, Invalid (no such container), Unavailable."""
        params = {"follow": str(follow).lower(), "previous": str(previous).lower()}
        params |= {"container": container} if container else {}
        params |= {"tailLines": str(tail)} if tail is not None else {}
        path = object_path(Pod, key) + "/log"
        timeout = httpx.Timeout(10.0, read=None)
        try:
            async with self._client.stream("GET", path, params=params, timeout=timeout) as answer:
                if answer.status_code >= 300:
                    raise as_error(answer.status_code, _json(await answer.aread()))
                async for line in answer.aiter_lines():
                    yield line
        except httpx.TransportError as error:
            raise Unavailable(f"the log of pod {key} broke off: {_said(error)}") from error


def path_of(kind: type[Resource], namespace: str = "", name: str = "") -> str:
    """URL path of a collection or an object. Raises Invalid for words that would lead elsewhere."""
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    inside = f"/namespaces/{_segment(namespace)}" if namespace and kind.namespaced else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{_segment(name)}" if name else "")


def object_path(kind: type[Resource], key: Key) -> str:
    """URL path of one object; without a name it would be the whole collection's. Raises Invalid."""
    if not key.name or (kind.namespaced and not key.namespace):
        lacking = "namespace" if key.name else "name"
        raise Invalid(f"{kind.singular} {key}: no {lacking} was given")
    return path_of(kind, key.namespace, key.name)


def _segment(word: str) -> str:
    """One part of a path. `..` would be the folder above, and deleting it would be deleting the namespace.
    Kubernetes' own client refuses the same words (k8s.io/apimachinery api/validation/path)."""
    bad = word if word in (".", "..") else next((sign for sign in "/%" if sign in word), "")
    if bad:
        raise Invalid(f"{word!r} is no name: it may not {'be' if bad == word else 'contain'} {bad!r}")
    return quote(word, safe=":")


def as_error(code: int, status: Json) -> ForebayError:
    """A Kubernetes Status as one of the eight errors."""
    families: dict[int, type[ForebayError]] = {
        400: Invalid, 401: Denied, 403: Denied, 404: Absent, 405: Invalid, 409: Clash, 410: Clash,
        413: Invalid, 415: Invalid, 422: Invalid, 429: Unavailable, 507: Exhausted, 502: Damaged,
    }  # fmt: skip
    family = families.get(code, Unavailable)
    details = status.get("details") or {}
    causes = tuple(
        (str(c.get("field", "")), str(c.get("reason", "")), str(c.get("message", "")))
        for c in details.get("causes") or ()
    )
    after = details.get("retryAfterSeconds")
    message = str(status.get("message") or f"the API server answered {code}")
    if code == 401:
        message = f"the API server does not take these credentials ({message}): look at KUBECONFIG"
    reason = str(status.get("reason") or family.code)
    return family(message, retry_after_s=float(after) if after else None, causes=causes, reason=reason)


def _write_params(dry_run: bool, strict: bool) -> dict[str, str]:
    """Nothing is stored with `dry_run`; `strict` refuses fields that the kind does not have."""
    return {**({"dryRun": "All"} if dry_run else {}), **({"fieldValidation": "Strict"} if strict else {})}


def _selectors(where: Where) -> dict[str, str]:
    fields = [f"metadata.name={where.name}"] if where.name else []
    fields += [where.fields] if where.fields else []
    params = {"labelSelector": where.labels, "fieldSelector": ",".join(fields)}
    return {name: value for name, value in params.items() if value}


def _named(kind: type[Resource], raw: Json) -> Json:
    """Items of a list come without apiVersion and kind from a real server."""
    raw.setdefault("apiVersion", kind.api_version)
    raw.setdefault("kind", kind.kind)
    return raw


def _json(body: bytes) -> Json:
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return {"message": body[:200].decode(errors="replace")}
    return data if isinstance(data, dict) else {"message": str(data)}


def _short(error: Exception) -> str:
    """An error of a foreign reader in one line; what it says of its own insides helps nobody."""
    if isinstance(error, OSError):
        return str(error.strerror)
    return "not YAML" if isinstance(error, yaml.YAMLError) else "its form is not that of a Config"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


async def wait_ready(store: KubeStore, *, deadline_s: float) -> None:
    """Return when the server says it is ready. Raises Unavailable after `deadline_s` seconds."""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    await store._ask("GET", "/readyz")
                    return
                except Unavailable:
                    await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise Unavailable(f"the API server was not ready within {deadline_s:g} s") from error
