"""What a pull's plan costs before the first byte, and files that start over while someone is at them."""

from __future__ import annotations

import time
import tracemalloc
from functools import partial
from hashlib import sha256
from pathlib import Path

from forebay.pull.board import OPEN_MAX, Board
from forebay.pull.buffers import block
from forebay.pull.digests import Digests
from forebay.pull.hashing import HOT_BYTES, Hasher
from forebay.pull.model import Settings
from forebay.pull.opening import transfer_of
from forebay.pull.state import Claim, Item, Opening, Transfer
from forebay.sources.types import Listing, RemoteFile


def test_many_small_files_beside_a_large_one_are_sorted_at_once() -> None:
    """It took seven seconds for ten thousand: for each file a set of all small ones was made."""
    files = [*(RemoteFile(f"{n}.json", 100, sha256=f"{n:064x}") for n in range(6000)),
             RemoteFile("w.bin", 1 << 30, sha256="f" * 64), RemoteFile("of-any-size", None, sha256="e" * 64),
             RemoteFile("empty", 0, sha256="d" * 64)]  # fmt: skip
    make = partial(transfer_of, Listing("hf://acme/tiny", "r", tuple(files)), Path("parts"))
    began = time.process_time()
    board = Board(files, make, [], Settings())
    assert time.process_time() - began < 0.5
    assert len(board.waiting.small) == 6000
    assert [file.path for file in board.waiting.large] == ["of-any-size", "empty", "w.bin"]


def one_file(size: int | None = 4 * HOT_BYTES) -> tuple[Board, Transfer]:
    file = RemoteFile("w.bin", size)
    make = partial(transfer_of, Listing("https://h/w.bin", "r", (file,)), Path("parts"))
    board = Board([file], make, [], Settings(connections_start=2))
    return board, opened(board)


def opened(board: Board) -> Transfer:
    """The next file that a worker is to open, as if it had."""
    work = board.claim(0, 0.0)
    assert isinstance(work, Opening)
    board.opened(work.transfer)
    return work.transfer


def test_of_many_large_files_some_are_open_at_once() -> None:
    """All were, with three descriptors each: of a thousand shards none came where a process may have 1024."""
    files = [RemoteFile(f"{n}.bin", 1 << 30, sha256=f"{n:064x}") for n in range(1000)]
    make = partial(transfer_of, Listing("hf://acme/tiny", "r", tuple(files)), Path("parts"))
    board = Board(files, make, [], Settings(connections_start=1))
    first = [opened(board) for _ in range(OPEN_MAX)]
    assert 3 * OPEN_MAX < 400 and isinstance(board.claim(0, 0.0), Claim)
    board.published(1)  # a small file
    assert isinstance(board.claim(0, 0.0), Claim)
    board.published(1, parts=1)
    assert opened(board) not in first and isinstance(board.claim(0, 0.0), Claim)
    for let_go in (board.skipped, board.later):  # somebody else has it, or is at it
        board.published(1, parts=1)
        work = board.claim(0, 0.0)
        assert isinstance(work, Opening)
        let_go(work.transfer)
        assert opened(board) not in first and isinstance(board.claim(0, 0.0), Claim)


def test_what_one_worker_knows_of_the_pace_makes_the_next_ones_piece() -> None:
    """Slow connections would hold the whole file before it is seen that more of them help."""
    file = RemoteFile("w.bin", 1 << 30)
    make = partial(transfer_of, Listing("https://h/w.bin", "r", (file,)), Path("parts"))
    board = Board([file], make, [], Settings(connections_start=4))
    opened(board)

    def taken(worker: int, pace: float) -> int:
        claim = board.claim(worker, pace)
        assert isinstance(claim, Claim) and claim.end is not None
        return claim.end - claim.start

    assert [taken(0, 0.0), taken(1, 0.0)] == [4 << 20, 4 << 20]
    assert [taken(0, 5e5), taken(2, 0.0)] == [1 << 20, 1 << 20]
    assert taken(0, 5e7) > 8 << 20


def test_the_digest_of_a_file_that_starts_over_holds_nothing_of_before() -> None:
    """Else it would be observed wrong, and published under another content's name."""
    board, transfer = one_file()

    class Interrupted(Digests):
        def update(self, view: memoryview) -> None:
            super().update(view)
            if not transfer.epoch:
                board.start_over(transfer, 0, "it changed")

    transfer.digests = Interrupted(transfer.file, transfer.size)
    transfer.queue.append(Item(0, 2 * HOT_BYTES, block(2 * HOT_BYTES)))
    transfer.hashing = True
    Hasher(board, Path("damaged"))._work(transfer)
    assert transfer.epoch == 1 and transfer.digests.sha256 == sha256().hexdigest()


def test_while_old_bytes_are_written_nobody_fetches_new_ones() -> None:
    board, transfer = one_file()
    old = board.claim(0, 0.0)
    assert isinstance(old, Claim) and board.may_write(old)
    board.start_over(transfer, 0, "it changed")
    assert not board.wanting and not board.alone(old)
    board.wrote(old, 0, 4096, block(4096))
    assert isinstance(board.claim(0, 0.0), Claim) and not board.may_write(old)
    assert transfer.done.total == 0


def test_the_end_of_old_bytes_is_no_size_of_the_new_ones() -> None:
    board, transfer = one_file(size=None)
    old = board.claim(0, 0.0)
    assert isinstance(old, Claim)
    board.start_over(transfer, 0, "it changed")
    board.learned_size(old, 4096)
    assert transfer.size is None
    new = board.claim(0, 0.0)
    assert isinstance(new, Claim)
    board.learned_size(new, 8192)
    assert transfer.size == new.end == 8192


def test_small_files_that_wait_take_next_to_no_memory() -> None:
    """A hundred thousand took half a gigabyte: each had all that a file has while it is fetched."""
    files = [RemoteFile(f"{n}.json", 100, git_sha1=f"{n:040x}") for n in range(5000)]
    make = partial(transfer_of, Listing("hf://acme/tiny", "r", tuple(files)), Path("parts"))
    tracemalloc.start()
    board = Board(files, make, [], Settings())
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(board.waiting.small) == 5000 and taken < 5000 * 100
