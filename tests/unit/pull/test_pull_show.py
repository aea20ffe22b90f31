"""Progress as people see it: steady, never absurd, never wider than the terminal."""

from __future__ import annotations

import io

import pytest

from forebay.pull import show
from forebay.pull.clockwork import pace_of
from forebay.pull.model import Progress

FAR = Progress(1_200_000_000, 4_300_000_000, 1, 4, 310e6, 10.4, "peer 10.0.0.7:9300", "transfer", 8)


def test_what_fits_is_told_the_most_important_first():
    assert show.progress_text(FAR, 90) == ("1.2 GB of 4.3 GB, 310.0 MB/s, 10 s left, from peer 10.0.0.7:9300")
    assert show.progress_text(FAR, 45) == "1.2 GB of 4.3 GB, 310.0 MB/s, 10 s left"
    assert show.progress_text(FAR, 20) == "1.2 GB of 4.3 GB"
    for room in range(5, 90):
        assert len(show.progress_text(FAR, room)) <= room
    unknown = Progress(5_000, None, 0, 1, 0.0, None, "", "transfer")
    assert show.progress_text(unknown, 40) == "5.0 kB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (125, "2 min 5 s"), (120, "2 min"), (12_000, "3 h 20 min"),
     (190_000, "2 days 4 h")],
)  # fmt: skip
def test_times_are_told_in_units_that_people_use(seconds, text):
    assert show.time_text(seconds) == text


def test_a_long_name_keeps_its_start_and_its_end():
    assert show.shortened("hf://organisation/a-model-7B", 15) == "hf://o…model-7B"
    assert show.shortened("short", 15) == "short"


def test_no_time_is_told_at_the_start_in_a_standstill_or_beyond_a_month():
    start = pace_of([(0.0, {})])
    assert (start.rate_bytes_s, start.source, start.eta_s(9)) == (0.0, "", None)
    assert pace_of([(0.0, {}), (0.3, {"hf": 10})]).eta_s(10**9) is None
    assert pace_of([(0.0, {"hf": 5}), (9.0, {"hf": 5})]).eta_s(9) is None
    assert pace_of([(0.0, {}), (9.0, {"hf": 5})]).eta_s(10**12) is None
    steady = pace_of([(0.0, {}), (1.0, {"hf": 100}), (2.0, {"hf": 200})])
    assert steady.eta_s(1000) == pytest.approx(10.0)
    assert steady.eta_s(0) == 0.0


def test_the_source_is_who_sends_now_not_who_sent_most():
    samples = [
        (0.0, {}),
        (8.0, {"peer": 900}),
        (10.0, {"peer": 900, "hf": 50}),
        (11.0, {"peer": 900, "hf": 90}),
    ]
    assert pace_of(samples).source == "hf"
    assert pace_of([(0.0, {"hf": 5}), (3.0, {"hf": 5})]).source == "hf"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_that_can_write_over_nothing_gets_a_plain_line_now_and_then(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    now = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    out = Terminal()
    with show.progress_on(out, "hf://a/b") as tell:
        for second in range(12):
            now[0] = float(second)
            tell(FAR)
    lines = out.getvalue().splitlines()
    assert lines == ["hf://a/b: 1.2 GB of 4.3 GB, 310.0 MB/s, 10 s left, from peer 10.0.0.7:9300"] * 2


@pytest.mark.parametrize("columns", [40, 60, 100])
@pytest.mark.parametrize("colour", ["", "1"])
def test_the_bar_is_one_line_however_narrow_the_terminal(monkeypatch, capfd, columns, colour):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", colour)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with show._bar("hf://organisation/a-model-with-a-long-name-7B") as tell:
        tell(FAR)
    shown = [line for line in capfd.readouterr().err.replace("\r", "\n").split("\n") if "GB" in line]
    assert shown and all("of 4.3 GB" in line or "…" in line for line in shown)
