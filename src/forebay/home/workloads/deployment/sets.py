"""The ReplicaSets of a Deployment: which is the current one, its name, labels and revision; pure."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api.kinds import Deployment, ReplicaSet
from forebay.api.meta import Json, json_copy
from forebay.home.workloads import pods as p

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED, MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MOST,
    "deprecated.deployment.rollback.to",
}  # fmt: skip


def template_of(replica_set: ReplicaSet) -> Json:
    """The pod template as the Deployment gave it, without the hash label."""
    template = json_copy(replica_set.spec.get("template") or {})
    labels = (template.get("metadata") or {}).get("labels") or {}
    labels.pop(HASH, None)
    return _plain(template)


def _plain(template: Json) -> Json:
    """Without the empty fields of metadata that one side may carry and the other not."""
    meta = {name: value for name, value in (template.get("metadata") or {}).items() if value}
    return {**template, "metadata": meta}


def current(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The oldest set with the Deployment's template."""
    wanted = _plain(json_copy(deployment.spec["template"]))
    same = [rs for rs in sets if template_of(rs) == wanted and not rs.deleting]
    return min(same, key=lambda rs: (p.created(rs), rs.name), default=None)


def revision(replica_set: ReplicaSet) -> int:
    """The revision number it carries, 0 if none."""
    text = replica_set.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def size(replica_set: ReplicaSet) -> int:
    """Pods that it is asked to keep."""
    return int(replica_set.spec.get("replicas", 1))


def new_set(deployment: Deployment, taken: frozenset[str], number: int) -> tuple[ReplicaSet, int]:
    """The set for the Deployment's template with no pods yet, and the collision count its name needed."""
    collisions = int(deployment.status.get("collisionCount") or 0)
    template = json_copy(deployment.spec["template"])
    while (name := f"{deployment.name}-{p.template_hash(template, collisions)}") in taken:
        collisions += 1
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: name.rpartition("-")[2]}
    template.setdefault("metadata", {})["labels"] = labels
    selector = json_copy(deployment.spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: labels[HASH]}
    made = ReplicaSet.new(
        name,
        deployment.namespace,
        labels=labels,
        spec={"replicas": 0, "selector": selector, "template": template},
    )
    if deployment.spec.get("minReadySeconds"):
        made.raw["spec"]["minReadySeconds"] = deployment.spec["minReadySeconds"]
    made.meta["ownerReferences"] = [deployment.owner_reference()]
    annotate(made, deployment, number)
    return made, collisions


def annotate(replica_set: ReplicaSet, deployment: Deployment, number: int) -> None:
    """Write the revision and the Deployment's own annotations on its current set (changes it)."""
    notes = dict(replica_set.annotations)
    notes.update({k: v for k, v in deployment.annotations.items() if k not in _NOT_COPIED})
    before = revision(replica_set)
    if before < number:
        if before:
            notes[HISTORY] = ",".join([*filter(None, [notes.get(HISTORY, "")]), str(before)])
        notes[REVISION] = str(number)
    replica_set.meta["annotations"] = notes
