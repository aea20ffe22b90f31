"""KServe's own SDK, in an environment of its own (`make test-clients` makes it: the package is 320 MB)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.seeds.world import ROOT, home, hub, put_model

from forebay.cli import smollm2

PYTHON = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "forebay"
    / "clients"
    / "bin"
    / "python"
)


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    not PYTHON.exists(), reason="no environment with the kserve package: run `make test-clients`"
)
def test_the_kserve_sdk_creates_waits_patches_and_deletes(tmp_path: Path) -> None:
    put_model(tmp_path / "hub", "acme/tiny", smollm2.ensure())
    with (
        hub(tmp_path / "hub") as origin,
        home(tmp_path / "home", env={"HF_ENDPOINT": origin.url}) as here,
    ):
        script = [str(PYTHON), "tests/clients/kserve_sdk.py", str(here.data / "kubeconfig"), "hf://acme/tiny"]
        done = subprocess.run(script, capture_output=True, text=True, timeout=150, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr + here.log()[-2000:]
