"""What a pull's plan costs before the first byte."""

from __future__ import annotations

import time
from pathlib import Path

from forebay.pull.board import Board
from forebay.pull.model import Settings
from forebay.pull.opening import transfers
from forebay.sources.types import Listing, RemoteFile


def test_many_small_files_beside_a_large_one_are_sorted_at_once() -> None:
    """It took seven seconds for ten thousand: for each file a set of all small ones was made."""
    files = [*(RemoteFile(f"{n}.json", 100, sha256=f"{n:064x}") for n in range(6000)),
             RemoteFile("w.bin", 1 << 30, sha256="f" * 64), RemoteFile("of-any-size", None, sha256="e" * 64),
             RemoteFile("empty", 0, sha256="d" * 64)]  # fmt: skip
    waiting = transfers(Listing("hf://acme/tiny", "r", tuple(files)), files, Path("parts"))
    began = time.process_time()
    board = Board(waiting, [], Settings())
    assert time.process_time() - began < 0.5
    assert len(board.small) == 6000
    assert [t.file.path for t in board.waiting] == ["of-any-size", "empty", "w.bin"]
