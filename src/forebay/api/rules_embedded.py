"""Kubernetes' objects inside our kinds: volume templates, pods' and containers' fields have Kubernetes'
types.

Our schemas keep them as they are, because Kubernetes' own are long; KServe's have them whole and refuse the
same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from forebay.api import kinds, ours
from forebay.api.admission import Review
from forebay.api.meta import Json
from forebay.api.schema import check_types
from forebay.api.schema.causes import Cause, type_invalid
from forebay.api.states import LEGACY_PREDICTORS
from forebay.errors import Invalid

_POD, _CONTAINER = "core.v1.PodSpec", "core.v1.Container"
_RUNTIMES = (kinds.ServingRuntime, kinds.ClusterServingRuntime)


def embedded(review: Review) -> Iterable[Cause]:
    """What of an object's embedded parts has another type than Kubernetes gives it."""
    if review.verb not in ("create", "update"):
        return
    spec = review.new.get("spec")
    if not isinstance(spec, dict):
        return
    for path, part, struct in _parts(review.kind, spec):
        yield from _causes(path, part, struct)


def _parts(kind: type[Any], spec: Json) -> Iterator[tuple[str, Any, str]]:
    """Path, value and Go type of every embedded part."""
    if kind is kinds.LocalModelNodeGroup:
        yield "spec.persistentVolumeSpec", spec.get("persistentVolumeSpec"), "core.v1.PersistentVolumeSpec"
        claim = "core.v1.PersistentVolumeClaimSpec"
        yield "spec.persistentVolumeClaimSpec", spec.get("persistentVolumeClaimSpec"), claim
    elif kind is kinds.ClusterStorageContainer:
        yield "spec.container", spec.get("container"), _CONTAINER
    elif kind in _RUNTIMES:
        yield "spec", _only(spec, ("containers", *ours.pod_keys())), _POD
    elif kind is kinds.InferenceService and isinstance(spec.get("predictor"), dict):
        predictor, path = spec["predictor"], "spec.predictor"
        yield path, _only(predictor, ("containers", *ours.pod_keys())), _POD
        strategy = predictor.get("deploymentStrategy")
        yield f"{path}.deploymentStrategy", strategy, "apps.v1.DeploymentStrategy"
        for name in ("model", *LEGACY_PREDICTORS):
            if isinstance(predictor.get(name), dict):
                yield f"{path}.{name}", _only(predictor[name], ours.container_keys()), _CONTAINER


def _only(raw: Json, names: Iterable[str]) -> Json:
    return {name: raw[name] for name in names if name in raw}


def _causes(path: str, part: Any, struct: str) -> Iterator[Cause]:
    if part is None:
        return
    try:
        check_types(part, struct)
    except Invalid as error:
        yield path, "FieldValueTypeInvalid", "Invalid value: " + error.message.partition(": ")[2]
        return
    yield from (type_invalid(where, None, "must be of type object: null") for where in _nulls(path, part))


def _nulls(path: str, node: Any) -> Iterator[str]:
    """Where a list holds nothing in the place of an entry."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _nulls(f"{path}.{name}", value)
    elif isinstance(node, list):
        for at, value in enumerate(node):
            if value is None:
                yield f"{path}[{at}]"
            yield from _nulls(f"{path}[{at}]", value)
