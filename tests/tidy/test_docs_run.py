"""Shell blocks of the docs marked `bash tested` do what the page says: typed in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.seeds.world import hub, put_file

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash tested\n(.*?)^```", re.S | re.M)
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text())]
DEADLINE_S = 90.0


def test_pages_have_tested_blocks() -> None:
    assert {"laptop.md", "pulling.md"} <= {page.name for page in PAGES}


@pytest.mark.timeout(2 * DEADLINE_S)
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    put_file(tmp_path / "hub", "acme/tiny", "weights.bin", size=300_000)
    put_file(tmp_path / "hub", "acme/tiny", "config.json", size=200)
    (tmp_path / "here").mkdir()
    script = "set -euo pipefail\n" + "\n".join(BLOCK.findall(page.read_text()))
    with hub(tmp_path / "hub") as origin:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path / "here",
            env=environment(tmp_path, origin.url),
            text=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"


def environment(folder: Path, hub_url: str) -> dict[str, str]:
    """A newcomer's shell: `forebay` on PATH, nothing configured, a hub that can be reached."""
    kept = {name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "HOME": str(folder), "HF_ENDPOINT": hub_url}
