"""The order in which a file is hashed: every byte once, in its turn, out of memory while there is room."""

from __future__ import annotations

import mmap
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from forebay.pull.buffers import PAGE, Buffers
from forebay.pull.order import Order
from forebay.pull.parts import Lock
from forebay.pull.plan import ordered_piece
from forebay.pull.state import Transfer
from forebay.sources.types import RemoteFile

BLOCKS = st.integers(1, 30).flatmap(lambda n: st.permutations(range(n)))


def a_transfer(blocks: int) -> Transfer:
    file = RemoteFile("f", blocks * PAGE)
    return Transfer(file, "f", Path("f"), file.size, Lock(Path("f.lock")), started=True)


class Pool(Buffers):
    """Counts what comes back."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.given: list[mmap.mmap] = []

    def give(self, buffer: mmap.mmap) -> None:
        self.given.append(buffer)


def came(order: Order, transfer: Transfer, block: int, count: int = PAGE) -> tuple[bool, mmap.mmap]:
    buffer = mmap.mmap(-1, PAGE)
    transfer.done.add(block * PAGE, block * PAGE + count)
    return order.came(transfer, block * PAGE, count, buffer), buffer


@given(BLOCKS, st.integers(0, 12))
def test_every_byte_is_queued_once_and_in_order_whatever_comes_first(arrival: list[int], room: int) -> None:
    pool, transfer = Pool(), a_transfer(len(arrival))
    order = Order(pool, room * PAGE)
    kept = {}
    for block in arrival:
        ours, buffer = came(order, transfer, block)
        if ours:
            kept[block] = buffer
        assert order.early == len(transfer.early) * PAGE <= room * PAGE
    at = 0
    for item in transfer.queue:
        assert item.offset == at and item.count > 0
        if item.buffer is not None:
            assert item.buffer is kept.pop(item.offset // PAGE)
        at += item.count
    assert at == transfer.size and not transfer.early and not kept and not pool.given
    read_back = sum(item.count for item in transfer.queue if item.buffer is None)
    assert order.spilled == read_back


@given(st.integers(2, 30).flatmap(lambda n: st.permutations(range(n))))
def test_with_room_for_all_nothing_is_read_back(arrival: list[int]) -> None:
    transfer = a_transfer(len(arrival))
    order = Order(Pool(), 30 * PAGE)
    assert all(came(order, transfer, block)[0] for block in arrival)
    assert order.spilled == 0 and all(item.buffer is not None for item in transfer.queue)


def test_bytes_that_are_written_over_are_not_hashed_from_memory() -> None:
    pool, transfer = Pool(), a_transfer(3)
    order = Order(pool, 10 * PAGE)
    _, first = came(order, transfer, 1)
    _, second = came(order, transfer, 1)  # the disk holds these now
    assert pool.given == [first] and transfer.early[PAGE][1] is second
    came(order, transfer, 0)
    assert [item.buffer for item in transfer.queue][1] is second


def test_a_file_that_starts_over_gives_all_its_buffers_back(tmp_path: Path) -> None:
    pool, transfer = Pool(), a_transfer(4)
    transfer.path = tmp_path / "f"
    order = Order(pool, 10 * PAGE)
    held = [came(order, transfer, block)[1] for block in (0, 2, 3)]
    order.forget(transfer)
    assert sorted(map(id, pool.given)) == sorted(map(id, held))
    assert order.early == 0 and not transfer.early and not transfer.queue and transfer.tail == 0


@given(st.integers(1, 128), st.integers(1, 64))
def test_pieces_are_as_large_as_the_room_for_early_bytes_allows(workers: int, files: int) -> None:
    room = 38 << 20
    piece = ordered_piece(room, workers, files)
    assert piece >= 1 << 20
    if workers > files and piece > 1 << 20:
        assert (piece - (1 << 20)) * (workers - files) <= 2 * room
