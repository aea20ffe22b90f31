"""Lifecycle hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from forebay.api.meta import Json
from forebay.home.kubelet.ports import real_port
from forebay.home.kubelet.probes import ProbeFailed, http_get


async def pre_stop(
    handler: Json,
    container: Json,
    ports: Mapping[str, int],
    run: Callable[..., Awaitable[str]],
    timeout_s: float,
) -> None:
    """Run a preStop hook (exec, httpGet or sleep) within `timeout_s`. Raises ProbeFailed."""
    if handler.get("exec"):
        await run(handler["exec"].get("command") or [], timeout_s)
    elif handler.get("httpGet"):
        action = handler["httpGet"]
        await http_get(action, real_port(container, action["port"], ports), timeout_s)
    elif handler.get("sleep"):
        await asyncio.sleep(min(timeout_s, float(handler["sleep"].get("seconds") or 0)))
    else:
        raise ProbeFailed("the hook has neither exec, httpGet nor sleep")
