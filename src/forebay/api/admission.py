"""What an object must pass before it is stored: the same pure rules for the embedded API and the webhook.

`Rules.prepare` drops what the kind does not know, fills in defaults and refuses what is wrong. Rules across
objects
(`Check`) see a snapshot through the look-ups given to the constructor; without look-ups they are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from forebay.api import kinds, services
from forebay.api.meta import Json, Key, Resource, json_copy
from forebay.api.schema import causes, defaulted, pruned, validate
from forebay.api.schema.causes import Cause
from forebay.api.schema.pod_defaults import admitted, tolerated

Verb = Literal["create", "update", "status", "delete"]
_PROTECTION = {
    kinds.PersistentVolumeClaim: "kubernetes.io/pvc-protection",
    kinds.PersistentVolume: "kubernetes.io/pv-protection",
}
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class Look(Protocol):
    """A snapshot of other objects, as the store holds them at this moment."""

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        """One object, or None."""

    def list(self, kind: type[Resource], namespace: str = "") -> Iterable[Json]:
        """All objects of a kind; of one namespace if it is given."""


class Nothing:
    """The snapshot of a world without objects."""

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        """None."""
        return None

    def list(self, kind: type[Resource], namespace: str = "") -> Iterable[Json]:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class Review:
    """One request as a check sees it; `new` is the old object for a deletion."""

    kind: type[Resource]
    verb: Verb
    new: Json
    old: Json | None
    look: Look


Check = Callable[[Review], Iterable[Cause]]


class Rules:
    """Defaults, pruning and validation, the same in both homes (promise S6)."""

    def __init__(self, look: Look | None = None, checks: Sequence[Check] = ()) -> None:
        self._look: Look = look or Nothing()
        self._checks = tuple(checks) if look is not None else ()

    def prepare(self, kind: type[Resource], new: Json, old: Json | None, verb: str) -> Json:
        """The form to store. `verb` is create, update, status or delete.

        Raises Invalid with all causes at once; a check may raise Denied or Clash instead.
        """
        if verb != "delete":
            new = self._shaped(kind, new, old, verb)
        review = Review(kind, verb, new, old, self._look)  # type: ignore[arg-type]
        found = [] if verb == "delete" else validate(new, old, kind)
        for check in () if found else (_taken, *self._checks):
            found += check(review)
        if found:
            raise causes.refusal(kind, str(new["metadata"].get("name", "")), found)
        return new

    def _shaped(self, kind: type[Resource], new: Json, old: Json | None, verb: str) -> Json:
        new = pruned(new, kind)
        if verb == "create":
            new = _begun(json_copy(new), kind, self._look)
        elif old is not None and kind is kinds.Service:
            new = json_copy(new)
            services.changed(new, old, self._look.list(kinds.Service))
        elif verb == "update" and kind is kinds.Pod and isinstance(new.get("spec"), dict):
            new = {**new, "spec": dict(new["spec"])}
            tolerated(new["spec"])
        new = defaulted(new, kind)
        if verb == "update" and old is not None and kind is kinds.DaemonSet:
            _count_templates(new, old)
        return new


def _taken(review: Review) -> Iterable[Cause]:
    """What a service asks for and another one has."""
    if review.kind is not kinds.Service or review.verb not in ("create", "update"):
        return ()
    return services.taken(review.new, review.old, review.look.list(kinds.Service))


def _begun(raw: Json, kind: type[Resource], look: Look) -> Json:
    """What only a new object gets. `raw` changes."""
    if kind is kinds.Pod and isinstance(raw.get("spec"), dict):
        admitted(raw["spec"])
    elif kind is kinds.Job and isinstance(raw.get("spec"), dict):
        _select_own_pods(raw)
    elif kind is kinds.DaemonSet:
        raw["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = "1"
    elif kind is kinds.Namespace:
        spec = raw.setdefault("spec", {})
        if isinstance(spec, dict):
            spec["finalizers"] = _also(spec.get("finalizers"), "kubernetes")
    elif kind is kinds.Service and isinstance(raw.get("spec"), dict):
        services.begun(raw, look.list(kinds.Service))
    elif kind is kinds.PersistentVolumeClaim and isinstance(raw.get("spec"), dict):
        _give_class(raw["spec"], look)
    if kind in _PROTECTION:
        raw["metadata"]["finalizers"] = _also(raw["metadata"].get("finalizers"), _PROTECTION[kind])
    return raw


def _also(finalizers: object, mine: str) -> object:
    """The finalizers, and mine. What is no list of names is left as it is, for validation to refuse."""
    held = finalizers or []
    return [*held, mine] if isinstance(held, list) and mine not in held else held


def _select_own_pods(raw: Json) -> None:
    """A Job selects its pods by its own uid, unless it says manualSelector."""
    spec, meta = raw["spec"], raw["metadata"]
    if spec.get("manualSelector") or not isinstance(spec.get("template"), dict):
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels.setdefault(f"{prefix}job-name", meta.get("name", ""))
        labels.setdefault(f"{prefix}controller-uid", meta.get("uid", ""))
    selector = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selector.setdefault("batch.kubernetes.io/controller-uid", meta.get("uid", ""))


def _count_templates(new: Json, old: Json) -> None:
    """A DaemonSet's old counter of templates, kept as an annotation."""
    was = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
    changed = new["spec"].get("template") != old["spec"].get("template")
    count = str(int(was) + 1) if changed and was.isdecimal() else was
    new["metadata"].setdefault("annotations", {})[_TEMPLATE_GENERATION] = count


def _give_class(spec: Json, look: Look) -> None:
    """The default storage class, where the claim names none."""
    if spec.get("storageClassName") is not None:
        return
    for one in look.list(kinds.StorageClass):
        if (one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
            spec["storageClassName"] = one["metadata"]["name"]
            return
