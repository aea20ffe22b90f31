"""The arithmetic of pulls: ranges are a set, pieces cover a file once, a journal is read back or not at
all."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from forebay.pull.journal import Entry, decode, encode, last, load, save, sealed
from forebay.pull.plan import ALIGN, Ranges, next_segment, segment_bytes, trusted_after_restart, usual_segment

SMALL = st.integers(0, 60)
PAIRS = st.lists(st.tuples(SMALL, SMALL), max_size=12)


def positions(pairs: list[tuple[int, int]]) -> set[int]:
    return {n for a, b in pairs for n in range(a, b)}


@given(PAIRS)
def test_ranges_are_a_set_of_positions(pairs: list[tuple[int, int]]) -> None:
    ranges = Ranges(pairs)
    assert positions(list(ranges)) == positions(pairs)
    assert ranges.total == len(positions(pairs))
    items = list(ranges)
    assert all(a < b for a, b in items)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(items))


@given(PAIRS, SMALL)
def test_holes_are_what_is_not_there(pairs: list[tuple[int, int]], size: int) -> None:
    assert positions(list(Ranges(pairs).holes(size))) == set(range(size)) - positions(pairs)


@given(PAIRS, SMALL)
def test_end_from_is_the_first_position_that_is_missing(pairs: list[tuple[int, int]], start: int) -> None:
    there = positions(pairs)
    expected = start
    while expected in there:
        expected += 1
    assert Ranges(pairs).end_from(start) == expected


@given(st.integers(0, 40 * ALIGN), st.integers(ALIGN, 9 * ALIGN), st.integers(0, 9))
def test_pieces_cover_a_file_once_and_begin_on_blocks(size: int, most: int, skip: int) -> None:
    taken = Ranges([(0, min(size, skip * ALIGN))])
    start = taken.total
    while (piece := next_segment(taken, size, most)) is not None:
        assert piece[0] == start and piece[0] % ALIGN == 0 and start < piece[1] <= size
        assert piece[1] - piece[0] <= most
        taken.add(*piece)
        start = piece[1]
    assert start == size


@given(st.integers(0, 1 << 40), st.integers(1, 64), st.integers(1, 64))
def test_pieces_shrink_towards_the_end_but_not_below_the_least(left: int, workers: int, blocks: int) -> None:
    least = 4 << 20
    usual = blocks * least
    piece = segment_bytes(left, workers, usual=usual, least=least)
    assert least <= piece <= usual
    assert piece == least or piece * 2 * workers < left + 2 * workers * least


@given(st.floats(0, 1e12), st.integers(1, 1 << 28))
def test_a_usual_piece_lasts_about_as_long_on_any_connection(pace: float, first: int) -> None:
    piece = usual_segment(pace, first)
    assert piece <= first * 8
    if not pace:
        assert piece == first // 8
    elif piece > min(first // 8, 1 << 20):
        assert piece <= pace * 0.6


@given(PAIRS, st.booleans(), st.integers(0, 60), st.booleans())
def test_after_a_restart_nothing_is_trusted_that_nobody_can_check(
    pairs: list[tuple[int, int]], promised: bool, prefix: int, good: bool
) -> None:
    done = Ranges(pairs)
    kept = trusted_after_restart(done, promised=promised, prefix=prefix, prefix_good=good)
    if not good:
        assert kept.total == 0
    elif promised:
        assert kept == done
    else:
        assert kept == Ranges([(0, prefix)])


TEXT = st.text(max_size=20)
ENTRIES = st.builds(
    Entry,
    TEXT,
    st.builds(Ranges, PAIRS),
    st.integers(0, 1 << 50),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.lists(TEXT, max_size=3).map(tuple),
)


@given(ENTRIES)
def test_a_journal_is_read_back_as_it_was_written(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(ENTRIES, st.data())
def test_a_torn_or_foreign_journal_is_none_or_whole(entry: Entry, data: st.DataObject) -> None:
    whole = encode(entry)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert decode(whole[:cut]) is None


@given(ENTRIES, st.data())
def test_a_journal_with_one_bit_turned_is_none(entry: Entry, data: st.DataObject) -> None:
    """Without a promised digest a range that is believed but never came would be published as zeros."""
    whole = bytearray(encode(entry))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(whole)) is None


@given(st.binary(max_size=200))
def test_garbage_is_no_journal(garbage: bytes) -> None:
    entry = decode(garbage)
    assert entry is None or encode(entry)
    entry = decode(sealed(garbage))
    assert entry is None or encode(entry)


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.data())
def test_of_a_journal_with_a_torn_end_the_newest_whole_state_counts(
    entries: list[Entry], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        for entry in entries:
            save(path, entry)
        assert load(path, entries[-1].identity) == entries[-1]
        before = path.read_bytes()
        torn = before + b"\n" + encode(entries[0])[: data.draw(st.integers(0, 40))]
        path.write_bytes(torn)
        assert last(torn) == entries[-1]
        save(path, entries[0])
        assert last(path.read_bytes()) == entries[0]


def test_a_journal_does_not_grow_with_the_pull(tmp_path: Path) -> None:
    path, most = tmp_path / "j", 0
    for number in range(3000):
        save(path, Entry("whose", Ranges([(0, number + 1)]), number, "0" * 64))
        most = max(most, path.stat().st_size)
    assert most < 70_000 and [p.name for p in tmp_path.iterdir()] == ["j"]
    found = load(path, "whose")
    assert found is not None and found.prefix == 2999
