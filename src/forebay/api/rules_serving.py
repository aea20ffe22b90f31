"""Admission rules of the serving kinds: pure, over a snapshot of other objects.

Messages are KServe's where it has them. `CHECKS` goes to `forebay.api.admission.Rules(look, CHECKS)`; the
webhook of a cluster asks the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from forebay.api import kinds, names, quantity
from forebay.api.admission import Check, Look, Review
from forebay.api.meta import Json, Key, Resource
from forebay.api.rules_embedded import embedded
from forebay.api.schema.causes import Cause, invalid, missing
from forebay.api.states import ISVC_NAME_PATTERN
from forebay.errors import Denied, Invalid
from forebay.kit.redact import redacted

_CACHES = (kinds.LocalModelCache, kinds.LocalModelNamespaceCache)
_SIZES = {
    **dict.fromkeys(_CACHES, "modelSize"),
    kinds.LocalModelNodeGroup: "storageLimit",
}
_SERVICE_NAME_MAX = 53  # with "-predictor" it must still be a DNS label


def sources(review: Review) -> Iterable[Cause]:
    """A cache's URI: a known scheme, and one that can be downloaded."""
    if review.kind not in _CACHES or review.verb not in ("create", "update") or _leaving(review.new):
        return
    uri = str(_spec(review.new).get("sourceModelUri") or "")
    scheme, path = names.scheme_of(uri), "spec.sourceModelUri"
    if scheme == "pvc":
        yield invalid(
            path,
            uri,
            "a claim is mounted, not cached; use storageUri: pvc://<claim>/<path> in the "
            "InferenceService instead",
        )
    elif not _downloadable(uri, scheme, review.look):
        known = ", ".join(f"{s}://" for s in names.SCHEMES)
        yield invalid(
            path,
            uri,
            f"no source is known for it; known are {known} and what a ClusterStorageContainer supports",
        )
    elif review.verb == "create" and redacted(uri).startswith(f"{uri.partition('://')[0]}://***@"):
        yield invalid(
            path,
            redacted(uri),
            "holds a user or a password, and whoever may see caches reads it; keep them in a Secret",
        )
    elif not uri.partition("://")[2].strip("/"):
        yield invalid(path, uri, f"names no model; write for example {scheme}://owner/model")


def unique_source(review: Review) -> Iterable[Cause]:
    """Two cluster-wide caches of one URI are one too many. Raises Denied with KServe's sentence."""
    if review.kind is not kinds.LocalModelCache or review.verb not in ("create", "update"):
        return ()
    if _leaving(review.new):
        return ()
    uri, name = _spec(review.new).get("sourceModelUri"), review.new["metadata"].get("name")
    for other in review.look.list(kinds.LocalModelCache):
        same = str(_spec(other).get("sourceModelUri")).rstrip("/") == str(uri).rstrip("/")
        if other["metadata"].get("name") != name and same:  # a slash at the end names the same model
            raise Denied(
                f"LocalModelCache {other['metadata']['name']} has the same StorageURI {uri}",
                reason="Forbidden",
            )
    return ()


def groups_exist(review: Review) -> Iterable[Cause]:
    """Every node group of a namespaced cache must exist, as KServe asks. Of a cluster-wide one it may follow
    later (its condition says what is missing)."""
    if review.kind is not kinds.LocalModelNamespaceCache or review.verb not in ("create", "update"):
        return
    if _leaving(review.new):
        return
    for at, group in enumerate(_spec(review.new).get("nodeGroups") or ()):
        if review.look.get(kinds.LocalModelNodeGroup, Key("", str(group))) is None:
            path, reason, _ = missing(f"spec.nodeGroups[{at}]", group)
            yield path, reason, f"NodeGroup {group} not found: create the LocalModelNodeGroup first"


def not_in_use(review: Review) -> Iterable[Cause]:
    """A cache that a service uses stays. Raises Denied with KServe's sentence; looks at the services
    themselves.
    """
    if review.kind not in _CACHES or review.verb != "delete" or _leaving(review.new):
        return ()
    namespace, name = review.new["metadata"].get("namespace", ""), review.new["metadata"]["name"]
    shown = f"{namespace}/{name}" if namespace else name
    for service in review.look.list(kinds.InferenceService, namespace):
        meta = service["metadata"]
        labels = meta.get("labels") or {}
        if labels.get(names.LOCALMODEL) != names.label_value(name) or _leaving(service):
            continue
        if labels.get(names.LOCALMODEL_NAMESPACE, "") == namespace:
            user = f"{meta.get('namespace', '')}/{meta['name']}" if namespace else meta["name"]
            raise Denied(
                f"{review.kind.kind} {shown} is being used by InferenceService {user}", reason="Forbidden"
            )
    return ()


def group_not_in_use(review: Review) -> Iterable[Cause]:
    """A node group that a cache names stays: its agents hold the copies. Raises Denied."""
    if review.kind is not kinds.LocalModelNodeGroup or review.verb != "delete" or _leaving(review.new):
        return ()
    name = review.new["metadata"]["name"]
    for kind in _CACHES:
        for cache in review.look.list(kind):
            if name in (_spec(cache).get("nodeGroups") or ()) and not _leaving(cache):
                key = Key(cache["metadata"].get("namespace", ""), cache["metadata"]["name"])
                told = f"LocalModelNodeGroup {name} is being used by {kind.kind} {key}"
                raise Denied(told, reason="Forbidden")
    return ()


def sizes(review: Review) -> Iterable[Cause]:
    """A model and a group's room have more than no bytes; what an older server let in stays changeable."""
    field = _SIZES.get(review.kind)
    if field is None or review.verb not in ("create", "update") or _leaving(review.new):
        return
    given = _spec(review.new).get(field)
    if given is None or (review.old is not None and _spec(review.old).get(field) == given):
        return
    try:
        if quantity.parse(given) <= 0:
            yield invalid(f"spec.{field}", given, "must be greater than zero, for example 10Gi")
    except Invalid as error:
        yield invalid(f"spec.{field}", given, error.message)


def service_rules(review: Review) -> Iterable[Cause]:
    """InferenceService: its name, replica bounds and what must not stand together. Source: KServe's
    validation.
    """
    if review.kind is not kinds.InferenceService or review.verb not in ("create", "update"):
        return
    name = str(review.new["metadata"].get("name") or "")
    if not re.fullmatch(ISVC_NAME_PATTERN, name):
        yield invalid(
            "metadata.name",
            name,
            "the InferenceService name must consist of lower case alphanumeric "
            "characters or '-', start with a letter and end with a letter or digit "
            f"(regex used for validation is '{ISVC_NAME_PATTERN}')",
        )
    elif len(name) > _SERVICE_NAME_MAX:
        yield invalid("metadata.name", name, f"must be no more than {_SERVICE_NAME_MAX} characters")
    predictor = _spec(review.new).get("predictor")
    if isinstance(predictor, dict):
        yield from _predictor(predictor)


def _predictor(predictor: Json) -> Iterable[Cause]:
    path = "spec.predictor"
    least, most = predictor.get("minReplicas"), predictor.get("maxReplicas")
    if least is not None and least < 0:
        yield invalid(f"{path}.minReplicas", least, "MinReplicas cannot be less than 0")
    if most is not None and most < 0:
        yield invalid(f"{path}.maxReplicas", most, "MaxReplicas cannot be less than 0")
    if least is not None and most and least > most:
        yield invalid(f"{path}.minReplicas", least, "MinReplicas cannot be greater than MaxReplicas")
    if (predictor.get("containerConcurrency") or 0) < 0:
        yield invalid(
            f"{path}.containerConcurrency", predictor["containerConcurrency"], "must not be negative"
        )
    model = predictor.get("model") or {}
    if model.get("storageUri") and predictor.get("storageUris"):
        yield invalid(
            f"{path}.storageUris",
            len(predictor["storageUris"]),
            "storageUri and storageUris exclude each other",
        )
    if model.get("name"):
        yield invalid(
            f"{path}.model.name", model["name"], "must be empty; the container's name is kserve-container"
        )
    for at, entry in enumerate(predictor.get("storageUris") or ()):
        mount = str(entry.get("mountPath") or names.MODEL_MOUNT)
        if not mount.startswith("/") or len(mount) > 255 or ".." in mount.split("/"):
            yield invalid(
                f"{path}.storageUris[{at}].mountPath",
                mount,
                "must be an absolute path without '..', of at most 255 characters",
            )


def storage_containers(review: Review) -> Iterable[Cause]:
    """ClusterStorageContainer: a format says something, and its regex can be read."""
    if review.kind is not kinds.ClusterStorageContainer or review.verb not in ("create", "update"):
        return
    for at, entry in enumerate(_spec(review.new).get("supportedUriFormats") or ()):
        path = f"spec.supportedUriFormats[{at}]"
        if not entry.get("prefix") and not entry.get("regex"):
            yield invalid(path, "", "give a prefix or a regex")
        if entry.get("regex"):
            try:
                re.compile(str(entry["regex"]))
            except re.error as error:
                yield invalid(f"{path}.regex", entry["regex"], f"cannot be read: {error}")


CHECKS: Sequence[Check] = (
    embedded,
    sources,
    unique_source,
    groups_exist,
    not_in_use,
    group_not_in_use,
    sizes,
    service_rules,
    storage_containers,
)
"""All rules across objects, for forebay.api.admission.Rules."""


def _downloadable(uri: str, scheme: str, look: Look) -> bool:
    if scheme in names.SCHEMES:
        return True
    for container in look.list(kinds.ClusterStorageContainer):
        for entry in _spec(container).get("supportedUriFormats") or ():
            if entry.get("prefix") and uri.startswith(str(entry["prefix"])):
                return True
            try:
                if entry.get("regex") and re.search(str(entry["regex"]), uri):
                    return True
            except re.error:
                continue
    return False


def _spec(raw: Json) -> Json:
    return raw.get("spec") or {}


def _leaving(raw: Json) -> bool:
    return bool(raw["metadata"].get("deletionTimestamp"))


def subjects() -> tuple[type[Resource], ...]:
    """The kinds that some rule looks at (for the webhook's configuration)."""
    return (*_CACHES, kinds.LocalModelNodeGroup, kinds.InferenceService, kinds.ClusterStorageContainer)
