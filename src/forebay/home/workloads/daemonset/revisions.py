"""The history of a DaemonSet's template as ControllerRevisions, for `rollout history` and `undo`; pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from forebay.api.kinds import ControllerRevision, DaemonSet
from forebay.api.meta import Json
from forebay.home.workloads import pods as p
from forebay.home.workloads.actions import Action, Create, Delete, Update

HASH = "controller-revision-hash"


def decide(owner: DaemonSet, have: Sequence[ControllerRevision]) -> tuple[list[Action], str]:
    """What to do to the history, and the hash that pods of the current template carry."""
    data = _data(owner)
    found = next((r for r in _sorted(have) if r.raw.get("data") == data), None)
    newest = max((_number(r) for r in have), default=0)
    actions: list[Action] = []
    if found is None:
        found = _made(owner, data, newest + 1)
        actions.append(Create(found))
    elif _number(found) < newest:
        changed = found.copy()
        changed.raw["revision"] = newest + 1
        actions.append(Update(changed))
    limit = int(owner.spec.get("revisionHistoryLimit", 10))
    old = [r for r in _sorted(have) if r.name != found.name]
    actions += [Delete(r) for r in old[: max(0, len(old) - limit)]]
    return actions, found.labels[HASH]


def _data(owner: DaemonSet) -> Json:
    template = copy.deepcopy(owner.spec.get("template") or {})
    return {"spec": {"template": {"$patch": "replace", **template}}}


def _made(owner: DaemonSet, data: Json, number: int) -> ControllerRevision:
    digest = p.template_hash(data)
    labels = {**((owner.spec.get("selector") or {}).get("matchLabels") or {}), HASH: digest}
    made = ControllerRevision.new(
        f"{owner.name}-{digest}", owner.namespace, labels=labels, data=data, revision=number
    )
    notes = {
        k: v for k, v in owner.annotations.items() if k != "kubectl.kubernetes.io/last-applied-configuration"
    }
    if notes:
        made.meta["annotations"] = notes
    made.meta["ownerReferences"] = [owner.owner_reference()]
    return made


def _number(revision: ControllerRevision) -> int:
    return int(revision.raw.get("revision") or 0)


def _sorted(have: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    return sorted(have, key=lambda r: (_number(r), r.name))
