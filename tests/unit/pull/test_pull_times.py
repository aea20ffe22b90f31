"""Where the time went: shares that add up, and what they say of the cause."""

from __future__ import annotations

import os
import threading

import pytest

from forebay.errors import Absent
from forebay.pull.clockwork import Ledger, Trip, Watch
from forebay.pull.model import Report
from forebay.pull.show import explanation, limited_by, report_fields


def test_each_moment_is_shared_by_those_at_work_and_the_sum_is_the_time_that_passed():
    ledger = Ledger(10.0)
    ledger.all_to("look", 11.0)
    ledger.tick(12.0, {"network": 6.0, "hash": 2.0, "idle": 50.0})
    assert ledger.seconds["network"] == pytest.approx(0.75)
    assert ledger.seconds["hash"] == pytest.approx(0.25)
    ledger.tick(14.0, {"network": 6.0, "hash": 2.5, "idle": 60.0})
    assert ledger.seconds["hash"] == pytest.approx(0.75)
    assert ledger.seconds["other"] == pytest.approx(1.5)
    ledger.tick(15.0, {"network": 5.0})
    assert sum(ledger.seconds.values()) == pytest.approx(5.0)
    assert "idle" not in ledger.seconds


def test_a_phase_that_still_lasts_is_seen_from_outside():
    watch, inside, leave = Watch(), threading.Event(), threading.Event()

    def work():
        with watch.phase("network"):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    now = watch._now[1]
    assert watch.spent(now + 5)["network"] == pytest.approx(5.0)
    leave.set()
    thread.join()
    assert watch._now is None and watch.spent(now + 99)["network"] < 60


def test_a_trip_tells_its_report_when_it_fails_too_and_the_sum_holds():
    told = []
    with pytest.raises(Absent), Trip(told.append) as trip:
        with trip.stage("resolve"):
            pass
        trip.fetched(Report(bytes_by_origin={"hf": 5}, wall={"network": 0.0}, seconds={"network": 1.0}))
        raise Absent("x")
    (report,) = told
    assert report.bytes_network == 5 and "resolve" in report.wall
    assert sum(report.wall.values()) == pytest.approx(report.wall_s)


CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("wall", "cpu_s", "kind"),
    [
        ({"resolve": 6.0, "network": 3.0}, 1.0, "origin"),
        ({"wait": 6.0, "network": 3.0}, 1.0, "origin"),
        ({"resolve": 6.0, "network": 0.001, "buffers": 0.001}, 1.0, "origin"),  # nothing waited for the disk
        ({"network": 6.0, "disk": 3.0}, 1.0, "network"),
        ({"network": 3.0, "buffers": 2.0, "disk": 4.0, "hash": 1.0}, 1.0, "disk"),
        ({"network": 3.0, "buffers": 2.0, "disk": 1.0, "hash": 4.0}, 1.0, "hash"),
        ({"network": 3.0, "limit": 6.0}, 1.0, "limit"),
        ({"fsync": 6.0, "network": 3.0}, 1.0, "disk"),
        ({"room": 6.0, "network": 3.0}, 1.0, "room"),
        ({"hash": 6.0, "network": 3.0}, 9.9 * CORES, "cpu"),
    ],
)
def test_what_limited_a_pull_is_named_with_a_sentence(wall, cpu_s, kind):
    wall = {**wall, "other": 10.0 - sum(wall.values())}
    report = Report(bytes_by_origin={"hf": 5}, wall=wall, wall_s=10.0, cpu_s=cpu_s)
    found, sentence = limited_by(report)
    assert found == kind and "%" in sentence
    assert f"limited by {sentence}" in explanation(report)
    assert report_fields(report)["limited_by"] == kind
    assert sum(report_fields(report)["wall_seconds"].values()) == pytest.approx(10.0)


def test_a_pull_that_fetched_nothing_says_so_and_one_that_failed_says_by_what():
    assert limited_by(Report(wall_s=0.01, wall={"resolve": 0.01}))[0] == "nothing"
    assert "ended by an error: absent" in explanation(Report(wall_s=1.0, wall={"wait": 1.0}), error="absent")
