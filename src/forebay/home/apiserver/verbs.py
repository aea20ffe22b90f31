"""get, list, create, update, delete and deletecollection."""

from __future__ import annotations

from starlette.responses import Response

from forebay.api import schema
from forebay.api.kinds import Namespace
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent
from forebay.home.apiserver import bodies, crds, options, output, selection
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.status import About, Refusal, bad_request, invalid, not_found, success

_RETURNED_WHEN_DELETED = {
    "pods",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
}
DELETED_PAGE = 500


async def get(call: Call) -> Response:
    """One object."""
    return output.one(call, (await call.api.store.get(call.served.stored, call.key)).raw)


async def list_(call: Call) -> Response:
    """A page of objects."""
    query, kind = call.query, call.served.kind
    chosen = selection.where(kind, call.op.namespace if kind.namespaced else "", "", dict(query.values))
    check_revision(call)
    limit = query.number("limit") or 0
    page = await call.api.store.list(
        call.served.stored, chosen, limit=max(0, limit), after=query.text("continue")
    )
    meta: Json = {"resourceVersion": page.revision, **({"continue": page.more} if page.more else {})}
    return output.many(call, page.items, meta)


def check_revision(call: Call) -> None:
    """Refuse what a list's resourceVersion and resourceVersionMatch cannot mean. Raises Refusal."""
    revision, match = call.query.text("resourceVersion"), call.query.text("resourceVersionMatch")
    about = About(group="meta.k8s.io", kind="ListOptions")
    if match and not revision and not call.query.flag("sendInitialEvents"):
        message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", message),))
    if match and match not in ("Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise invalid(about, (("resourceVersionMatch", "FieldValueNotSupported", message),))
    if revision and not (revision.isascii() and revision.isdigit() and len(revision) < 19):
        message = f'Invalid value: "{revision}": strconv.ParseUint: parsing "{revision}": invalid syntax'
        raise invalid(about, (("resourceVersion", "FieldValueInvalid", message),))
    now = int(call.api.store.revision())
    if int(revision or 0) > now:
        message = f"Too large resource version: {revision}, current: {now}"
        cause = ("", "ResourceVersionTooLarge", "Too large resource version")
        raise Refusal("Timeout", message, causes=(cause,), retry_after_s=1)
    if match == "Exact" and int(revision) < now:
        raise Refusal("Expired", "The provided resource version is too old.")


async def create(call: Call) -> Response:
    """A new object of the body."""
    kind = call.served.kind
    if kind.namespaced and not call.op.namespace:
        raise Refusal("MethodNotAllowed", "the server does not allow this method on the requested resource")
    dry = call.query.dry_run("CreateOptions")
    raw = await read_item(call, "CreateOptions")
    if kind.namespaced:
        await check_namespace(call, call.op.namespace)
    made = await call.api.store.create(call.served.stored(call.served.from_wire(raw)), dry_run=dry)
    if not dry:
        made = await crds.after_write(call.api, made)
    return output.one(call, made.raw, code=201)


async def check_namespace(call: Call, namespace: str) -> None:
    """Kubernetes' NamespaceLifecycle: content needs a namespace that is there and stays. Raises Refusal."""
    try:
        found = await call.api.store.get(Namespace, Key("", namespace))
    except Absent as error:
        raise not_found(About.of(Namespace, namespace)) from error
    if found.deleting:
        about = About.of(call.served.kind, call.op.name)
        told = f"unable to create new content in namespace {namespace} because it is being terminated"
        qualified = f"{about.plural}.{about.group}" if about.group else about.plural
        cause = ("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")
        raise Refusal(
            "Forbidden", f'{qualified} "{about.name}" is forbidden: {told}', about=about, causes=(cause,)
        )


async def read_item(call: Call, options_type: str) -> Json:
    """The body as an object of the path's kind, its fields checked. Raises Refusal, Invalid."""
    validation = call.query.field_validation(options_type)
    raw, duplicates = await bodies.read_object(call.request)
    if not raw:
        raise bad_request("Required body is missing: an object is expected")
    check_identity(call, raw)
    check_fields(call, raw, duplicates, validation)
    return raw


def check_identity(call: Call, raw: Json) -> None:
    """The body names the kind, the namespace and the object that the path names; what is missing is added."""
    kind = call.served.kind
    said = (raw.setdefault("apiVersion", kind.api_version), raw.setdefault("kind", kind.kind))
    if said != (kind.api_version, kind.kind):
        raise bad_request(
            f'{said[1]} in version "{str(said[0]).rpartition("/")[2]}" cannot be handled as a {kind.kind}: '
            f"the path is for {kind.api_version}, kind {kind.kind}"
        )
    meta = raw.setdefault("metadata", {})
    if meta is None:
        meta = raw["metadata"] = {}
    if not isinstance(meta, dict):
        raise bad_request(f"{kind.kind} cannot be read: metadata is no object")
    if kind.namespaced:
        if meta.setdefault("namespace", call.op.namespace) not in ("", call.op.namespace):
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = call.op.namespace
    elif meta.get("namespace"):
        raise bad_request("namespace may not be set on an object that has none")
    if call.op.name and meta.setdefault("name", call.op.name) != call.op.name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({call.op.name})"
        )


def check_fields(call: Call, raw: Json, duplicates: list[str], validation: str) -> None:
    """Types as Go decodes them; unknown and duplicate fields refused or warned of. Raises Invalid."""
    kind = call.served.kind
    schema.check_types(raw, kind)
    if validation == "Ignore":
        return
    sentences = duplicates + schema.unknown_fields(raw, kind)
    if sentences and validation == "Strict":
        raise schema.strict_error(kind, sentences)
    call.warnings += sentences


async def update(call: Call) -> Response:
    """Replace an object, or its status."""
    dry = call.query.dry_run("UpdateOptions")
    raw = await read_item(call, "UpdateOptions")
    check_has_revision(call, raw)
    return output.one(call, (await store_update(call, raw, dry_run=dry)).raw)


def check_has_revision(call: Call, raw: Json) -> None:
    """A custom object is never replaced blindly. Raises Refusal (422)."""
    if not call.served.builtin and not raw["metadata"].get("resourceVersion"):
        cause = (
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0x0: must be specified for an update",
        )
        raise invalid(call.about, (cause,))


async def store_update(call: Call, raw: Json, *, dry_run: bool) -> Resource:
    """Write `raw` (wire form) over the stored object, through the path's subresource."""
    item = call.served.stored(call.served.from_wire(raw))
    if call.op.subresource == "status":
        return await call.api.store.update_status(item, dry_run=dry_run)
    stored = await call.api.store.update(item, dry_run=dry_run)
    return stored if dry_run else await crds.after_write(call.api, stored)


async def delete(call: Call) -> Response:
    """Remove one object, or mark it."""
    asked = await read_deletion(call)
    kind = call.served.stored
    last = await _delete(call, call.key, asked)
    there = call.api.store.text(kind, call.key) is not None and not asked.dry_run
    if there or kind.plural in _RETURNED_WHEN_DELETED:
        return output.one(call, last.raw)
    return output.respond(
        success(kind=call.served.kind, name=last.name, uid=last.uid), warnings=call.warnings
    )


async def read_deletion(call: Call) -> options.Deletion:
    """The options of a deletion, from the body or the query. Raises Refusal."""
    body, _ = await bodies.read_object(call.request)
    if body:
        schema.check_types(body, "meta.v1.DeleteOptions")
    return options.deletion(call.query, body)


async def _delete(call: Call, key: Key, asked: options.Deletion) -> Resource:
    last = await call.api.store.delete(
        call.served.stored, key, uid=asked.uid or None, propagation=asked.propagation, grace_s=asked.grace_s,
        dry_run=asked.dry_run, revision=asked.revision,
    )  # fmt: skip
    if not asked.dry_run:
        await crds.after_delete(call.api, last)
    return last


async def deletecollection(call: Call) -> Response:
    """Delete all that the selectors match; answers what was there."""
    kind = call.served.kind
    if kind.namespaced and not call.op.namespace:
        raise Refusal("MethodNotAllowed", "the server does not allow this method on the requested resource")
    chosen = selection.where(kind, call.op.namespace if kind.namespaced else "", "", dict(call.query.values))
    asked = await read_deletion(call)
    page = await call.api.store.list(call.served.stored, chosen, limit=call.query.number("limit") or 0)
    for item in page.items:
        try:
            await _delete(call, item.key, asked)
        except Absent:
            continue  # someone else was faster; it is gone, as was asked
    return output.many(call, page.items, {"resourceVersion": page.revision})
