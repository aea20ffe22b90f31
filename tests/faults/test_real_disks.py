"""Disks that fail as real ones do: parts that nobody can read back, thin disks, syncs that tell it once or
never."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.mounts import mounted
from tests.faults.lying_server import LyingServer, until
from tests.faults.pulling import KIB, Folder, quick, some_bytes

from forebay.engines.hub import Hub, HubSettings
from forebay.errors import Exhausted, ForebayError, Unavailable
from forebay.pull import Finished, Settings, hashing, pull_to
from forebay.pull.board import Board
from forebay.pull.parts import Part
from forebay.pull.state import Transfer

BODY = some_bytes(600_001)
ONE = quick(connections_start=1, connections_max=1)


def half_a_pull(folder: Folder, server: LyingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that leaves some of the file in its part."""
    real, written = Part.write, []

    def write(self: Part, offset: int, view: memoryview) -> None:
        if len(written) > 8:
            raise Exhausted("no room")
        written.append(offset)
        real(self, offset, view)

    with monkeypatch.context() as patch, pytest.raises(Exhausted):
        patch.setattr(Part, "write", write)
        folder.pull(server.url, settings=ONE)


def failing_reads(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The next reads of parts end as those of bad blocks do; returns where they were."""
    real, failed = os.preadv, list[int]()

    def preadv(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if len(failed) < times:
            failed.append(offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    return failed


@pytest.mark.parametrize("promise", [True, False])
def test_a_part_that_the_disk_cannot_read_back_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: bool
) -> None:
    folder = Folder(tmp_path)
    with LyingServer(BODY, promise=promise) as server:
        half_a_pull(folder, server, monkeypatch)
        failed = failing_reads(monkeypatch, 1)
        report = folder.pull(server.url, settings=ONE)
    assert failed == [0] and (folder.out / "model.bin").read_bytes() == BODY
    assert [note for note in report.notes if "the disk cannot read it back (Input/output error)" in note]


def test_a_disk_that_reads_nothing_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come before their turn are read back: each time in vain."""
    folder, settings = Folder(tmp_path), quick(buffers_bytes_max=16 * 16 * KIB, segment_bytes=128 * KIB)
    with LyingServer(BODY) as server:
        half_a_pull(folder, server, monkeypatch)
        with monkeypatch.context() as patch:
            failing_reads(patch, 1_000_000)
            patch.setattr("forebay.pull.order.Order.came", _never_kept)
            with pytest.raises(Unavailable, match="see the kernel's log"):
                folder.pull(server.url, settings=settings)
        assert folder.names() == []
        folder.pull(server.url, settings=settings)
    assert (folder.out / "model.bin").read_bytes() == BODY


def _never_kept(self: object, transfer: object, offset: int, count: int, buffer: object) -> bool:
    self.advance(transfer)  # type: ignore[attr-defined]
    return False


def test_a_part_that_lost_its_end_is_not_filled_up_with_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was hashed came from memory."""
    folder, real = Folder(tmp_path), Part.sync

    def sync(self: Part, size: int) -> None:
        os.truncate(self.path, size // 2)
        real(self, size)

    with LyingServer(BODY) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Part, "sync", sync)
            with pytest.raises(Unavailable, match="shorter than what was written"):
                folder.pull(server.url)
        assert folder.names() == []
        folder.pull(server.url)
    assert (folder.out / "model.bin").read_bytes() == BODY


def test_a_source_on_a_disk_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(BODY)
    failing_reads(monkeypatch, 1)
    with pytest.raises(Unavailable, match=f"cannot read {source} .*see the kernel's log"):
        pull_to(f"file://{source}", tmp_path / "out", env={"FOREBAY_FILE_COPY": "1"}, settings=ONE)


@pytest.fixture
def many(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A hub whose repository has six small files."""
    repo = tmp_path / "hub" / "acme" / "tiny"
    repo.mkdir(parents=True)
    for number in range(6):
        (repo / f"{number}.json").write_bytes(b"%d" % number * 1000)
    with Hub(HubSettings(tmp_path / "hub")) as hub:
        yield {"HF_ENDPOINT": hub.url}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All six are published together, however busy this machine is."""
    real = Board.next_commit

    def next_commit(self: Board) -> list[Finished | Transfer]:
        until(lambda: len(list(self.verified)) == 6 or self.over)
        return real(self)

    monkeypatch.setattr(Board, "next_commit", next_commit)


def pull_many(dest: Path, env: dict[str, str]) -> list[str]:
    pull_to("hf://acme/tiny", dest, env=env, settings=Settings())
    return sorted(path.name for path in dest.glob("*.json"))


class Libc:
    """syncfs(2) with an answer, on a file system of a kind; `synced` is what it was asked to sync."""

    def __init__(self, kind: int, number: int) -> None:
        self.kind, self.number, self.synced = kind, number, list[str]()

    def fstatfs(self, descriptor: int, about: ctypes.Array[ctypes.c_char]) -> int:
        ctypes.c_long.from_buffer(about).value = self.kind
        return 0

    def syncfs(self, descriptor: int) -> int:
        self.synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        ctypes.set_errno(self.number)
        return -1 if self.number else 0


EXT4, FUSE = 0xEF53, 0x65735546


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Libc:
    made = Libc(*request.param)
    monkeypatch.setattr(hashing.ctypes, "CDLL", lambda *_, **__: made)
    return made


@pytest.fixture
def fsynced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were given to fsync(2)."""
    names, real = list[str](), os.fsync

    def fsync(descriptor: int) -> None:
        names.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


@pytest.mark.parametrize("libc", [(EXT4, 0)], indirect=True)
@pytest.mark.usefixtures("at_once")
def test_small_files_are_synced_by_a_descriptor_from_before_they_were_written(
    tmp_path: Path, many: dict[str, str], libc: Libc
) -> None:
    """It hears of every write that failed since, also of those that another's sync was told before."""
    assert len(pull_many(tmp_path / "out", many)) == 6
    assert libc.synced and {Path(path).name.split(" ")[0] for path in libc.synced} == {"lock"}


@pytest.mark.parametrize(
    ("libc", "error"),
    [((EXT4, errno.EIO), Unavailable), ((EXT4, errno.ENOSPC), Exhausted)],
    indirect=["libc"],
)
@pytest.mark.usefixtures("at_once")
def test_what_a_sync_of_all_refused_is_not_published(
    tmp_path: Path, many: dict[str, str], libc: Libc, error: type[ForebayError]
) -> None:
    with pytest.raises(error):
        pull_many(tmp_path / "out", many)
    assert list((tmp_path / "out").glob("*.json")) == []


@pytest.mark.parametrize("libc", [(FUSE, 0), (EXT4, errno.ENOSYS)], indirect=True)
def test_where_a_sync_of_all_promises_nothing_each_small_file_is_synced(
    tmp_path: Path, many: dict[str, str], libc: Libc, fsynced: list[str]
) -> None:
    assert len(pull_many(tmp_path / "out", many)) == 6
    assert len([name for name in fsynced if "/small-" in name]) == 6


def test_a_thin_disk_whose_store_is_full_publishes_nothing_wrong_and_goes_on_with_more(
    tmp_path: Path,
) -> None:
    """It has free space to show, and fails when blocks are written out. (Not all: what the store took half of
    is written, says a loop device.)"""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("no mkfs.ext4")
    body = some_bytes(16 << 20)
    with mounted(tmp_path / "store", "tmpfs", "size=4m") as store, LyingServer(body) as server:
        image = store / "disk"
        with image.open("wb") as file:
            file.truncate(64 << 20)
        make = ["mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-O", "^has_journal", str(image)]
        subprocess.run(make, check=True, timeout=20)
        out = tmp_path / "disk" / "out"
        with mounted(tmp_path / "disk", "ext4", "loop,errors=continue", str(image)):
            with pytest.raises(ForebayError) as told:
                pull_to(server.url, out, env={}, settings=Settings())
            assert isinstance(told.value, Exhausted | Unavailable)
            assert not (out / "model.bin").exists()
            subprocess.run(["mount", "-o", "remount,size=40m", str(store)], check=True, timeout=20)
            pull_to(server.url, out, env={}, settings=Settings())
        with mounted(tmp_path / "disk", "ext4", "loop", str(image)):
            assert (out / "model.bin").read_bytes() == body
