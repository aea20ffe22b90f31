"""What may be made durable waits for others, but not for long."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from forebay.pull.model import Finished
from forebay.pull.verified import MOST, Verified
from forebay.sources.types import RemoteFile


def a_file(name: str = "a") -> Finished:
    return Finished(RemoteFile(name, 1), Path(name), 1, "", False, ("o",))


def taken(verified: Verified, lock: threading.RLock, left: int, *, over: bool = False) -> int:
    with lock:
        verified.wait(lambda: left, lambda: over)
        return len(verified.take())


def test_the_last_ones_wait_for_nobody() -> None:
    lock = threading.RLock()
    verified = Verified(lock)
    with lock:
        for _ in range(3):
            verified.put(a_file(), 3)
    assert len(list(verified)) == 3
    assert taken(verified, lock, 3) == 3


def test_as_many_as_come_meanwhile_are_one_commit() -> None:
    lock = threading.RLock()
    verified = Verified(lock)

    def come() -> None:
        for _ in range(40):
            time.sleep(0.001)
            with lock:
                verified.put(a_file(), 40)

    coming = threading.Thread(target=come)
    coming.start()
    commits: list[int] = []
    while sum(commits) < 40:
        commits.append(taken(verified, lock, 40 - sum(commits)))
    coming.join()
    assert len(commits) <= 3


def test_no_commit_has_more_than_the_most() -> None:
    lock = threading.RLock()
    verified = Verified(lock)
    with lock:
        for _ in range(MOST + 1):
            verified.put(a_file(), 10_000)
    assert [taken(verified, lock, 10_000), taken(verified, lock, 1)] == [MOST, 1]


def test_the_end_of_the_pull_ends_the_wait() -> None:
    lock = threading.RLock()
    assert taken(Verified(lock), lock, 5, over=True) == 0
