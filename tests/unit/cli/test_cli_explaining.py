"""Where a replica's time went, from what the objects say."""

from __future__ import annotations

from typing import Any

from forebay.api.kinds import Pod
from forebay.cli.explaining import timing_of


def pod(**status: Any) -> Pod:
    meta = {
        "name": "p",
        "creationTimestamp": "2030-01-01T00:00:00Z",
        "annotations": {"forebay.dev/ports": '{"8080": 4000}'},
    }
    return Pod({"metadata": meta, "spec": {"nodeName": "n"}, "status": {"podIP": "127.0.0.1", **status}})


def test_a_ready_replica_says_schedule_pull_and_start() -> None:
    status = {
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2030-01-01T00:00:02Z"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:09Z"},
        ],
        "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2030-01-01T00:00:05Z"}}}],
    }
    copy = {"phases": {"resolve": 0.5, "transfer": 2.5, "hash": 1.0, "idle": 9.0}, "sources": {"hf": 100}}
    timing = timing_of(pod(**status), copy)
    assert timing.ready
    assert timing.phases == {
        "schedule": 2.0,
        "resolve": 0.5,
        "transfer": 2.5,
        "verify (beside the transfer)": 1.0,
        "start to ready": 4.0,
    }
    assert timing.sources == {"hf": 100}
    assert timing.addresses == ["127.0.0.1:4000"]


def test_one_that_is_not_ready_says_why() -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    timing = timing_of(pod(containerStatuses=[{"name": "c", "state": {"waiting": waiting}}]), {})
    assert (timing.ready, timing.note) == (False, "CrashLoopBackOff: back-off 10s")


def test_an_init_container_has_its_seconds() -> None:
    ended = {"startedAt": "2030-01-01T00:00:01Z", "finishedAt": "2030-01-01T00:00:04Z"}
    timing = timing_of(pod(initContainerStatuses=[{"name": "i", "state": {"terminated": ended}}]), {})
    assert timing.phases["init i"] == 3.0


def test_what_the_node_told_to_the_millisecond_beats_whole_seconds() -> None:
    running = {"startedAt": "2030-01-01T00:00:05Z"}
    told = pod(
        conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:09Z"}],
        containerStatuses=[{"name": "c", "state": {"running": running}}],
    )
    told.raw["spec"]["containers"] = [{"name": "c"}]
    line = '{"mounted": 0.013, "started": {"init": 0.02, "c": 0.06}, "ready": 0.71}'
    told.meta["annotations"]["forebay.dev/timeline"] = line
    steps = timing_of(told, {}).phases
    assert (steps["mount"], round(steps["start to ready"], 3)) == (0.013, 0.65)
    for wrong in ("[]", "{", '{"mounted": 1, "started": {}, "ready": 2}', '{"mounted": 1}'):
        told.meta["annotations"]["forebay.dev/timeline"] = wrong
        assert timing_of(told, {}).phases == {"schedule": 0.0, "start to ready": 4.0}
