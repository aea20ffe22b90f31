"""Where one replica's time went: every second between two moments belongs to one phase (pure).

Kubernetes' times have whole seconds. Finer ones are taken where somebody has told them: the `eventTime` of
events, the annotation forebay.dev/timeline of pods, `fetched` of a node's copy, and the log lines of engine
and gateway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from forebay.api.kinds import Event, Pod
from forebay.api.meta import Json, Resource
from forebay.api.names import TIMELINE
from forebay.kit.clock import parse_rfc3339

DOWNLOADER = "storage-initializer"
# the phases of a pull that follow each other, as the node tells them, and what they are called here
PULL = {"resolve": "resolve", "room": "wait for room", "transfer": "transfer", "commit": "commit"}
FIRST_S = 30.0  # a pod that came later than this after its service was not made by applying it


@dataclass(frozen=True)
class Facts:
    """What is known of one replica. Times are seconds since 1970.

    `applied` is set for a service's first replica. `copy` is what its node says of the model in the cache,
    empty where it does not come from there. `engine`, `pulled` and `asked` are log lines: the engine's
    phases, the downloader's report, the gateway's first answer from this replica. `last_words`: the last line
    of the log of a container that failed.
    """

    pod: Pod
    now: float
    applied: float | None = None
    events: Sequence[Event] = ()
    copy: Json = field(default_factory=dict)
    engine: Sequence[Json] = ()
    pulled: Json = field(default_factory=dict)
    asked: Json = field(default_factory=dict)
    last_words: str = ""


@dataclass
class Timing:
    """One replica. `phases` follow each other and are seconds, `total_s` is their sum up to ready (or now);
    `beside` went on during one of them. `sources` are bytes.
    """

    pod: str
    node: str
    ready: bool
    created: str
    total_s: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    note: str = ""


class Line:
    """A line of time that is cut into phases from left to right; what lies before the last cut is nothing."""

    def __init__(self, start: float) -> None:
        self.at = start
        self.phases: dict[str, float] = {}

    def cut(self, name: str, end: float | None) -> None:
        """What happened from the last cut to `end` is called `name`."""
        if end is not None and end > self.at:
            self.phases[name] = round(self.phases.get(name, 0.0) + end - self.at, 3)
            self.at = end


def timing_of(facts: Facts) -> Timing:
    """One replica's account."""
    pod, told = facts.pod, _timeline(facts.pod)
    created = fine_time(pod, facts.events)
    line = Line(created if facts.applied is None else min(facts.applied, created))
    line.cut("create", created)
    bound = told.get("at") or event_time(facts.events, "Scheduled") or _condition_time(pod, "PodScheduled")
    fetched_here = _cut_pull(line, facts.copy, bound)
    if bound is not None and not fetched_here:
        line.phases["schedule"] = 0.0  # told even if it is nothing
    line.cut("schedule, copy in place" if fetched_here else "schedule", bound)
    _cut_steps(line, facts, told)
    ready = told.get("ready") or _condition_time(pod, "Ready")
    if facts.engine:
        line.cut("readiness seen", ready)
    line.cut("start to ready", ready)
    timing = Timing(
        pod.name, str(pod.spec.get("nodeName") or ""), ready is not None, pod.meta["creationTimestamp"],
        phases=line.phases, sources=_sources(facts, fetched_here), beside=_beside(facts, fetched_here),
    )  # fmt: skip
    if ready is None:
        line.cut("schedule, so far" if bound is None else "so far, not ready", facts.now)
        timing.note = why_not(pod) + (f"; it said: {facts.last_words}" if facts.last_words else "")
    timing.total_s = round(sum(line.phases.values()), 3)
    if ready is not None and facts.asked:
        _cut_answer(line, facts.asked)
    return timing


def _cut_pull(line: Line, copy: Json, bound: float | None) -> bool:
    """The phases of the transfer for which the pod waited to be bound; whether there was one."""
    spent: Mapping[str, float] = copy.get("phases") or {}
    fetched = _seconds(copy.get("fetched"))
    if fetched is None or not spent or fetched <= line.at or (bound is not None and fetched > bound):
        return False
    at = fetched - sum(float(spent.get(name) or 0.0) for name in PULL)
    line.cut("schedule, until the download ran", at)
    for name, label in PULL.items():
        at += float(spent.get(name) or 0.0)
        line.cut(label, at)
    return True


def _cut_steps(line: Line, facts: Facts, told: Json) -> None:
    """Mount, init containers in order, start of the process, and what the engine says of its own start."""
    line.cut("mount", told.get("mounted"))
    started, ended = told.get("started") or {}, told.get("ended") or {}
    for status in facts.pod.status.get("initContainerStatuses") or []:
        name = status["name"]
        over = (status.get("state") or {}).get("terminated") or {}
        line.cut(f"init {name}", ended.get(name) or _seconds(over.get("finishedAt")))
    main = [container["name"] for container in facts.pod.spec.get("containers") or []]
    begun = [float(started[name]) for name in main if name in started] or _running(facts.pod)
    line.cut("start of the process", min(begun) if begun else None)
    for said in facts.engine:
        if "time" not in said:
            continue
        line.cut("start of the engine", float(said["time"]) - float(said["seconds"]))
        line.cut(str(said["phase"]), float(said["time"]))


def _cut_answer(line: Line, asked: Json) -> None:
    """From ready to the first token of its first answer; what lies before the question is nobody's doing."""
    asked_at = float(asked["time"]) - float(asked["total_ms"]) / 1000
    spans = ("route_ms", "wait_ms", "connect_ms", "first_byte_ms", "first_body_ms")
    answered_at = asked_at + sum(float(asked.get(name) or 0.0) for name in spans) / 1000
    line.cut("idle, until the first question", asked_at)
    line.cut("first token" if asked.get("streamed") else "first answer", answered_at)


def _sources(facts: Facts, fetched_here: bool) -> dict[str, int]:
    """Bytes by where they came from, as this replica has waited for them."""
    if facts.pulled:
        return {str(name): int(count) for name, count in (facts.pulled.get("bytes_by_origin") or {}).items()}
    if fetched_here and facts.copy.get("sources"):
        return {str(name): int(count) for name, count in facts.copy["sources"].items()}
    size = facts.copy.get("bytesTotal")
    return {"cache": int(size)} if size else {}


def _beside(facts: Facts, fetched_here: bool) -> dict[str, float]:
    """What the transfer did at the same time, in a thread of its own."""
    if facts.pulled:
        spent = facts.pulled.get("seconds") or {}
        beside = {"transfer": float(facts.pulled.get("wall_s") or 0.0)}
        return {**beside, **({"verify": float(spent["hash"])} if "hash" in spent else {})}
    spent = facts.copy.get("phases") or {}
    return {"verify": float(spent["hash"])} if fetched_here and "hash" in spent else {}


def fine_time(item: Resource, events: Sequence[Event]) -> float:
    """When an object was made: in the second that it names, as early as an event about it."""
    second = parse_rfc3339(item.meta["creationTimestamp"]).timestamp()
    told = [at for at in (_seconds(event.raw.get("eventTime")) for event in events) if at is not None]
    return max(second, min(min(told), second + 0.999)) if told else second


def event_time(events: Sequence[Event], reason: str) -> float | None:
    """When something first happened."""
    told = [_seconds(e.raw.get("eventTime")) for e in events if e.raw.get("reason") == reason]
    return min((at for at in told if at is not None), default=None)


def _timeline(pod: Pod) -> Json:
    """The annotation's moments in seconds since 1970; empty where there is none that makes sense."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        told: Json = json.loads(pod.annotations[TIMELINE])
        at = float(told["at"])
        return {
            "at": at, "mounted": at + float(told["mounted"]), "ready": at + float(told["ready"]),
            "started": {name: at + float(s) for name, s in told["started"].items()},
            "ended": {name: at + float(s) for name, s in told["ended"].items()},
        }  # fmt: skip
    return {}


def _seconds(text: object) -> float | None:
    return parse_rfc3339(text).timestamp() if isinstance(text, str) and text else None


def _condition_time(pod: Pod, type_: str) -> float | None:
    for condition in pod.status.get("conditions") or []:
        if condition["type"] == type_ and condition["status"] == "True":
            return _seconds(condition.get("lastTransitionTime"))
    return None


def _running(pod: Pod) -> list[float]:
    states = [status.get("state") or {} for status in pod.status.get("containerStatuses") or []]
    times = [_seconds((state.get("running") or {}).get("startedAt")) for state in states]
    return [at for at in times if at is not None]


def statuses(pod: Pod) -> list[Json]:
    """Of all containers, the init containers first."""
    return [*(pod.status.get("initContainerStatuses") or []), *(pod.status.get("containerStatuses") or [])]


def failed(pod: Pod) -> tuple[str, Json]:
    """The first container that ended badly, and how; nothing if none did."""
    for status in statuses(pod):
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            if (state.get("terminated") or {}).get("exitCode"):
                return str(status["name"]), state["terminated"]
    return "", {}


def why_not(pod: Pod) -> str:
    """What a pod that is not ready waits for, in its own words."""
    name, ended = failed(pod)
    if ended:
        said = _sentence(str(ended.get("message") or ""))
        return f"{name} ended with exit code {ended['exitCode']}" + (f": {said}" if said else "")
    for status in statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return f"{status['name']}: {waiting.get('reason', '')}: {waiting['message']}"
    for condition in pod.status.get("conditions") or []:
        if condition["status"] == "False" and condition.get("message"):
            return str(condition["message"])
    return str(pod.status.get("phase") or "")


def _sentence(message: str) -> str:
    """A termination message in one line; of a program's JSON line only what it says."""
    with suppress(ValueError, TypeError, KeyError):
        message = str(json.loads(message)["message"])
    return " ".join(message.split())
