"""Subresources that are no plain part of an object: scale, binding, eviction, finalize."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from forebay.api import schema, selectors
from forebay.api.kinds import Namespace, Pod
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Clash
from forebay.home.apiserver import bodies, options, output, patch, tables, verbs
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.registry import Served
from forebay.home.apiserver.status import About, Refusal, bad_request, done, invalid, no_such_method
from forebay.store.protocol import edit

_DEFAULT_PATHS = (".spec.replicas", ".status.replicas", "")


def scale_paths(kind: type[Resource]) -> tuple[str, str, str]:
    """JSON paths of (wanted replicas, replicas, label selector as text).

    The last is "" where the kind keeps its selector as an object, as the built-in kinds do.
    """
    declared: Json | None = getattr(kind, "scale", None)
    if not declared:
        return _DEFAULT_PATHS
    return declared["specReplicasPath"], declared["statusReplicasPath"], declared.get("labelSelectorPath", "")


def _at(raw: Json, path: str) -> Any:
    found: Any = raw
    for step in filter(None, path.split(".")):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def scale_of(kind: type[Resource], raw: Json) -> Json:
    """The autoscaling/v1 Scale of an object."""
    wanted, actual, selector = scale_paths(kind)
    meta = {k: v for k, v in raw["metadata"].items() if k in
            ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}  # fmt: skip
    text = _at(raw, selector) if selector else selectors.as_text((raw.get("spec") or {}).get("selector"))
    status: Json = {"replicas": _at(raw, actual) or 0, **({"selector": text} if text else {})}
    spec = {"replicas": _at(raw, wanted)} if _at(raw, wanted) is not None else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


async def scale(call: Call) -> Response:
    """GET, PUT and PATCH of the number of replicas."""
    kind, store = call.served.stored, call.api.store
    if call.op.verb == "get":
        return _scaled(call, await store.get(kind, call.key))
    if call.op.verb == "update":
        raw, _ = await bodies.read_object(call.request)
        verbs.check_identity(call, raw)
        return _scaled(call, await _set(call, raw))
    if call.op.verb != "patch":
        raise no_such_method()
    media, change = await patch.read_patch(call)
    for attempt in range(patch.ATTEMPTS_MAX):
        current = scale_of(kind, (await store.get(kind, call.key)).raw)
        wanted = (
            patch.apply_json_patch(current, change) if media == patch.JSON_PATCH else _merged(current, change)
        )
        try:
            return _scaled(call, await _set(call, wanted))
        except Clash:
            if attempt + 1 == patch.ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable")


def _scaled(call: Call, item: Resource) -> Response:
    """The scale of an object in the form that was asked for."""
    shown = replace(call, served=Served(tables.SCALE, tables.SCALE))
    return output.one(shown, scale_of(call.served.stored, item.raw))


def _merged(current: Json, change: Json) -> Json:
    merged: Json = schema.json_merge(current, change)
    return merged


async def _set(call: Call, asked: Json) -> Resource:
    options_type = "PatchOptions" if call.op.verb == "patch" else "UpdateOptions"
    dry = call.query.dry_run(options_type)
    spec, meta = asked.get("spec"), asked.get("metadata") or {}
    replicas = (spec.get("replicas") or 0) if isinstance(spec, dict) else 0
    if type(replicas) is not int or replicas >= 1 << 31 or not isinstance(meta, dict):
        raise bad_request("Scale cannot be read: spec.replicas is no whole number")
    if replicas < 0:
        told = f"Invalid value: {replicas}: must be greater than or equal to 0"
        about = About("autoscaling", "scales", "Scale", call.op.name)
        raise invalid(about, (("spec.replicas", "FieldValueInvalid", told),))
    item = (await call.api.store.get(call.served.stored, call.key)).copy()
    if meta.get("resourceVersion"):
        item.meta["resourceVersion"] = str(meta["resourceVersion"])
    at: Json = item.raw
    *parents, last = scale_paths(call.served.stored)[0].strip(".").split(".")
    for step in parents:
        at = at.setdefault(step, {})
    at[last] = replicas
    return await call.api.store.update(item, dry_run=dry)


async def bind(call: Call) -> Response:
    """POST pods/NAME/binding: put a pod on a node."""
    raw, _ = await bodies.read_object(call.request)
    _same_name(call, raw, "Binding")
    target = raw.get("target")
    node = str(target.get("name") or "") if isinstance(target, dict) else ""
    if not node:
        told = "Required value"
        raise invalid(
            About("", "bindings", "Binding", call.op.name), (("target.name", "FieldValueRequired", told),)
        )
    if call.query.dry_run("CreateOptions"):
        await call.api.store.get(Pod, call.key)
        return output.respond(done(), code=201)
    await edit(call.api.store, Pod, call.key, lambda pod: _place(pod, node))
    return output.respond(done(), code=201)


def _place(pod: Pod, node: str) -> None:
    there = pod.spec.get("nodeName")
    if there:
        told = f'pod {pod.name} is already assigned to node "{there}"'
        told = f'Operation cannot be fulfilled on pods/binding "{pod.name}": {told}'
        raise Refusal("Conflict", told, about=About("", "pods/binding", "Binding", pod.name))
    pod.raw["spec"]["nodeName"] = node


def _same_name(call: Call, raw: Json, kind: str) -> None:
    meta = raw.get("metadata")
    if not isinstance(meta, dict) or meta.get("name") != call.op.name:
        raise bad_request(f"name in URL does not match name in {kind} object")


async def evict(call: Call) -> Response:
    """POST pods/NAME/eviction: a deletion that a disruption budget may refuse; there are no budgets here."""
    raw, _ = await bodies.read_object(call.request)
    _same_name(call, raw, "Eviction")
    asked = options.deletion(call.query, raw.get("deleteOptions") or {})
    await call.api.store.delete(
        Pod, call.key, uid=asked.uid or None, propagation=asked.propagation, grace_s=asked.grace_s,
        dry_run=asked.dry_run,
    )  # fmt: skip
    return output.respond(done(), code=201)


async def finalize(call: Call) -> Response:
    """PUT namespaces/NAME/finalize: replace what holds a namespace."""
    raw, _ = await bodies.read_object(call.request)
    spec = raw.get("spec") or {}
    wanted = spec.get("finalizers") or [] if isinstance(spec, dict) else []
    if not isinstance(wanted, list):
        raise bad_request("Namespace cannot be read: spec.finalizers is no list")

    def change(item: Namespace) -> None:
        item.raw.setdefault("spec", {})["finalizers"] = wanted

    item = await edit(call.api.store, Namespace, Key("", call.op.name), change)
    return output.one(call, item.raw)
