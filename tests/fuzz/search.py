"""`python -m tests.fuzz.search TARGET [SECONDS]`: a search, led by coverage, for bytes that break a promise.

Needs atheris (`make fuzz` installs it). What is found is written to build/fuzz/ and belongs into seeds.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "forebay.pull",
        "forebay.sources",
        "forebay.cache",
        "forebay.engines.fileserver",
        "forebay.kit.http1",
    ]
):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import SEEDS


def main() -> None:
    """Search until the time is over; a finding ends the process with its traceback."""
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "20"
    folder = Path("build/fuzz") / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    flags = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix=build/fuzz/{name}-",
    ]
    atheris.Setup([sys.argv[0], *flags, str(folder)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
