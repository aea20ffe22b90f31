"""Archives as KServe's storage initializer takes them: which are unpacked, and what comes out."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from forebay.errors import Damaged
from forebay.pull import Settings, pull_to
from forebay.sources import archives
from forebay.sources.layers import unpack_listing
from forebay.sources.types import Listing, RemoteFile
from tests.conformance.test_sources import tree_of

FILES = {"config.pbtxt": b"ensemble", "model/1/w.bin": b"w" * 5000}
SUFFIXES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tbz2": "w:bz2",
            ".tar.xz": "w:xz", ".txz": "w:xz", ".zip": "zip"}  # fmt: skip


def packed(path: Path, mode: str, *, below: str = "") -> Path:
    """FILES and the empty folder ensemble/1, which Triton wants."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "zip":
        with zipfile.ZipFile(path, "w") as pack:
            pack.writestr("ensemble/1/", b"")
            for name, body in FILES.items():
                pack.writestr(name, body)
        return path
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name in ("./", f"./{below}ensemble/1/"):
            item = tarfile.TarInfo(name)
            item.type = tarfile.DIRTYPE
            tar.addfile(item)
        for name, body in FILES.items():
            item = tarfile.TarInfo(below + name)
            item.size = len(body)
            tar.addfile(item, io.BytesIO(body))
    return path


def folders_of(dest: Path) -> set[str]:
    found = (p.relative_to(dest).as_posix() for p in dest.rglob("*") if p.is_dir())
    return {path for path in found if not path.startswith(".forebay-parts")}


def pulled(uri: object, dest: Path, **env: str) -> dict[str, bytes]:
    pull_to(f"file://{uri}", dest, env=env, settings=Settings())
    return tree_of(dest)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_comes_out_with_its_empty_folders(tmp_path: Path, suffix: str) -> None:
    """Those of bzip2 and xz stayed packed, and a Triton ensemble lost its version."""
    path = packed(tmp_path / "m" / f"model{suffix}", SUFFIXES[suffix])
    for _ in range(2):
        assert pulled(path, tmp_path / "out") == FILES
        assert folders_of(tmp_path / "out") == {"ensemble", "ensemble/1", "model", "model/1"}


def test_an_image_comes_out_with_its_empty_folders_unless_a_layer_above_removes_them(tmp_path: Path) -> None:
    low = packed(tmp_path / "low", "w", below="models/")
    with tarfile.open(tmp_path / "top", "w") as tar:
        for name in ("models/ensemble/.wh.1", "models/.wh.model"):
            tar.addfile(tarfile.TarInfo(name))
    files = tuple(RemoteFile(name, 1) for name in ("low", "top"))
    listing = Listing("oci://r/a", "r", files, unpack=True, folder="models")
    held = {"low": low, "top": tmp_path / "top"}
    assert unpack_listing(listing, held, tmp_path / "out") == ["config.pbtxt"]
    assert archives.empty_folders(tmp_path / "out") == []
    alone = Listing("oci://r/a", "r", files[:1], unpack=True, folder="models")
    unpack_listing(alone, held, tmp_path / "alone")
    assert archives.empty_folders(tmp_path / "alone") == ["ensemble/1"]


def test_one_archive_of_a_folder_is_unpacked_and_one_of_several_is_not(tmp_path: Path) -> None:
    path = packed(tmp_path / "m" / "model.tar.gz", "w:gz")
    assert pulled(path.parent, tmp_path / "1") == FILES
    (tmp_path / "m" / "README.md").write_bytes(b"r")
    assert set(pulled(path.parent, tmp_path / "2")) == {"model.tar.gz", "README.md"}
    assert pulled(path.parent, tmp_path / "3", STORAGE_IGNORE_PATTERNS="*.md") == FILES
    assert pulled(path.parent, tmp_path / "4", STORAGE_ALLOW_PATTERNS='["*.tar.gz"]') == FILES


def test_patterns_choose_in_an_archive_unless_they_name_it(tmp_path: Path) -> None:
    path = packed(tmp_path / "m" / "model.tar.gz", "w:gz")
    assert pulled(path, tmp_path / "1", STORAGE_ALLOW_PATTERNS="*.pbtxt") == {"config.pbtxt": b"ensemble"}
    assert folders_of(tmp_path / "1") == set()
    assert pulled(path, tmp_path / "2", STORAGE_ALLOW_PATTERNS="model.tar.*") == FILES


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_of_too_many_folders_is_stopped(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "ENTRIES_MAX", 50)
    path = tmp_path / f"many.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as pack:
            for n in range(60):
                pack.writestr(f"d{n}/", b"")
    else:
        with tarfile.open(path, "w") as tar:
            for n in range(60):
                item = tarfile.TarInfo(f"d{n}")
                item.type = tarfile.DIRTYPE
                tar.addfile(item)
    with pytest.raises(Damaged, match="far more than"):
        archives.unpack(path, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) <= 50
