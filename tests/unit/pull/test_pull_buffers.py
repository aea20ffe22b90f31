"""Memory that workers share, in blocks of several sizes."""

from __future__ import annotations

import threading

import pytest

from forebay.pull.buffers import PAGE, Buffers


@pytest.mark.parametrize("first", [2, 1])
def test_a_block_goes_to_who_can_use_it_whoever_waits_longer(first: int) -> None:
    """Only the one who had waited longest was woken, and when the block was too small for it, who could have
    used it slept on for a second."""
    pool = Buffers(3 * PAGE)
    two, one = pool.take(2 * PAGE), pool.take(PAGE)
    assert two is not None and one is not None
    wait, waits, got = pool._ready.wait, threading.Semaphore(0), threading.Event()

    def for_ever(timeout: float | None = None) -> bool:
        waits.release()
        return wait()

    pool._ready.wait = for_ever  # type: ignore[method-assign, assignment]

    def take(pages: int) -> None:
        if pool.take(pages * PAGE) is not None:
            got.set()

    threads = [threading.Thread(target=take, args=(pages,), daemon=True) for pages in (first, 3 - first)]
    for thread in threads:
        thread.start()
        assert waits.acquire(timeout=5)
    pool.give(one)
    assert got.wait(5)
    pool.close()
    for thread in threads:
        thread.join(5)
