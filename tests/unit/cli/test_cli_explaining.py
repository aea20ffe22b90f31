"""Where a replica's time went, from what the objects and logs say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.kinds import Event, Pod
from forebay.cli.replica_times import Facts, timing_of

MIDNIGHT = 1893456000.0  # 2030-01-01T00:00:00Z


def at(second: float) -> str:
    """A time in the first minute of 2030, to the microsecond."""
    return f"2030-01-01T00:00:{second:09.6f}Z"


def pod(**status: Any) -> Pod:
    meta = {"name": "p", "creationTimestamp": "2030-01-01T00:00:00Z"}
    spec = {"nodeName": "n", "containers": [{"name": "c"}]}
    return Pod({"metadata": meta, "spec": spec, "status": {"podIP": "127.0.0.1", **status}})


def conditions(**times: str) -> list[dict[str, str]]:
    return [{"type": name, "status": "True", "lastTransitionTime": when} for name, when in times.items()]


def with_timeline(item: Pod, **told: Any) -> Pod:
    item.meta["annotations"] = {"forebay.dev/timeline": json.dumps(told)}
    return item


def happened(**reasons: float) -> list[Event]:
    return [Event({"metadata": {"name": r}, "reason": r, "eventTime": at(s)}) for r, s in reasons.items()]


def test_with_whole_seconds_only_it_says_schedule_and_start() -> None:
    item = pod(
        conditions=conditions(PodScheduled="2030-01-01T00:00:02Z", Ready="2030-01-01T00:00:09Z"),
        containerStatuses=[{"name": "c", "state": {"running": {"startedAt": "2030-01-01T00:00:05Z"}}}],
    )
    timing = timing_of(Facts(item, MIDNIGHT + 60))
    assert timing.ready
    assert timing.phases == {"schedule": 2.0, "start of the process": 3.0, "start to ready": 4.0}
    assert timing.total_s == 9.0


def first_replica() -> Facts:
    told = {
        "at": MIDNIGHT + 3,
        "mounted": 0.1,
        "started": {"i": 0.2, "c": 0.5},
        "ended": {"i": 0.4},
        "ready": 2.0,
    }
    item = with_timeline(pod(initContainerStatuses=[{"name": "i", "state": {"terminated": {}}}]), **told)
    spent = {"resolve": 0.5, "room": 0.25, "transfer": 1.0, "commit": 0.05, "hash": 0.7, "idle": 9.0}
    copy = {"phases": spent, "sources": {"hf": 100}, "bytesTotal": 100, "fetched": at(2.8)}
    engine = [
        {"log": "phase", "phase": "load", "time": MIDNIGHT + 4.5, "seconds": 0.9},
        {"log": "phase", "phase": "listen", "time": MIDNIGHT + 4.6, "seconds": 0.1},
    ]
    asked = {
        "time": MIDNIGHT + 9, "total_ms": 3000.0, "route_ms": 1.0, "wait_ms": 0.0, "connect_ms": 1.0,
        "first_byte_ms": 8.0, "first_body_ms": 490.0, "streamed": True,
    }  # fmt: skip
    return Facts(item, MIDNIGHT + 60, MIDNIGHT, happened(FailedScheduling=0.2), copy, engine, {}, asked)


def test_every_second_from_apply_to_the_first_token_belongs_to_one_phase() -> None:
    timing = timing_of(first_replica())
    assert timing.phases == pytest.approx({
        "create": 0.2, "schedule, until the download ran": 0.8, "resolve": 0.5, "wait for room": 0.25,
        "transfer": 1.0, "commit": 0.05, "schedule, copy in place": 0.2, "mount": 0.1, "init i": 0.3,
        "start of the process": 0.1, "start of the engine": 0.1, "load": 0.9, "listen": 0.1,
        "readiness seen": 0.4, "idle, until the first question": 1.0, "first token": 0.5,
    })  # fmt: skip
    assert (timing.total_s, timing.sources, timing.beside) == (5.0, {"hf": 100}, {"verify": 0.7})


def test_a_copy_that_was_there_before_the_pod_is_the_cache_and_no_transfer() -> None:
    first = first_replica()
    second = Facts(first.pod, first.now, None, happened(Scheduled=3.0), {**first.copy, "fetched": at(0.0)})
    timing = timing_of(second)
    assert timing.sources == {"cache": 100}
    assert timing.beside == {}
    assert "transfer" not in timing.phases
    assert timing.phases["schedule"] == pytest.approx(2.001, abs=0.002)


def test_a_transfer_that_began_before_the_pod_counts_from_the_pod_on() -> None:
    first = first_replica()
    late = Facts(first.pod, first.now, None, (), {**first.copy, "fetched": at(0.6)})
    timing = timing_of(late)
    assert timing.phases["transfer"] == pytest.approx(0.55)
    assert "resolve" not in timing.phases


def test_a_pod_that_downloads_for_itself_says_what_and_how_long() -> None:
    report = {"bytes_by_origin": {"hf": 7}, "wall_s": 1.5, "seconds": {"hash": 0.5}}
    ended = {"terminated": {"finishedAt": "2030-01-01T00:00:04Z"}}
    item = pod(
        conditions=conditions(PodScheduled="2030-01-01T00:00:01Z", Ready="2030-01-01T00:00:06Z"),
        initContainerStatuses=[{"name": "storage-initializer", "state": ended}],
    )
    timing = timing_of(Facts(item, MIDNIGHT + 60, pulled=report))
    assert timing.sources == {"hf": 7}
    assert timing.phases["init storage-initializer"] == 3.0
    assert timing.beside == {"transfer": 1.5, "verify": 0.5}


def test_an_answer_in_one_piece_is_no_first_token() -> None:
    first = first_replica()
    whole = Facts(first.pod, first.now, asked={**first.asked, "streamed": False})
    assert "first answer" in timing_of(whole).phases and "first token" not in timing_of(whole).phases


def test_one_that_waits_says_what_for_and_since_when() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "back-off 10s"}
    item = pod(
        containerStatuses=[{"name": "c", "state": {"waiting": waiting}}],
        conditions=conditions(PodScheduled="2030-01-01T00:00:01Z"),
    )
    timing = timing_of(Facts(item, MIDNIGHT + 5))
    assert (timing.ready, timing.note) == (False, "c: ImagePullBackOff: back-off 10s")
    assert timing.phases == {"schedule": 1.0, "so far, not ready": 4.0}
    nowhere = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}])
    timing = timing_of(Facts(nowhere, MIDNIGHT + 5))
    assert (timing.note, timing.phases) == ("no room", {"schedule, so far": 5.0})


def test_one_that_crashes_says_its_last_words_and_not_the_back_off() -> None:
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
    ended = {"terminated": {"exitCode": 4}}
    item = pod(containerStatuses=[{"name": "c", "state": back_off, "lastState": ended}])
    timing = timing_of(Facts(item, MIDNIGHT + 5, last_words="error: no file"))
    assert timing.note == "c ended with exit code 4; it said: error: no file"
    ended["terminated"]["message"] = '{"event": "failed", "message": "not on the hub"}'
    assert timing_of(Facts(item, MIDNIGHT + 5)).note == "c ended with exit code 4: not on the hub"


@pytest.mark.parametrize(
    "wrong", ["[]", "{", '{"at": 1}', '{"mounted": 1, "started": {}, "ready": 2}', "null"]
)
def test_a_timeline_that_makes_no_sense_is_not_believed(wrong: str) -> None:
    item = pod(conditions=conditions(Ready="2030-01-01T00:00:09Z"))
    item.meta["annotations"] = {"forebay.dev/timeline": wrong}
    assert timing_of(Facts(item, MIDNIGHT + 60)).phases == {"start to ready": 9.0}


moments = st.floats(0, 50, allow_nan=False)


@given(moments, moments, moments, moments, st.lists(moments, max_size=4))
def test_whatever_the_clocks_say_no_phase_is_negative_and_none_is_counted_twice(
    bound: float, fetched: float, ready: float, asked: float, engine: list[float]
) -> None:
    told = {"at": MIDNIGHT + bound, "mounted": 0.1, "started": {"c": 0.2}, "ended": {}, "ready": ready}
    copy = {"phases": {"resolve": 1.0, "transfer": 2.0}, "fetched": at(fetched), "bytesTotal": 1}
    lines = [{"phase": f"e{n}", "time": MIDNIGHT + t, "seconds": 0.5} for n, t in enumerate(engine)]
    answer = {"time": MIDNIGHT + asked, "total_ms": 10.0, "first_body_ms": 5.0}
    facts = Facts(with_timeline(pod(), **told), MIDNIGHT + 60, MIDNIGHT - 1, (), copy, lines, {}, answer)
    timing = timing_of(facts)
    assert all(seconds >= 0 for seconds in timing.phases.values())
    latest = max(bound + 0.2, bound + ready, asked, *engine, 0) + 1
    assert sum(timing.phases.values()) <= latest + 0.02
