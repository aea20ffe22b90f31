"""Which nodes a pod or volume may use: node selectors, affinity, taints, as Kubernetes reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forebay.api.meta import Json, Resource


def matches_node(terms: Sequence[Mapping[str, Any]] | None, node: Resource) -> bool:
    """Whether one of the nodeSelectorTerms matches; no terms, or a term with no condition, match nothing."""
    return any(_term_matches(term, node) for term in terms or ())


def volume_allows(volume: Resource, node: Resource) -> bool:
    """Whether a PersistentVolume's nodeAffinity lets it be used on `node`; no affinity allows every node."""
    required = (volume.spec.get("nodeAffinity") or {}).get("required")
    return required is None or matches_node(required.get("nodeSelectorTerms"), node)


def pod_allows(pod_spec: Mapping[str, Any], node: Resource) -> bool:
    """Whether nodeSelector and required node affinity of a pod spec both match."""
    labels = node.labels
    if any(labels.get(key) != value for key, value in (pod_spec.get("nodeSelector") or {}).items()):
        return False
    required = _node_affinity(pod_spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_node(required.get("nodeSelectorTerms"), node)


def preference(pod_spec: Mapping[str, Any], node: Resource) -> int:
    """Sum of the weights of the preferred terms that match."""
    preferred = _node_affinity(pod_spec).get("preferredDuringSchedulingIgnoredDuringExecution") or []
    return sum(int(p.get("weight", 0)) for p in preferred if _term_matches(p.get("preference") or {}, node))


def tolerates(tolerations: Iterable[Mapping[str, Any]] | None, taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers the taint."""
    return any(_covers(toleration, taint) for toleration in tolerations or ())


def untolerated(pod_spec: Mapping[str, Any], node: Resource, effects: tuple[str, ...]) -> Json | None:
    """The first taint with one of the effects that the pod does not tolerate, or None."""
    for taint in node.spec.get("taints") or []:
        if taint.get("effect") in effects and not tolerates(pod_spec.get("tolerations"), taint):
            return dict(taint)
    return None


def ready(node: Resource) -> bool:
    """Whether the node's Ready condition is True."""
    return any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in node.status.get("conditions") or []
    )


def _node_affinity(pod_spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}


def _term_matches(term: Mapping[str, Any], node: Resource) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    named = {"metadata.name": node.name}
    return all(_meets(e, node.labels) for e in expressions) and all(_meets(f, named) for f in fields)


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    there, values = labels.get(expression.get("key", "")), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return there is not None and there in values
        case "NotIn":
            return there is None or there not in values
        case "Exists":
            return there is not None
        case "DoesNotExist":
            return there is None
        case "Gt":
            return _apart(there, values) > 0
        case "Lt":
            return _apart(there, values) < 0
    return False


def _apart(text: str | None, values: Sequence[str]) -> int:
    """Label minus the one value, as integers; 0 (neither greater nor less) when either is no integer."""
    try:
        return int(text or "") - int(values[0])
    except (ValueError, IndexError):
        return 0


def _covers(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
