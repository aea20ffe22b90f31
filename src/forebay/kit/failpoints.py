"""Named points at which a test may stop or kill the process.

`FOREBAY_FAILPOINTS=cache.commit.renamed=kill` in the environment of a child arms a point; several are
separated by commas. Actions: `kill` (SIGKILL to this process), `error` (raises OSError), `sleep:SECONDS`. In
production the variable is absent and a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time


def _armed(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split(",") if "=" in item)


_ARMED = _armed(os.environ.get("FOREBAY_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Do what the environment asks for at the point called `name`; normally nothing."""
    action = _ARMED.get(name)
    if action is None:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "error":
        raise OSError(5, f"failpoint {name}")
    if action.startswith("sleep:"):
        time.sleep(float(action[6:]))
