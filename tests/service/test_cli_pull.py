"""`forebay pull` as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TREE = {"a.safetensors": b"a", "b.bin": b"b", "original/c.safetensors": b"c"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, body in TREE.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path / "model"


def pull(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "forebay.main", "pull", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def fetched(folder: Path) -> set[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and ".forebay-parts" not in p.parts)
    return {p.relative_to(folder).as_posix() for p in found}


@pytest.mark.parametrize(("options", "expected"), [
    (("--include", "*.safetensors"), {"a.safetensors", "original/c.safetensors"}),
    (("--include", "*.safetensors", "--exclude", "original/*"), {"a.safetensors"}),
    (("--exclude", "*.bin", "--exclude", "original/*"), {"a.safetensors"}),
    (("--include", "a*", "--include", "b*"), {"a.safetensors", "b.bin"}),
])  # fmt: skip
def test_patterns_choose_among_the_files(
    source: Path, tmp_path: Path, options: tuple[str, ...], expected: set[str]
) -> None:
    said = pull(f"file://{source}", tmp_path / "out", *options)
    assert said.returncode == 0, said.stderr
    assert fetched(tmp_path / "out") == expected


def test_patterns_that_fit_nothing_are_an_error_and_not_an_empty_model(source: Path, tmp_path: Path) -> None:
    said = pull(f"file://{source}", tmp_path / "out", "--include", "*.gguf")
    assert said.returncode != 0 and "no file of" in said.stderr and "Traceback" not in said.stderr


def test_without_patterns_a_local_folder_is_linked_and_not_copied(source: Path, tmp_path: Path) -> None:
    assert pull(f"file://{source}", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "b.bin").is_symlink()
