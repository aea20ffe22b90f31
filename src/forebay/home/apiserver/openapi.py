"""OpenAPI documents: v3, one per group and version, and v2, one for all; built when first asked for."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from forebay.api import schema
from forebay.api.meta import Json, Resource
from forebay.api.schema.openapi_v2 import as_protobuf, openapi_v2
from forebay.home.apiserver import output
from forebay.home.apiserver.registry import Registry
from forebay.home.apiserver.status import no_such_resource
from forebay.kit.tasks import in_thread

_PROTOBUF = "com.github.proto-openapi.spec"  # with "@v1.0+protobuf" or ".v2.v1.0+protobuf" behind it


class Documents:
    """The documents of one registry; a changed registry forgets those of posted kinds."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[tuple[str, str], tuple[int, bytes, str]] = {}
        self._v2: tuple[int, bytes, bytes] | None = None  # revision, JSON, protobuf

    def index(self) -> Json:
        """Where each document is."""
        paths: Json = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                place = f"apis/{group}/{version}" if group else f"api/{version}"
                paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}"}
        return {"paths": paths}

    async def answer(self, path: str, request: Request) -> Response:
        """One document; 304 if the client has it already. Raises Refusal (404)."""
        group, version = _place(path)
        if version not in self._registry.groups().get(group, ()):
            raise no_such_resource()
        body, tag = await self._document(group, version)
        headers = {
            "ETag": tag,
            "Cache-Control": "no-cache, private",
        }  # the client keeps it and asks whether it stands
        if request.headers.get("if-none-match") == tag:
            return Response(None, 304, headers)
        return Response(body, 200, headers, media_type="application/json")

    async def old(self, request: Request) -> Response:
        """The v2 document, in protobuf for who asks for that."""
        revision = self._registry.revision
        if self._v2 is None or self._v2[0] != revision:
            places = [(group, v) for group, versions in self._registry.groups().items() for v in versions]
            kinds = {place: [served.kind for served in self._registry.of(*place)] for place in places}
            self._v2 = (revision, *await in_thread(_old_forms, kinds))
        if _PROTOBUF in request.headers.get("accept", ""):
            return Response(self._v2[2], 200, media_type=f"application/{_PROTOBUF}.v2.v1.0+protobuf")
        return Response(self._v2[1], 200, media_type="application/json")

    async def _document(self, group: str, version: str) -> tuple[bytes, str]:
        made = self._made.get((group, version))
        if made is not None and made[0] == self._registry.revision:
            return made[1:]
        revision = self._registry.revision
        kinds = [served.kind for served in self._registry.of(group, version)]
        body = await in_thread(lambda: output.encode(schema.openapi_v3(group, version, kinds)))
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._made[group, version] = (revision, body, tag)
        return body, tag


def _old_forms(kinds: dict[tuple[str, str], list[type[Resource]]]) -> tuple[bytes, bytes]:
    document = openapi_v2(schema.openapi_v3(*place, found) for place, found in kinds.items())
    return output.encode(document), as_protobuf(document)


def _place(path: str) -> tuple[str, str]:
    match path.removeprefix("/openapi/v3/").strip("/").split("/"):
        case ["api", version]:
            return "", version
        case ["apis", group, version]:
            return group, version
        case _:
            raise no_such_resource()
