"""A bare HTTP client for the API server: what kubectl would hide."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml
from tests.service.kubectl import ApiServer


class Rest:
    """Requests with one user's token. `token` "" sends none."""

    def __init__(self, server: ApiServer, user: str = "", token: str | None = None) -> None:
        config = yaml.safe_load(server.config(user).read_text())
        self.token = config["users"][0]["user"]["token"] if token is None else token
        self._place = urlsplit(server.url)
        self._context = ssl.create_default_context(cafile=str(server.folder / "pki" / "ca.crt"))

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """An answer still to be read. A body that is no bytes goes as JSON."""
        assert self._place.hostname is not None
        link = http.client.HTTPSConnection(
            self._place.hostname, self._place.port, context=self._context, timeout=20
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        link.request(method, path, body, named)
        response = link.getresponse()
        response.link = link  # type: ignore[attr-defined]
        return response

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """(status code, the body as JSON, or as text)."""
        response = self.open(method, path, body, **headers)
        try:
            data = response.read()
        finally:
            response.link.close()  # type: ignore[attr-defined]
        try:
            return response.status, json.loads(data)
        except ValueError:
            return response.status, data.decode()

    def events(self, path: str, **headers: str) -> Iterator[Any]:
        """The events of a watch, one after the other; ends when the server ends it."""
        response = self.open("GET", path, **headers)
        try:
            assert response.status == 200, response.read()
            while line := response.readline():
                yield json.loads(line)
        finally:
            response.close()
            response.link.close()  # type: ignore[attr-defined]
