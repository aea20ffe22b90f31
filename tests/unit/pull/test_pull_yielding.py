"""A running pull is told to yield by a file."""

from __future__ import annotations

import logging

import pytest

from forebay.pull.limits import Limits
from forebay.pull.yielding import RateFile


@pytest.fixture
def now():
    return [0.0]


def looked(file, now):
    now[0] += 1.0
    file.look()


def test_the_rate_follows_the_file_and_comes_back_without_it(tmp_path, now):
    limits, path = Limits(50e6), tmp_path / "rate"
    file = RateFile(path, limits, clock=lambda: now[0])
    looked(file, now)
    assert limits._all.rate == 50e6
    path.write_text("5M\n")
    file.look()
    assert limits._all.rate == 50e6, "once a second is enough"
    looked(file, now)
    assert limits._all.rate == 5e6
    path.write_text("90M")
    looked(file, now)
    assert limits._all.rate == 50e6, "what was asked for at the start is never exceeded"
    path.write_text("")
    looked(file, now)
    path.unlink()
    looked(file, now)
    assert limits._all.rate == 50e6


def test_pulls_that_read_the_same_file_share_it(tmp_path, now):
    pulls, limits, path = [1], Limits(), tmp_path / "rate"
    file = RateFile(path, limits, sharers=lambda: pulls[0], clock=lambda: now[0])
    path.write_text("10M")
    looked(file, now)
    assert limits._all.rate == 10e6
    pulls[0] = 4
    looked(file, now)
    assert limits._all.rate == 2.5e6
    pulls[0] = 0
    looked(file, now)
    assert limits._all.rate == 10e6


def test_nonsense_changes_nothing_and_is_told_once(tmp_path, now, caplog):
    limits, path = Limits(7.0), tmp_path / "rate"
    file = RateFile(path, limits, clock=lambda: now[0])
    for text in ("fast", "fast", "\0" * 5000):
        path.write_text(text)
        with caplog.at_level(logging.WARNING):
            looked(file, now)
    path.unlink()
    path.mkdir()
    looked(file, now)
    assert limits._all.rate == 7.0
    assert len(caplog.records) == 2


def test_a_file_that_is_not_there_undoes_nobody_elses_word(tmp_path, now):
    limits = Limits()
    limits.yield_to(5.0)
    looked(RateFile(tmp_path / "none", limits, clock=lambda: now[0]), now)
    assert limits._all.rate == 5.0
