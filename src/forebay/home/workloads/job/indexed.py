"""Jobs with completionMode Indexed: every number from 0 to completions - 1 succeeds once; pure."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api.kinds import Job, Pod

INDEX = "batch.kubernetes.io/job-completion-index"


def is_indexed(job: Job) -> bool:
    """Whether the Job numbers its pods."""
    return job.spec.get("completionMode") == "Indexed"


def index_of(pod: Pod) -> int | None:
    """The pod's number, or None."""
    text = str(pod.annotations.get(INDEX, ""))
    return int(text) if text.isdecimal() else None


def completed(job: Job, pods: Iterable[Pod]) -> set[int]:
    """Numbers that have succeeded: those in the status, and those of pods that just did."""
    done = read(str(job.status.get("completedIndexes") or ""))
    fresh = {index_of(pod) for pod in pods if pod.status.get("phase") == "Succeeded"}
    return done | {index for index in fresh if index is not None}


def missing(job: Job, pods: Iterable[Pod], active: Iterable[Pod], count: int) -> list[int]:
    """The lowest `count` numbers that neither succeeded nor run."""
    taken = completed(job, pods) | {index for pod in active if (index := index_of(pod)) is not None}
    return [index for index in range(int(job.spec.get("completions") or 0)) if index not in taken][:count]


def number(pod: Pod, job: Job, index: int) -> None:
    """Tell the pod its number: annotation, label, host name and JOB_COMPLETION_INDEX. `pod` changes."""
    pod.meta["annotations"] = {**pod.annotations, INDEX: str(index)}
    pod.meta["labels"] = {**pod.labels, INDEX: str(index)}
    pod.raw["spec"].setdefault("hostname", f"{job.name}-{index}")
    field = {"fieldPath": f"metadata.labels['{INDEX}']"}
    for container in [*(pod.spec.get("initContainers") or []), *(pod.spec.get("containers") or [])]:
        env = [e for e in container.get("env") or [] if e.get("name") != "JOB_COMPLETION_INDEX"]
        container["env"] = [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}}]


def read(text: str) -> set[int]:
    """Numbers of a compressed list such as "0-2,5"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def written(indexes: Iterable[int]) -> str:
    """The inverse of read(): runs are joined by a dash."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), -1]:
        if run and index != run[-1] + 1:
            parts += [f"{run[0]}-{run[-1]}"] if len(run) > 1 else [str(run[0])]
            run = []
        run.append(index)
    return ",".join(parts)
