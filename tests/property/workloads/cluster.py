"""A cluster in a dictionary: carries out decisions as a store would, and lets time pass for pods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from forebay.api.kinds import Pod
from forebay.api.meta import Json, Key, Resource
from forebay.home.workloads.actions import Action, Both, Create, Delete, Note, Status, Update
from forebay.home.workloads.pods import finished, with_condition
from forebay.kit.clock import rfc3339

R = TypeVar("R", bound=Resource)
START = datetime(2026, 1, 1, tzinfo=UTC)


def twin(item: R) -> R:
    """A copy that shares nothing: objects are JSON."""
    return type(item)(json.loads(json.dumps(item.raw)))


class Cluster:
    """Objects by kind and key; `writes` counts what a decision changed (events do not count)."""

    def __init__(self, items: Iterable[Resource] = ()) -> None:
        self._items: dict[tuple[type[Resource], Key], Resource] = {}
        self.now = START
        self.serial = 0
        for item in items:
            self.add(item)

    def add(self, item: R) -> R:
        """Store a new object with uid and time, as a server does."""
        new = twin(item)
        self.serial += 1
        new.meta.setdefault("uid", f"uid-{self.serial}")
        new.meta.setdefault("creationTimestamp", rfc3339(self.now))
        new.meta.setdefault("generation", 1)
        self._items[type(new), new.key] = new
        return new

    def all(self, kind: type[R]) -> tuple[R, ...]:
        """Objects of a kind, in no meaningful order."""
        return tuple(twin(i) for (k, _), i in self._items.items() if k is kind)  # type: ignore[misc]

    def one(self, kind: type[R], name: str, namespace: str = "default") -> R:
        """One of them."""
        return twin(self._items[kind, Key(namespace if kind.namespaced else "", name)])  # type: ignore[return-value]

    def has(self, item: Resource) -> bool:
        """Whether this very object is still there."""
        found = self._items.get((type(item), item.key))
        return found is not None and found.uid == item.uid

    def carry_out(self, actions: Sequence[Action]) -> None:
        """Apply a decision."""
        for action in actions:
            match action:
                case Create(item):
                    if (type(item), item.key) not in self._items:
                        self.add(item)
                case Update(item):
                    self._update(item)
                case Status(item):
                    self._status(item)
                case Both(item):
                    self._status(item)
                    self._update(item)
                case Delete():
                    self._delete(action)
                case Note():
                    pass

    def _update(self, item: Resource) -> None:
        old = self._items[type(item), item.key]
        new = twin(item)
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "generation"):
            if field in old.meta:
                new.meta[field] = old.meta[field]
        new.raw.pop("status", None)
        if "status" in old.raw:
            new.raw["status"] = old.raw["status"]
        self._items[type(item), item.key] = new
        if new.deleting and not new.finalizers and not isinstance(new, Pod):
            del self._items[type(item), item.key]

    def _status(self, item: Resource) -> None:
        if (type(item), item.key) in self._items:
            self._items[type(item), item.key].raw["status"] = json.loads(json.dumps(item.raw.get("status")))

    def _delete(self, action: Delete) -> None:
        item = self._items.get((type(action.item), action.item.key))
        if item is None or item.uid != action.item.uid:
            return
        bound = (
            isinstance(item, Pod) and item.spec.get("nodeName") and not finished(item) and action.grace_s != 0
        )
        if item.finalizers or bound:
            item.meta.setdefault("deletionTimestamp", rfc3339(self.now))
        else:
            del self._items[type(item), item.key]

    def pass_time(self, seconds: float = 1.0, *, act: Callable[[Pod], str] = lambda pod: "ready") -> bool:
        """Time goes on: pods that were asked to go are gone, others do what `act` says (ready, silent,
        succeed, fail). Whether any pod is different now."""
        self.now += timedelta(seconds=seconds)
        changed = False
        for (kind, key), item in list(self._items.items()):
            if not isinstance(item, Pod):
                continue
            before = (item.spec.get("nodeName"), item.raw.get("status"))
            if item.deleting and not item.finalizers:
                del self._items[kind, key]
                changed = True
            elif not item.deleting and not finished(item):
                item.raw["spec"].setdefault("nodeName", "n")
                item.raw["status"] = pod_status(item, act(item), self.now)
                changed |= before != (item.spec.get("nodeName"), item.raw["status"])
        return changed


def pod_status(pod: Pod, does: str, now: datetime) -> Json:
    """A pod's status after it did something."""
    phase = {"succeed": "Succeeded", "fail": "Failed"}.get(does, "Running")
    ready = {"type": "Ready", "status": "True" if does == "ready" else "False"}
    status: Json = {**pod.status, "phase": phase}
    status["conditions"] = with_condition(pod.status.get("conditions"), ready, now)
    if phase != "Running":
        ended = {"exitCode": 0 if does == "succeed" else 1, "finishedAt": rfc3339(now)}
        status["containerStatuses"] = [{"name": "c", "state": {"terminated": ended}}]
    return status


def template(image: str = "a", **spec: Any) -> Json:
    """A pod template with labels {"app": "x"}."""
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


SELECTOR = {"matchLabels": {"app": "x"}}


def writes(actions: Sequence[Action]) -> list[Action]:
    """The actions without events."""
    return [action for action in actions if not isinstance(action, Note)]


def shape(actions: Sequence[Action]) -> list[tuple[str, str, str]]:
    """Actions as comparable text: what, on what, and the content."""
    found = []
    for action in actions:
        if isinstance(action, Note):
            found.append(("Note", str(action.about.key), action.message))
        else:
            found.append((type(action).__name__, str(action.item.key), repr(action.item.raw)))
    return sorted(found)
