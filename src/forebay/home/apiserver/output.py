"""Answers: objects, lists, Tables and metadata only, as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from starlette.responses import Response

from forebay.api.meta import Json, Resource
from forebay.home.apiserver import tables
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.negotiate import Accepted
from forebay.home.apiserver.status import Refusal, body

_WARNING_MAX = 4096


def encode(raw: Any, encoding: str = "json") -> bytes:
    """The bytes of an answer; surrogates stay escaped, so that nothing a client stored can break it."""
    if encoding == "yaml":
        return yaml.dump(raw, Dumper=yaml.CSafeDumper, sort_keys=False).encode()
    return json.dumps(raw, separators=(",", ":")).encode()


def respond(
    raw: Json, accepted: Accepted | None = None, *, code: int = 200, warnings: Sequence[str] = ()
) -> Response:
    """An answer as it is."""
    encoding = accepted.encoding if accepted else "json"
    response = Response(encode(raw, encoding), code, media_type=f"application/{encoding}")
    response.headers["Cache-Control"] = "no-cache, private"
    for text in warnings:
        response.headers.append("Warning", warning(text))
    return response


def refuse(refusal: Refusal) -> Response:
    """A refusal as a `Status`."""
    response = respond(body(refusal), code=refusal.code)
    if refusal.retry_after_s:
        response.headers["Retry-After"] = str(refusal.retry_after_s)
    return response


def warning(text: str) -> str:
    """The value of a Warning header (RFC 7234, section 5.5) that kubectl prints."""
    plain = "".join(c if 32 <= ord(c) < 127 else "?" for c in text)[:_WARNING_MAX]
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


def one(call: Call, raw: Json, *, code: int = 200) -> Response:
    """One object in the form that was asked for."""
    return respond(one_form(call, raw), call.accepted, code=code, warnings=call.warnings)


def one_form(call: Call, raw: Json) -> Json:
    """One object as it goes into an answer or into an event of a watch."""
    match call.accepted.form:
        case "table":
            return _table(call, [raw], {"resourceVersion": raw["metadata"].get("resourceVersion", "")})
        case "partial":
            return _partial(call, raw)
        case _:
            return call.wire(raw)


def many(call: Call, items: Sequence[Resource], meta: Json) -> Response:
    """A list in the form that was asked for. `meta` is the list's own metadata."""
    return respond(_many_form(call, items, meta), call.accepted, warnings=call.warnings)


def _many_form(call: Call, items: Sequence[Resource], meta: Json) -> Json:
    kind = call.served.kind
    match call.accepted.form:
        case "table":
            return _table(call, [item.raw for item in items], meta)
        case "partial":
            group = f"meta.k8s.io/{call.accepted.version}"
            rows = [_partial(call, item.raw) for item in items]
            return {"kind": "PartialObjectMetadataList", "apiVersion": group, "metadata": meta, "items": rows}
        case _:
            wired = [call.wire(item.raw) for item in items]
            return {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": meta,
                "items": wired,
            }


def _partial(call: Call, raw: Json) -> Json:
    group = f"meta.k8s.io/{call.accepted.version}"
    return {"kind": "PartialObjectMetadata", "apiVersion": group, "metadata": raw["metadata"]}


def _table(call: Call, raws: Sequence[Json], meta: Json) -> Json:
    kind = call.served.kind
    items = [kind(call.wire(raw)) for raw in raws]
    table = tables.table(kind, items, now=call.api.clock.now())
    wanted = call.query.text("includeObject") or "Metadata"
    if wanted != "Metadata":  # Object: to sort by any field; None: cells only
        for row, item in zip(table["rows"], items, strict=True):
            row["object"] = item.raw if wanted == "Object" else None
    return {**table, "apiVersion": f"meta.k8s.io/{call.accepted.version}", "metadata": meta}
