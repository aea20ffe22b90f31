"""`python -m tests.fuzz.run [SECONDS] [TARGET…]`: every search in turn, all of them within SECONDS.

A search that finds something ends; the others go on. The end is a line for each, and code 1 if one found
something.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

from tests.fuzz.targets import TARGETS

START_S, LEAST_S = 4.0, 2.0  # what a search needs before it searches; what is worth beginning for


def search(name: str, seconds: float) -> tuple[bool, str]:
    """Whether nothing was found, and a few words on it."""
    command = [sys.executable, "-m", "tests.fuzz.search", name, str(int(seconds))]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 60, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"did not end within a minute after its {seconds:.0f} s"
    text = ran.stdout.decode(errors="replace")
    if ran.returncode:
        sys.stdout.write(text[-6000:])
        return False, "FOUND something: see above, and build/fuzz"
    tried = re.search(r"number_of_executed_units:\s*(\d+)", text)
    return True, f"{tried[1] if tried else '?':>9} inputs in {time.monotonic() - began:.0f} s"


def main(seconds: float, names: list[str]) -> int:
    """Each gets an equal share of what is left."""
    end, said, good = time.monotonic() + seconds, dict[str, str](), True
    for at, name in enumerate(names):
        share = (end - time.monotonic()) / (len(names) - at) - START_S
        if share < LEAST_S and end - time.monotonic() < START_S + LEAST_S:
            said[name] = "not searched: no time was left"
            continue
        fine, said[name] = search(name, max(LEAST_S, share))
        good = good and fine
    sys.stdout.write("".join(f"{name:16} {words}\n" for name, words in said.items()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 240.0, sys.argv[2:] or list(TARGETS)))
