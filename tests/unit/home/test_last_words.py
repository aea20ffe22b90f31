"""What a person reads of a home that ended while it was started in the background."""

from __future__ import annotations

from pathlib import Path

from forebay.home.run import last_words

LOG = Path("/data/up.log")


def test_its_own_error_is_told_with_its_code() -> None:
    assert last_words(["noise", "Error: occupied", "more"], 6, LOG, free=10**9) == (6, "Error: occupied")
    assert last_words(["a trace"], -9, LOG, free=10**9) == (1, "a trace")


def test_without_a_word_the_log_is_named() -> None:
    assert last_words([], 3, LOG, free=10**9) == (3, "Error: the home ended with 3; see /data/up.log")


def test_on_a_full_disk_even_its_last_words_found_no_room() -> None:
    code, told = last_words([], 1, LOG, free=0)
    assert code == 7 and told.startswith("Error: no room to write in /data")
