"""What each verb does to one object, as pure functions over JSON.

These are Kubernetes' own rules (k8s.io/apiserver registry/rest: BeforeCreate, BeforeUpdate, BeforeDelete), so
that the SQLite home gives the promises S2 to S4 that the other home cannot change.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any

from forebay.api.kinds import CustomResourceDefinition, Event, Namespace, Node, Pod
from forebay.api.meta import Json, Resource
from forebay.api.schema import causes
from forebay.errors import Clash, Invalid
from forebay.kit.clock import rfc3339, rfc3339_micro

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_NO_GENERATION = {
    "namespaces", "nodes", "services", "secrets", "configmaps", "persistentvolumes", "persistentvolumeclaims",
    "events", "serviceaccounts", "leases", "storageclasses", "roles", "rolebindings", "clusterroles",
    "clusterrolebindings", "horizontalpodautoscalers", "controllerrevisions", "endpoints", "resourcequotas",
    "limitranges",
}  # fmt: skip
_BUILT_IN_GROUPS = {
    "", "apps", "batch", "events.k8s.io", "discovery.k8s.io", "coordination.k8s.io", "storage.k8s.io",
    "autoscaling", "rbac.authorization.k8s.io",
}  # fmt: skip


def counts_generations(kind: type[Resource]) -> bool:
    """Whether objects of this kind carry metadata.generation (custom kinds always do)."""
    return not (kind.group in _BUILT_IN_GROUPS and kind.plural in _NO_GENERATION)


def creation_time(kind: type[Resource], now: datetime) -> str:
    """metadata.creationTimestamp: whole seconds; events, many of one second, are sorted by it."""
    return rfc3339_micro(now) if kind is Event else rfc3339(now)


def qualified(kind: type[Resource]) -> str:
    """`deployments.apps`, as error messages name a resource."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def new_object(kind: type[Resource], raw: Json, *, uid: str, now: str) -> Json:
    """The object as it is before defaults: names drawn, server-owned fields set, status dropped."""
    raw = json.loads(json.dumps(raw))
    raw["apiVersion"], raw["kind"] = kind.api_version, kind.kind
    meta = raw.setdefault("metadata", {})
    if meta.get("resourceVersion"):
        raise Invalid("resourceVersion should not be set on objects to be created", reason="BadRequest")
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = meta["generateName"][:58] + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))
    for field in (*SERVER_OWNED, "selfLink", "managedFields", "resourceVersion"):
        meta.pop(field, None)
    if not kind.namespaced:
        meta.pop("namespace", None)
    meta["uid"], meta["creationTimestamp"] = uid, now
    if counts_generations(kind):
        meta["generation"] = 1
    if kind.has_status and kind is not Node:  # a kubelet registers its Node together with its status
        raw.pop("status", None)
    return raw


def updated_object(kind: type[Resource], new: Json, old: Json) -> Json:
    """`new` as it may replace `old`: server-owned fields and the status are the old ones. Raises Clash,
    Invalid.
    """
    new = json.loads(json.dumps(new))
    meta, was = new.setdefault("metadata", {}), old["metadata"]
    check_preconditions(kind, meta, was)
    check_marks(kind, meta, was)
    new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
    for field in (*SERVER_OWNED, "namespace", "name", "resourceVersion"):
        meta.pop(field, None)
        if field in was:
            meta[field] = was[field]
    meta.pop("managedFields", None)
    if kind.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if was.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or ()) - set(was.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{name}"' for name in added)
            told = "no new finalizers can be added if the object is being deleted, found new finalizers"
            message = f"{told} []string{{{listed}}}"
            raise Invalid(
                message, causes=(("metadata.finalizers", "FieldValueForbidden", f"Forbidden: {message}"),)
            )
    return new


def check_preconditions(kind: type[Resource], meta: Json, was: Json) -> None:
    """Raise Clash when the writer looked at another object (uid) or an older one (resourceVersion)."""
    name = was["name"]
    if meta.get("uid") and meta["uid"] != was["uid"]:
        raise Clash(
            f'Operation cannot be fulfilled on {qualified(kind)} "{name}": Precondition failed: '
            f"UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
        )
    if meta.get("resourceVersion") and str(meta["resourceVersion"]) != str(was["resourceVersion"]):
        raise Clash(
            f'Operation cannot be fulfilled on {qualified(kind)} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )


def check_marks(kind: type[Resource], meta: Json, was: Json) -> None:
    """Who deletes, and how long it may take, is the server's to write. Raises Invalid."""
    told = "field is immutable"
    moved = [
        causes.invalid(f"metadata.{field}", meta[field], told)
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds")
        if meta.get(field) is not None and meta[field] != was.get(field) and not was.get("deletionTimestamp")
    ]
    if moved:
        raise causes.refusal(kind, str(was["name"]), moved)


def with_status(new: Json, old: Json) -> Json:
    """`old` with the status of `new`."""
    out: Json = json.loads(json.dumps(old))
    if "status" in new:
        out["status"] = json.loads(json.dumps(new["status"]))
    else:
        out.pop("status", None)
    return out


def _body(kind: type[Resource], raw: Json) -> Json:
    body = {k: v for k, v in raw.items() if k not in ("metadata", "status")}
    if kind is Pod:  # binding is no change of what was asked for
        body["spec"] = {k: v for k, v in (body.get("spec") or {}).items() if k != "nodeName"}
    return body


def bumped(kind: type[Resource], new: Json, old: Json) -> Json:
    """`new` with its generation raised when something other than metadata and status differs from `old`."""
    if counts_generations(kind) and _body(kind, new) != _body(kind, old):
        new["metadata"]["generation"] = int(old["metadata"].get("generation", 1)) + 1
    return new


def holds(kind: type[Resource], raw: Json) -> bool:
    """Whether something still keeps a dying object: finalizers, a namespace's content, a pod's grace."""
    if raw["metadata"].get("finalizers"):
        return True
    if kind is Namespace and (raw.get("spec") or {}).get("finalizers"):
        return True
    return kind is Pod and int(raw["metadata"].get("deletionGracePeriodSeconds") or 0) > 0


def _grace(kind: type[Resource], raw: Json, grace_s: int | None) -> int:
    if kind is not Pod:
        return 0
    spec, phase = raw.get("spec") or {}, (raw.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0  # nobody would end it: there is no process
    if grace_s is not None:
        return grace_s
    return int(spec.get("terminationGracePeriodSeconds", 30))


def marked_for_deletion(
    kind: type[Resource], old: Json, *, propagation: str, grace_s: int | None, now: str
) -> Json:
    """`old` with the deletion mark (and the finalizer that the propagation policy asks for)."""
    new: Json = json.loads(json.dumps(old))
    meta: dict[str, Any] = new["metadata"]
    grace = _grace(kind, old, grace_s)
    finalizers = [f for f in meta.get("finalizers") or [] if f not in (FOREGROUND, ORPHAN)]
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
    if not meta.get("deletionTimestamp"):
        if wanted:
            finalizers.append(wanted)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        meta["deletionTimestamp"] = now
        if kind not in (Namespace, CustomResourceDefinition):  # their registries set the mark alone
            meta["deletionGracePeriodSeconds"] = grace
        if counts_generations(kind) and kind is not CustomResourceDefinition:
            meta["generation"] = int(meta.get("generation", 1)) + 1
        if kind is Namespace:
            new.setdefault("status", {})["phase"] = "Terminating"
    elif kind is Pod and grace < int(meta.get("deletionGracePeriodSeconds") or 0):
        meta["deletionGracePeriodSeconds"] = grace
    return new
