"""What workload controllers ask of pods, and how they make them; pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from forebay.api.kinds import Pod
from forebay.api.meta import Json, Resource, json_copy
from forebay.kit.clock import parse_rfc3339, rfc3339

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no word appears; Kubernetes' own choice
NAME_MAX = 63


def finished(pod: Resource) -> bool:
    """Whether no container will run again."""
    return pod.status.get("phase") in ("Succeeded", "Failed")


def active(pod: Resource) -> bool:
    """Neither finished nor on its way out."""
    return not finished(pod) and not pod.deleting


def condition(item: Resource, type_: str) -> Json | None:
    """The condition of that type, or None."""
    return next((c for c in item.status.get("conditions") or [] if c.get("type") == type_), None)


def ready(pod: Resource) -> bool:
    """Whether the Ready condition is True."""
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def ready_since(pod: Resource) -> datetime | None:
    """When it became ready, or None if it is not."""
    found = condition(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    return parse_rfc3339(str(found.get("lastTransitionTime") or pod.meta.get("creationTimestamp")))


def due_in_s(since: datetime, wait_s: float, now: datetime) -> float:
    """Seconds until `wait_s` after `since` have passed. A `since` of the future is none to wait for: the
    clock was set back.
    """
    left_s = (since + timedelta(seconds=wait_s) - now).total_seconds()
    return left_s if 0 < left_s <= wait_s + 1 else 0.0  # stored times have whole seconds


def available_in_s(pod: Resource, min_ready_s: int, now: datetime) -> float | None:
    """Seconds until the pod has been ready for `min_ready_s`: 0 = available now, None = not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return due_in_s(since, min_ready_s, now) if min_ready_s else 0.0


def available(pod: Resource, min_ready_s: int, now: datetime) -> bool:
    """Whether the pod has been ready for at least `min_ready_s`."""
    return available_in_s(pod, min_ready_s, now) == 0.0


def created(item: Resource) -> str:
    """creationTimestamp; sorts in time."""
    return str(item.meta.get("creationTimestamp", ""))


def restarts(pod: Resource) -> int:
    """The highest restart count of its containers."""
    return max((int(c.get("restartCount", 0)) for c in pod.status.get("containerStatuses") or []), default=0)


def suffix(text: str, length: int = 5) -> str:
    """Letters computed from `text`: the same text always gives the same name, so a repeat is a Clash."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(SUFFIX_ALPHABET))
        letters.append(SUFFIX_ALPHABET[digit])
    return "".join(letters)


def template_hash(template: Json, salt: int = 0) -> str:
    """Ten letters that stand for a pod template; `salt` is the collision count."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return suffix(f"{text}#{salt}" if salt else text, 10)


def free_names(
    owner: Resource, taken: Iterable[str], count: int, *, seen: Iterable[Resource] = ()
) -> list[str]:
    """`count` computed names `<owner>-<5 letters>` that nobody has; slots are tried in order.

    The same look at the same pods (`seen`, the owner's own) gives the same names, so that doing it twice is
    a Clash; after any change the names are new ones, so that no pod is mistaken for the one before it.
    """
    used, slot = set(taken), 0
    found: list[str] = []
    base = owner.name[: NAME_MAX - 6]
    world = ",".join([owner.uid, str(owner.generation), *sorted(pod.uid for pod in seen)])
    while len(found) < count:
        name = f"{base}-{suffix(f'{world}/{slot}')}"
        slot += 1
        if name not in used:
            used.add(name)
            found.append(name)
    return found


def from_template(owner: Resource, template: Json, name: str) -> Pod:
    """The pod that `template` describes, owned by `owner`."""
    meta = template.get("metadata") or {}
    pod = Pod.new(name, owner.namespace, spec=json_copy(template.get("spec") or {}))
    pod.meta["generateName"] = f"{owner.name}-"
    pod.meta["ownerReferences"] = [owner.owner_reference()]
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            pod.meta[field] = json_copy(meta[field])
    return pod


def count_of(value: int | str | None, total: int, *, up: bool, default: int | str) -> int:
    """An IntOrString (2, "25%") of `total` pods; percentages are rounded. Unreadable means the default."""
    for text in (value, default):
        if isinstance(text, int):
            return text
        if isinstance(text, str) and text.endswith("%") and text[:-1].isdecimal():
            share = int(text[:-1]) * total / 100
            return math.ceil(share) if up else math.floor(share)
        if isinstance(text, str) and text.isdecimal():
            return int(text)
    return 0


def with_condition(conditions: list[Json] | None, new: Mapping[str, Any], now: datetime) -> list[Json]:
    """The conditions with `new` (type, status, reason, message); lastTransitionTime moves with the status."""
    kept = [dict(c) for c in conditions or []]
    stamped = {**new, "lastTransitionTime": rfc3339(now)}
    for at, old in enumerate(kept):
        if old.get("type") == new["type"]:
            if old.get("status") == new["status"]:
                stamped["lastTransitionTime"] = old.get("lastTransitionTime") or rfc3339(now)
            kept[at] = {**old, **stamped}
            return kept
    return [*kept, stamped]


def soonest(waits: Iterable[float | None]) -> float | None:
    """The smallest wait above zero, or None."""
    return min((w for w in waits if w), default=None)
