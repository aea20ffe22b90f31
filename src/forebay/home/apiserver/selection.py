"""Which objects a list, a watch or a collection's deletion is about: selectors and their checks; pure.

Source of the field names: the field label conversions of k8s.io/kubernetes, pkg/apis.
"""

from __future__ import annotations

from forebay.api import selectors
from forebay.api.kinds import EventV1
from forebay.api.meta import Json, Resource
from forebay.api.schema import is_builtin
from forebay.errors import Invalid
from forebay.home.apiserver import events
from forebay.home.apiserver.status import bad_request
from forebay.store.protocol import Where

_EVERY = frozenset({"metadata.name", "metadata.namespace"})
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT = frozenset({f"involvedObject.{f}" for f in _INVOLVED}) | {
    "reason",
    "reportingComponent",
    "source",
    "type",
}
_EVENT_V1 = frozenset({f"regarding.{f}" for f in _INVOLVED}) | {"reason", "reportingController", "type"}
_MORE: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset({
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    }),
    ("", "nodes"): frozenset({"spec.unschedulable"}),
    ("", "namespaces"): frozenset({"status.phase"}),
    ("", "secrets"): frozenset({"type"}),
    ("", "services"): frozenset({"spec.clusterIP", "spec.type"}),
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT_V1,
    ("batch", "jobs"): frozenset({"status.successful"}),
}  # fmt: skip
_STORED = {"source": "source.component", "status.successful": "status.succeeded"}
# Kinds whose conversion names the label in a short sentence; all others say which labels they know.
_SHORT_SENTENCE = frozenset({
    ("", "pods"), ("", "nodes"), ("", "namespaces"), ("", "secrets"), ("", "services"), ("", "events"),
    ("batch", "jobs"), ("events.k8s.io", "events"),
})  # fmt: skip


def where(kind: type[Resource], namespace: str, name: str, query: Json) -> Where:
    """The selection that a path and its query name. Raises Refusal (400)."""
    try:
        selectors.parse(query.get("labelSelector", ""))
        terms = selectors.parse_fields(query.get("fieldSelector", ""))
    except Invalid as error:
        raise bad_request(error.message) from error
    fields = [selectors.field_text(_stored(kind, t.key), t.operator, t.values[0]) for t in terms]
    return Where(namespace, name, query.get("labelSelector", ""), ",".join(fields))


def _stored(kind: type[Resource], label: str) -> str:
    place = (kind.group, kind.plural)
    if label not in _EVERY and label not in _MORE.get(place, ()) and label not in selectable(kind):
        if place in _SHORT_SENTENCE or not is_builtin(kind):
            raise bad_request(f"field label not supported: {label}")
        known = '"metadata.name", "metadata.namespace"'
        raise bad_request(f'"{label}" is not a known field selector: only {known}')
    if kind is EventV1:
        label = events.field_path(label)
    return _STORED.get(label, label)


def selectable(kind: type[Resource]) -> frozenset[str]:
    """Field labels that a posted definition declares (`selectableFields`)."""
    return frozenset(getattr(kind, "selectable_fields", ()))
