"""get, list, create, update, delete and deletecollection."""

from __future__ import annotations

import json

from starlette.responses import Response

from forebay.api import schema
from forebay.api.kinds import CustomResourceDefinition, Namespace
from forebay.api.meta import Json, Key, Resource
from forebay.api.schema import cel
from forebay.api.schema.advice import advice
from forebay.errors import Absent, Clash, Invalid
from forebay.home.apiserver import bodies, crds, host_paths, options, output, selection
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.status import About, Refusal, bad_request, invalid, not_found, success
from forebay.store.objects import holds

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})  # as in Kubernetes' NamespaceLifecycle
_RETURNED_WHEN_DELETED = {
    "pods",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
}
DELETED_PAGE = 500
_FORGOTTEN = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)


async def get(call: Call) -> Response:
    """One object; a revision that is not there yet is refused, as for lists."""
    if (asked := call.query.text("resourceVersion")).isdecimal():
        _check_reached(call, asked)
    return output.one(call, (await call.api.store.get(call.served.stored, call.key)).raw)


async def list_(call: Call) -> Response:
    """A page of objects."""
    query, kind = call.query, call.served.kind
    chosen = selection.where(kind, call.op.namespace if kind.namespaced else "", "", dict(query.values))
    check_revision(call)
    limit = query.number("limit") or 0
    try:
        page = await call.api.store.list(
            call.served.stored, chosen, limit=max(0, limit), after=query.text("continue"), at=_moment(call)
        )
    except Clash as error:
        told = _FORGOTTEN if query.text("continue") else "The provided resource version is too old."
        raise Refusal("Expired", told) from error
    meta: Json = {"resourceVersion": page.revision, **({"continue": page.more} if page.more else {})}
    if page.more and not (chosen.labels or chosen.fields):
        meta["remainingItemCount"] = page.left
    return output.many(call, page.items, meta)


def _moment(call: Call) -> str:
    """The revision at which a list is wanted, or "" for now."""
    exact = call.query.text("resourceVersionMatch") == "Exact"
    return call.query.text("resourceVersion") if exact else ""


def check_revision(call: Call) -> None:
    """Refuse what a list's resourceVersion and resourceVersionMatch cannot mean. Raises Refusal."""
    revision, match = call.query.text("resourceVersion"), call.query.text("resourceVersionMatch")
    about = About(group="meta.k8s.io", kind="ListOptions")
    if match and call.query.text("continue"):
        message = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", message),))
    if match == "Exact" and revision == "0":
        message = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", message),))
    if revision not in ("", "0") and call.query.text("continue"):
        raise bad_request("specifying resource version is not allowed when using continue")
    if match and not revision and not call.query.flag("sendInitialEvents"):
        message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", message),))
    if match and match not in ("Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise invalid(about, (("resourceVersionMatch", "FieldValueNotSupported", message),))
    if revision and not (revision.isascii() and revision.isdigit() and len(revision) < 19):
        message = f'Invalid value: "{revision}": strconv.ParseUint: parsing "{revision}": invalid syntax'
        raise bad_request(f"invalid resource version: resourceVersion: {message}")
    _check_reached(call, revision)


def _check_reached(call: Call, revision: str) -> None:
    """Raises Refusal (504) for a revision that lies ahead."""
    now = int(call.api.store.revision())
    if len(revision) < 20 and int(revision or 0) > now:
        message = f"Timeout: Too large resource version: {revision}, current: {now}"
        cause = ("", "ResourceVersionTooLarge", "Too large resource version")
        raise Refusal("Timeout", message, causes=(cause,), retry_after_s=1)


async def create(call: Call) -> Response:
    """A new object of the body."""
    kind = call.served.kind
    if kind.namespaced and not call.op.namespace:
        raise Refusal("MethodNotAllowed", "the server does not allow this method on the requested resource")
    dry = call.query.dry_run("CreateOptions")
    raw = await read_item(call, "CreateOptions")
    if kind.namespaced:
        await check_namespace(call, call.op.namespace, raw["metadata"].get("name", ""))
    await host_paths.check(call, raw)
    made = await call.api.store.create(call.served.stored(call.served.from_wire(raw)), dry_run=dry)
    if call.served.builtin:
        call.warnings.extend(advice(made.raw, call.served.kind))
    if not dry:
        made = await crds.after_write(call.api, made)
    return output.one(call, made.raw, code=201)


async def check_namespace(call: Call, namespace: str, name: str) -> None:
    """Kubernetes' NamespaceLifecycle: content needs a namespace that is there and stays. Raises Refusal."""
    try:
        found = await call.api.store.get(Namespace, Key("", namespace))
    except Absent as error:
        raise not_found(About.of(Namespace, namespace)) from error
    if found.deleting:
        about = About.of(call.served.kind, str(name))
        told = f"unable to create new content in namespace {namespace} because it is being terminated"
        qualified = f"{about.plural}.{about.group}" if about.group else about.plural
        cause = ("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")
        raise Refusal(
            "Forbidden", f'{qualified} "{about.name}" is forbidden: {told}', about=about, causes=(cause,)
        )


async def read_item(call: Call, options_type: str) -> Json:
    """The body as an object of the path's kind, its fields checked. Raises Refusal, Invalid."""
    validation = call.query.field_validation(options_type)
    try:
        raw, duplicates = await bodies.read_object(call.request)
        if not raw:
            raise bad_request(
                "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
            )
    except (Refusal, Invalid) as error:
        if error.reason != "BadRequest":
            raise
        kind = call.served.kind.kind
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {error.message}"
        ) from error
    check_kind(call, raw)
    if raw.get("metadata") is not None and not isinstance(raw["metadata"], dict):
        schema.check_types(raw, call.served.kind)
    check_identity(call, raw)
    check_fields(call, raw, duplicates, validation)
    if call.served.kind is CustomResourceDefinition:
        call.warnings.extend(cel.warnings(raw))
    return raw


def check_kind(call: Call, raw: Json) -> None:
    """The body is of the path's kind; a built-in kind need not say so. Raises Refusal."""
    kind = call.served.kind
    if not call.served.builtin and not raw.get("kind"):
        told = f"(must be of type {kind.kind}): Object 'Kind' is missing in '{str(raw)[:200]}'"
        raise bad_request(f"the object provided is unrecognized {told}")
    api, said = raw.setdefault("apiVersion", kind.api_version), raw.setdefault("kind", kind.kind)
    if (api, said) == (kind.api_version, kind.kind):
        return
    version = str(api).rpartition("/")[2]
    if call.served.builtin:
        told = f"converting ({version}.{said}) to ({kind.group or 'core'}.{kind.kind}): unknown conversion"
        raise bad_request(f'{said} in version "{version}" cannot be handled as a {kind.kind}: {told}')
    if api != kind.api_version:
        told = f"does not match the expected API version ({kind.api_version})"
        raise bad_request(f"the API version in the data ({api}) {told}")
    cause = ("kind", "FieldValueInvalid", f'Invalid value: "{said}": must be {kind.kind}')
    raise invalid(About(kind.group, kind.plural, str(said), call.op.name), (cause,))


def check_identity(call: Call, raw: Json) -> None:
    """The body names the namespace and the object that the path names. Raises Refusal (400)."""
    kind = call.served.kind
    if raw.get("metadata") is None:
        raw["metadata"] = {}
    meta = raw["metadata"]
    if not isinstance(meta, dict):
        raise bad_request(f"{kind.kind} cannot be read: metadata is no object")
    if call.op.name and not meta.get("name"):
        told = f"the name of the object ({call.op.name} based on URL) was undeterminable"
        raise bad_request(f"{told}: name must be provided")
    if call.op.name and meta["name"] != call.op.name:
        told = f"the name of the object ({meta['name']})"
        raise bad_request(f"{told} does not match the name on the URL ({call.op.name})")
    if kind.namespaced:
        if meta.setdefault("namespace", call.op.namespace) not in ("", call.op.namespace):
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = call.op.namespace
    elif meta.get("namespace"):
        raise bad_request("namespace may not be set on an object that has none")


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
        message = "Invalid value: 0: must be specified for an update"
        cause = ("metadata.resourceVersion", "FieldValueInvalid", message)
        kind = call.served.kind
        raise invalid(About(kind.group, kind.plural, kind.plural, call.op.name), (cause,))


async def store_update(call: Call, raw: Json, *, dry_run: bool) -> Resource:
    """Write `raw` (wire form) over the stored object, through the path's subresource."""
    await host_paths.check(call, raw)
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
    stays = holds(kind, last.raw) and not asked.dry_run
    if stays or kind.plural in _RETURNED_WHEN_DELETED:
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
    if call.served.stored is Namespace and key.name in _IMMORTAL:
        told = f'namespaces "{key.name}" is forbidden: this namespace may not be deleted'
        raise Refusal("Forbidden", told, about=About.of(Namespace, key.name))
    try:
        last = await call.api.store.delete(
            call.served.stored, key, uid=asked.uid or None, propagation=asked.propagation,
            grace_s=asked.grace_s, dry_run=asked.dry_run, revision=asked.revision,
        )  # fmt: skip
    except Clash as error:
        about = About(plural=call.served.kind.kind, name=key.name)
        raise Refusal("Conflict", _precondition(call, key, asked), about=about) from error
    if not asked.dry_run:
        await crds.after_delete(call.api, last)
    return last


def _precondition(call: Call, key: Key, asked: options.Deletion) -> str:
    """Kubernetes' sentence for a deletion that meant another object, or an older one."""
    kind, text = call.served.kind.kind, call.api.store.text(call.served.stored, key)
    meta = json.loads(text)["metadata"] if text else {}
    told = f'Operation cannot be fulfilled on {kind} "{key.name}": the'
    if asked.uid and asked.uid != meta.get("uid"):
        return (
            f"{told} UID in the precondition ({asked.uid}) does not match the UID in record "
            f"({meta.get('uid')}). The object might have been deleted and then recreated"
        )
    return (
        f"{told} ResourceVersion in the precondition ({asked.revision}) does not match the ResourceVersion "
        f"in record ({meta.get('resourceVersion')}). The object might have been modified"
    )


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
