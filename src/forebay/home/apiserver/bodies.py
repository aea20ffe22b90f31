"""Bodies of requests: at most 3 MiB of JSON, YAML or protobuf -> one JSON object."""

from __future__ import annotations

import math
from typing import Any

import yaml
from starlette.requests import Request

from forebay.api import schema
from forebay.api.meta import Json
from forebay.home.apiserver.status import Refusal, bad_request

BODY_MAX = 3 * 1024 * 1024
NODES_MAX = 1_000_000
DEPTH_MAX = 200
PROTOBUF = "application/vnd.kubernetes.protobuf"
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


async def read(request: Request) -> bytes:
    """The body's bytes. Raises Refusal (413)."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_MAX:
        raise _too_large()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> Refusal:
    return Refusal("RequestEntityTooLarge", f"Request entity too large: limit is {BODY_MAX}")


def media_type(request: Request) -> str:
    """The Content-Type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_object(request: Request) -> tuple[Json, list[str]]:
    """The body as an object, and sentences about duplicate fields. An absent body is {}.

    Raises Refusal (400, 413, 415) and Invalid.
    """
    data = await read(request)
    if not data:
        return {}, []
    media = media_type(request)
    if media == PROTOBUF or schema.is_protobuf(data):
        return schema.decode_protobuf(data), []
    if media in ("application/json", "") or (media == "application/yaml" and data.lstrip()[:1] == b"{"):
        return schema.parse_json(data)
    if media == "application/yaml":
        return parse_yaml(data), []
    raise Refusal(
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}",
    )


class _Loader(yaml.CSafeLoader):
    """YAML as JSON knows it: a date is a string."""

    yaml_implicit_resolvers = {
        letter: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(data: bytes) -> Json:
    """One YAML document as an object. Raises Refusal (400)."""
    try:
        found = _plain(yaml.load(data, _Loader), [NODES_MAX], 0)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"error parsing the body as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise bad_request("the body is not an object")
    return found


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1  # aliases may make a small text a huge tree
    if left[0] < 0 or depth > DEPTH_MAX:
        raise ValueError("the document is too large")
    if isinstance(value, dict):
        return {_name(key): _plain(item, left, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, left, depth + 1) for item in value]
    if (
        value is None
        or isinstance(value, (str, bool, int))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise ValueError(f"a value of type {type(value).__name__} has no form in JSON")


def _name(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (str, int)):
        return str(key)
    raise ValueError("a key is no string")
