"""Archives whose harm is in their numbers: too many files, sizes that lie, archives within archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from forebay.errors import Damaged, Invalid
from forebay.sources import archives, layers
from forebay.sources.types import Listing, RemoteFile


def a_tar(path: Path, *items: tuple[str, bytes], **more: dict[str, str]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as pack:
        for name, body in items:
            item = tarfile.TarInfo(name)
            item.size, item.pax_headers = len(body), more.get("pax", {})
            pack.addfile(item, io.BytesIO(body))
    return path


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_of_too_many_files_is_stopped(tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setattr(archives, "ENTRIES_MAX", 50)
    path = tmp_path / f"many.{kind}"
    if kind == "tar":
        a_tar(path, *[(f"f{n}", b"") for n in range(60)])
    else:
        with zipfile.ZipFile(path, "w") as pack:
            for n in range(60):
                pack.writestr(f"f{n}", b"")
    with pytest.raises(Damaged, match="far more than"):
        archives.unpack(path, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) <= 50


def test_an_archive_in_an_archive_stays_packed(tmp_path: Path) -> None:
    """What is inside is a file like any other: a bomb within is never lit."""
    inner = a_tar(tmp_path / "inner.tar", ("a", bytes(1 << 20)))
    outer = a_tar(tmp_path / "outer.tar", ("inner.tar", inner.read_bytes()))
    assert archives.unpack(outer, tmp_path / "out") == ["inner.tar"]
    assert (tmp_path / "out" / "inner.tar").read_bytes() == inner.read_bytes()


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    """What PyTorch and numpy write are zips, and the end of a zip says that it is one: only that was
    unpacked, and the other files were silently missing."""
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w") as pack:
        pack.writestr("archive/data.pkl", b"x")
    files = {"config.json": b"{}", "pytorch_model.bin": weights.getvalue()}
    for name in ("model.tar", "0123abcd"):  # in a cache it has no name but its digest
        out = tmp_path / f"out-{name}"
        assert sorted(archives.unpack(a_tar(tmp_path / name, *files.items()), out)) == sorted(files)
        assert all((out / path).read_bytes() == body for path, body in files.items())


def test_a_zip_is_known_by_what_it_is(tmp_path: Path) -> None:
    """With a program before it, too: so archives that unpack themselves are made."""
    path = tmp_path / "0123abcd"
    path.write_bytes(b"#!/bin/sh\n" + bytes(1024))
    with zipfile.ZipFile(path, "a") as pack:
        pack.writestr("a", b"abc")
    assert archives.unpack(path, tmp_path / "out") == ["a"]


SIZES = {"-1": Damaged, str(1 << 50): Damaged, "9" * 400: Damaged, "x": Damaged}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("as_layer", [False, True], ids=["archive", "layer"])
def test_a_header_that_lies_about_sizes_is_refused(tmp_path: Path, size: str, as_layer: bool) -> None:
    path = a_tar(tmp_path / "a.tar", ("models/a", b"abc"), pax={"size": size})
    out = tmp_path / "out"
    with pytest.raises((Damaged, Invalid)):
        if as_layer:
            listing = Listing("oci://r/a", "r", (RemoteFile("a.tar", 1),), unpack=True, folder="models")
            layers.unpack_listing(listing, {"a.tar": path}, out)
        else:
            archives.unpack(path, out)
    assert sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) <= 1 << 20


@pytest.mark.parametrize("told", [1, 1 << 40])
def test_a_zip_that_lies_about_sizes_is_refused(tmp_path: Path, told: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("a", b"abc" * 1000)
    whole = bytearray(path.read_bytes())
    central = whole.rindex(b"PK\1\2")
    whole[central + 24 : central + 28] = min(told, (1 << 32) - 2).to_bytes(4, "little")
    path.write_bytes(whole)
    with pytest.raises(Damaged):
        archives.unpack(path, tmp_path / "out")


@pytest.mark.parametrize("harm", ["turned", "cut"])
def test_a_header_in_the_middle_that_makes_no_sense_is_not_the_end(tmp_path: Path, harm: str) -> None:
    """tarfile stops there without a word, and half a model would be published."""
    path = a_tar(tmp_path / "a.tar", ("a", b"abc"), ("b", b"abc"))
    whole = path.read_bytes()
    second = 3 * 512 if b"PaxHeader" in whole else 2 * 512
    path.write_bytes(whole[: second + 300] if harm == "cut" else whole[:second] + b"z" + whole[second + 1 :])
    with pytest.raises(Damaged, match="header"):
        archives.unpack(path, tmp_path / "out")
