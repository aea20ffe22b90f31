"""Threads and task groups, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")

_POOL = ThreadPoolExecutor(max_workers=8, thread_name_prefix="forebay")


async def in_thread(function: Callable[..., R], *args: object) -> R:
    """Run blocking work (hashing, disk, SQLite, name look-ups; nothing else) beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, function, *args)
