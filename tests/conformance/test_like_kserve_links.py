"""Links in archives and images: they become what they lead to, and lead nowhere else."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import Damaged, ForebayError, Invalid
from forebay.pull import Settings, pull_to
from forebay.sources import archives, links
from forebay.sources.layers import unpack_listing
from forebay.sources.types import Listing, RemoteFile
from tests.conformance.test_sources import tree_of

SYM, HARD = "->", "=>"
# What a copy of the Hub's own cache looks like, with a branch that is a folder's second name.
HUB = {"blobs/9f": b"weights", "snapshots/c0/model.safetensors": "->../../blobs/9f", "snapshots/main": "->c0",
       "config.json": "->snapshots/main/config.json", "snapshots/c0/config.json": b"{}",
       "hard.bin": "=>blobs/9f"}  # fmt: skip
SEEN = {"blobs/9f": b"weights", "snapshots/c0/model.safetensors": b"weights", "hard.bin": b"weights",
        "snapshots/c0/config.json": b"{}", "snapshots/main/model.safetensors": b"weights",
        "snapshots/main/config.json": b"{}", "config.json": b"{}"}  # fmt: skip


def tar(path: Path, entries: dict[str, bytes | str], below: str = "") -> Path:
    """Bytes are files, "->x" symbolic and "=>x" hard links, "" folders."""
    with tarfile.open(path, "w") as pack:
        for name, body in entries.items():
            item = tarfile.TarInfo(below + name)
            if isinstance(body, bytes):
                item.size = len(body)
                pack.addfile(item, io.BytesIO(body))
                continue
            item.type = {SYM: tarfile.SYMTYPE, HARD: tarfile.LNKTYPE, "": tarfile.DIRTYPE}[body[:2]]
            item.linkname = (below if body[:2] == HARD else "") + body[2:]
            pack.addfile(item)
    return path


def laid(path: Path, into: Path, **patterns: tuple[str, ...]) -> list[str]:
    listing = Listing("oci://r/a", "r", (RemoteFile("l", 1),), unpack=True, folder="models", **patterns)  # type: ignore[arg-type]
    return unpack_listing(listing, {"l": path}, into)


@pytest.mark.parametrize("disk", ["with second names", "without"])
@pytest.mark.parametrize("kind", ["archive", "image"])
def test_links_become_what_they_lead_to(
    tmp_path: Path, kind: str, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an archive was refused as damaged, where KServe unpacks it."""
    path = tar(tmp_path / "m.tar", HUB, "models/" if kind == "image" else "")
    if disk == "without":

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    paths = laid(path, tmp_path / "out") if kind == "image" else archives.unpack(path, tmp_path / "out")
    assert tree_of(tmp_path / "out") == SEEN and sorted(paths) == sorted(SEEN)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_symlink()]


def test_a_pull_keeps_them_as_files(tmp_path: Path) -> None:
    path = tar(tmp_path / "m.tar", HUB)
    for _ in range(2):
        pull_to(f"file://{path}", tmp_path / "out", env={}, settings=Settings())
        assert tree_of(tmp_path / "out") == SEEN


WRONG: dict[str, dict[str, bytes | str]] = {
    "absolute": {"l": "->/etc/passwd"}, "up": {"l": "->../x"}, "up from below": {"a/l": "->../../x"},
    "nowhere": {"l": "->none"}, "itself": {"l": "->l"}, "in a circle": {"a": "->b", "b": "->a"},
    "the folder it lies in": {"a/w": b"w", "a/l": "->."}, "the top": {"a/w": b"w", "a/l": "->.."},
    "up behind a name": {"a/b/w": b"w", "l": "->a/b/../b/w"}, "empty": {"l": "->"},
    "through it": {"e/w": b"w", "l": "->e", "l/x": b"x"},
    "through it, before": {"l/x": b"x", "l": "->l2", "l2": b""},
    "twice": {"a": b"a", "b": "->a", "b/c": b"c"}, "hard, elsewhere": {"l": "=>../x"},
    "hard, nowhere": {"l": "=>none"},
    "a long chain": {f"l{n:02}": f"->l{n + 1:02}" for n in range(50)} | {"l50": b""},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kind", ["archive", "image"])
def test_a_link_that_leads_astray_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = tar(tmp_path / "m.tar", WRONG[name], "models/" if kind == "image" else "")
    (tmp_path / "x").write_bytes(b"outside")
    with pytest.raises((Damaged, Invalid)):
        laid(path, tmp_path / "out") if kind == "image" else archives.unpack(path, tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_symlink()]
    assert (tmp_path / "x").read_bytes() == b"outside" and (tmp_path / "x").stat().st_nlink == 1


def test_links_to_folders_of_links_do_not_grow_without_end(tmp_path: Path) -> None:
    """Each doubles what is below: forty of them would be a million millions."""
    entries: dict[str, bytes | str] = {"d0/w": b"w"}
    for n in range(1, 30):
        entries |= {f"d{n}/a": f"->../d{n - 1}", f"d{n}/b": f"->../d{n - 1}"}
    path = tar(tmp_path / "m.tar", entries)
    with pytest.raises(Damaged, match="far too many"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "ENTRIES_MAX", 1000)
        archives.unpack(path, tmp_path / "out")


def test_without_second_names_links_take_no_more_room_than_an_archive_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tar(tmp_path / "m.tar", {"w": bytes(1000)} | {f"l{n}": "->w" for n in range(20)})
    with pytest.raises(Damaged, match="more than its size"):
        archives.unpack(path, tmp_path / "out", bytes_max=5000)


def test_the_topmost_layer_decides_about_links_too(tmp_path: Path) -> None:
    low = tar(tmp_path / "low", {"w": b"old", "latest": "->v1", "v1/w": b"1", "gone": "->w"}, "models/")
    top = tar(tmp_path / "top", {"w": "->v1/w", "latest": "->v2", "v2/w": b"2", ".wh.gone": b""}, "models/")
    files = (RemoteFile("low", 1), RemoteFile("top", 1))
    listing = Listing("oci://r/a", "r", files, unpack=True, folder="models")
    unpack_listing(listing, {"low": low, "top": top}, tmp_path / "out")
    assert tree_of(tmp_path / "out") == {"w": b"1", "v1/w": b"1", "v2/w": b"2", "latest/w": b"2"}


def test_patterns_choose_among_links(tmp_path: Path) -> None:
    path = tar(tmp_path / "m.tar", HUB | {"README": "->doc/README", "doc/README": b"r"}, "models/")
    chosen = laid(path, tmp_path / "1", allow=("snapshots/*",), ignore=("*.safetensors",))
    assert sorted(chosen) == ["snapshots/c0/config.json", "snapshots/main/config.json"]
    assert sorted(tree_of(tmp_path / "1")) == sorted(chosen)
    with pytest.raises(Damaged, match="patterns leave it out"):
        laid(path, tmp_path / "2", allow=("*.safetensors",))


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=4).map("/".join)


WHAT = st.one_of(st.just(b"x"), NAMES.map(lambda n: f"->{n}"), NAMES.map(lambda n: f"=>{n}"))


@given(st.dictionaries(NAMES, WHAT, max_size=6))
@settings(deadline=None, max_examples=150)
def test_whatever_links_say_nothing_leads_out(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, bytes | str]
) -> None:
    root = tmp_path_factory.mktemp("links")
    path = tar(root / "m.tar", entries)
    try:
        paths = archives.unpack(path, root / "out")
    except ForebayError:
        paths = None
    assert sorted(os.listdir(root)) in (["m.tar"], ["m.tar", "out"])  # noqa: PTH208
    assert not [p for p in (root / "out").rglob("*") if p.is_symlink()]
    if paths is not None:
        assert sorted(paths) == sorted(tree_of(root / "out"))


@pytest.mark.parametrize(("path", "to", "expected"), [
    ("a", "b", "b"), ("a/b", "c", "a/c"), ("a/b", "./c", "a/c"), ("a/b", "../c/", "c"),
    ("a/b/c", "../../d", "d"),
])  # fmt: skip
def test_where_a_link_leads(path: str, to: str, expected: str) -> None:
    assert links.inside(path, to) == expected
