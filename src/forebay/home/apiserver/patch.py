"""PATCH: JSON patch, merge patch and strategic merge patch.

Source: RFC 6902, RFC 7386, and k8s.io/apiserver, endpoints/handlers/patch.
"""

from __future__ import annotations

import copy
import json
from types import MappingProxyType
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException
from starlette.responses import Response

from forebay.api import schema
from forebay.api.meta import Json
from forebay.api.schema.decode import whole_letters
from forebay.errors import Clash, Invalid
from forebay.home.apiserver import bodies, output, verbs
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.status import About, Refusal, bad_request, invalid

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
OPERATIONS_MAX = 10_000
ATTEMPTS_MAX = 50  # every lost round is a round that another writer won


class _Replace(jsonpatch.ReplaceOperation):
    """Gives a member that is not there its value, as kube-apiserver's library does; RFC 6902 would refuse."""

    def apply(self, obj: Any) -> Any:
        """The object with the new value."""
        if self.location and "value" in self.operation:
            below, part = self.pointer.to_last(obj)
            if isinstance(below, dict) and part not in below:
                below[part] = copy.deepcopy(self.operation["value"])
                return obj
        return super().apply(obj)


class _Patch(jsonpatch.JsonPatch):
    operations = MappingProxyType({**jsonpatch.JsonPatch.operations, "replace": _Replace})


async def patch(call: Call) -> Response:
    """Change one object, or its status; a writer in between makes us start again."""
    dry, validation = call.query.dry_run("PatchOptions"), call.query.field_validation("PatchOptions")
    media, change = await read_patch(call)
    told = list(call.warnings)  # of the kind; those of the object are said anew with each attempt
    for attempt in range(ATTEMPTS_MAX):
        current = await call.api.store.get(call.served.stored, call.key)
        raw = changed(call, current.raw, media, change)
        call.warnings[:] = told
        _check(call, raw, change, media, validation)
        check_uid(call, raw, current.uid)
        try:
            return output.one(call, (await verbs.store_update(call, raw, dry_run=dry)).raw)
        except Clash:
            # Only a patch that named a revision itself wants to hear of the other writer.
            if _names_revision(media, change) or attempt + 1 == ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable")


async def read_patch(call: Call) -> tuple[str, Any]:
    """(media type, the patch). Raises Refusal (400, 413, 415)."""
    media = bodies.media_type(call.request)
    data = await bodies.read(call.request)
    if media in APPLY:
        told = "server-side apply is not supported by this server for now: apply without --server-side"
        raise Refusal("UnsupportedMediaType", told)
    known = [JSON_PATCH, MERGE_PATCH, *([STRATEGIC] if call.served.builtin else [])]
    if media not in known:
        told = "the body of the request was in an unknown format - accepted media types include: "
        raise Refusal("UnsupportedMediaType", told + ", ".join(known))
    return media, parse_patch(media, data)


def parse_patch(media: str, data: bytes) -> Any:
    """The patch of a body: a list for a JSON patch, an object otherwise. Raises Refusal (400)."""
    try:
        found = json.loads(whole_letters(data), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if media != JSON_PATCH:
        if not isinstance(found, dict):
            said = {str: "string", list: "array", bool: "bool"}.get(type(found), "number")
            raise bad_request(
                f"json: cannot unmarshal {said} into Go value of type map[string]interface {{}}"
            )
        return found
    operations = found
    if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
        told = "json: cannot unmarshal into Go value of type []handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: {told}")
    if len(operations) > OPERATIONS_MAX:
        told = f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}"
        raise Refusal("RequestEntityTooLarge", told)
    return operations


def _refuse_constant(name: str) -> None:
    raise ValueError(f"invalid character in {name}")


def _names_revision(media: str, change: Any) -> bool:
    if media == JSON_PATCH:
        return any(op.get("path") == "/metadata/resourceVersion" for op in change)
    meta = change.get("metadata")
    return isinstance(meta, dict) and "resourceVersion" in meta


def changed(call: Call, stored: Json, media: str, change: Any) -> Json:
    """The object after the patch, in wire form. Raises Refusal and Invalid."""
    current = call.wire(copy.deepcopy(stored))
    match media:
        case "application/json-patch+json":
            return apply_json_patch(current, change)
        case "application/merge-patch+json":
            merged: Json = schema.json_merge(current, change)
            return merged
        case _:
            return schema.strategic_merge(current, change, call.served.kind)


def apply_json_patch(current: Json, operations: list[Json]) -> Json:
    """RFC 6902. Raises Refusal: 422 when it does not fit the object, 413 when copies would make it huge."""
    found: Any = current
    try:
        if not any(op.get("op") == "copy" for op in operations):
            found = _Patch(operations).apply(found)
        else:
            for operation in operations:  # each copy may double the object: look after every step
                found = _Patch([operation]).apply(found)
                if len(json.dumps(found)) > bodies.BODY_MAX:
                    raise Refusal(
                        "RequestEntityTooLarge", f"Request entity too large: limit is {bodies.BODY_MAX}"
                    )
    except (
        jsonpatch.JsonPatchException,
        JsonPointerException,
        TypeError,
        KeyError,
        IndexError,
        ValueError,
    ) as error:
        raise Refusal("Invalid", "the server rejected our request due to an error in our request") from error
    if not isinstance(found, dict):
        raise Refusal("Invalid", "the server rejected our request due to an error in our request")
    return found


def _check(call: Call, raw: Json, change: Any, media: str, validation: str) -> None:
    """The patched object is still the one of the path, and of its types. Raises Refusal."""
    kind = call.served.kind
    shown = _go(change) if media == STRATEGIC else json.dumps(raw, separators=(",", ":"))
    if (raw.get("apiVersion"), raw.get("kind")) != (kind.api_version, kind.kind):
        raise _unfit(shown, f"it is no {kind.kind} of {kind.api_version} any more")
    if raw.get("metadata") is None or isinstance(raw["metadata"], dict):
        verbs.check_identity(call, raw)
    try:
        schema.check_types(raw, kind)
    except Invalid as error:
        why = error.message.partition(" cannot be handled as a ")[2].partition(": ")[2]
        raise _unfit(shown, why or error.message) from error
    sentences = [] if validation == "Ignore" else schema.unknown_fields(raw, kind)
    if sentences and validation == "Strict":
        raise _unfit(shown, f"strict decoding error: {', '.join(sentences)}")
    call.warnings += sentences


def _unfit(shown: str, why: str) -> Refusal:
    return invalid(About(), (("patch", "FieldValueInvalid", f"Invalid value: {json.dumps(shown)}: {why}"),))


def check_uid(call: Call, raw: Json, uid: str) -> None:
    """A patch makes no other object of it. Raises Refusal (422)."""
    wanted = raw["metadata"].get("uid")
    if wanted and wanted != uid:
        cause = (
            "metadata.uid",
            "FieldValueInvalid",
            f"Invalid value: {json.dumps(wanted)}: field is immutable",
        )
        raise invalid(call.about, (cause,))


def _go(value: Any) -> str:
    """A value as Go prints it: `map[data:map[a:1]]`."""
    match value:
        case dict():
            return "map[" + " ".join(f"{k}:{_go(v)}" for k, v in sorted(value.items())) + "]"
        case list():
            return "[" + " ".join(map(_go, value)) + "]"
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case _:
            return str(value)
