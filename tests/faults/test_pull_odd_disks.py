"""Disks that lack something: direct writes, locks, room, the right to write; and archives that attack."""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.cache_promises import serve, shown
from tests.faults.lying_server import LyingServer
from tests.faults.pulling import Folder, some_bytes

from forebay.cache import open_root
from forebay.errors import Damaged, Denied, Exhausted, ForebayError, Invalid
from forebay.pull import Settings, pull_to
from forebay.pull.parts import Part
from forebay.sources.archives import unpack

BODY = some_bytes(5_000_001)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def test_a_file_system_that_refuses_direct_writes_is_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some refuse at the open, some only at the first write."""
    real_open, real_write = os.open, os.pwrite

    def no_open(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct writes here")
        return real_open(path, flags, mode)  # type: ignore[arg-type]

    def no_write(descriptor: int, view: memoryview, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not meant")
        return real_write(descriptor, view, offset)

    for name, fake in (("open", no_open), ("pwrite", no_write)):
        with monkeypatch.context() as patch, LyingServer(BODY) as server:
            patch.setattr(os, name, fake)
            report = pull_to(server.url, tmp_path / name, env={}, settings=Settings())
        assert (tmp_path / name / "model.bin").read_bytes() == BODY and report.retries == 0


def test_a_part_on_such_a_file_system_is_read_again_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run left is read before anything is written, so the first refusal is that of a read."""
    real_read, direct = os.preadv, list[int]()

    def no_read(descriptor: int, views: list[memoryview], offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            direct.append(descriptor)
            raise OSError(errno.EINVAL, "not meant")
        return real_read(descriptor, views, offset)

    path, page = tmp_path / "x.part", memoryview(mmap.mmap(-1, 4096))
    path.write_bytes(BODY[:4096])
    monkeypatch.setattr(os, "preadv", no_read)
    part = Part(path, direct=True)
    if not part.direct:
        pytest.skip("no direct writes here at all")
    assert part.read(0, page) == 4096 and bytes(page) == BODY[:4096]
    assert part.read(0, page) == 4096 and len(direct) == 1 and not part.direct
    part.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(direct[0])  # given up, and closed all the same


def test_several_connections_may_find_out_at_once_that_direct_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is past the question whether to write so when the first gets its answer."""
    part, real_write, real_direct = Part(tmp_path / "x.part", direct=True), os.pwrite, Part._directly
    if not part.direct:
        pytest.skip("no direct writes here anyway")
    block, others = memoryview(mmap.mmap(-1, 4096)), [4096]

    def write(descriptor: int, view: memoryview, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not meant")
        return real_write(descriptor, view, offset)

    def direct(self: Part, call: object, view: memoryview, offset: int) -> int:
        if others:
            self.write(others.pop(), view)
        return real_direct(self, call, view, offset)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(Part, "_directly", direct)
    part.write(0, block)
    part.close()
    assert part.path.stat().st_size == 8192 and not part.direct
    held = [str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.is_symlink()]
    assert str(part.path) not in held


def test_without_locks_a_pull_works_as_if_it_were_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_flock)
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server:
        folder.pull(server.url)
    assert folder.names() == ["model.bin"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A tiny file system in memory; `remount` it read-only with the command of the test."""
    place = tmp_path / "mount"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


@ROOT
@pytest.mark.parametrize("filled", [0, 1 << 20, (3 << 20) - 8192])
def test_a_disk_that_is_full_is_exhausted_and_more_room_finishes_the_pull(mount: Path, filled: int) -> None:
    (mount / "other").write_bytes(bytes(filled))
    with LyingServer(BODY) as server:
        with pytest.raises(Exhausted, match="free space"):
            pull_to(server.url, mount / "out", env={}, settings=Settings())
        assert not (mount / "out" / "model.bin").exists()
        subprocess.run(["mount", "-o", "remount,size=32m", str(mount)], check=True)
        pull_to(server.url, mount / "out", env={}, settings=Settings())
    assert (mount / "out" / "model.bin").read_bytes() == BODY


@ROOT
def test_a_mount_without_the_right_to_write_is_denied(mount: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    with LyingServer(BODY) as server, pytest.raises(Denied, match="check the mount"):
        pull_to(server.url, mount / "out", env={}, settings=Settings())


def test_an_input_error_of_the_disk_is_told_and_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Part, offset: int, view: memoryview) -> None:
        from forebay.kit.disk_errors import disk_error

        raise disk_error(f"write {self.path}", OSError(errno.EIO, "Input/output error"))

    monkeypatch.setattr(Part, "write", broken)
    folder = Folder(tmp_path)
    with LyingServer(BODY) as server, pytest.raises(ForebayError, match="Input/output error"):
        folder.pull(server.url)
    assert folder.names() == []


def test_bytes_are_safe_before_their_name_and_the_name_before_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order on which everything after a power cut rests: sync the part, rename it, sync the folder."""
    seen: list[tuple[str, str]] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        seen.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append(("name", str(target)))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    out = tmp_path / "out"
    with LyingServer(BODY) as server:
        pull_to(server.url, out, env={}, settings=Settings())
    named = seen.index(("name", str(out / "model.bin")))
    before, after = seen[:named], seen[named:]
    assert any(what == "sync" and path.endswith(".part") for what, path in before)
    assert ("sync", str(out)) in after


def _tar(*items: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as pack:
        for name, kind, to in items:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, to
            item.size = 3 if kind == tarfile.REGTYPE else 0
            pack.addfile(item, io.BytesIO(b"abc") if item.size else None)
    return out.getvalue()


ATTACKS = {
    "link-then-through-it": _tar(("l", tarfile.SYMTYPE, "/tmp"), ("l/x", tarfile.REGTYPE, "")),
    "hard-link-to-outside": _tar(("l", tarfile.LNKTYPE, "/etc/passwd")),
    "up-and-out": _tar(("../x", tarfile.REGTYPE, "")),
    "absolute": _tar(("/x", tarfile.REGTYPE, "")),
    "the-same-name-twice": _tar(("a", tarfile.REGTYPE, ""), ("a", tarfile.REGTYPE, "")),
    "differs-only-in-case": _tar(("a/B", tarfile.REGTYPE, ""), ("A/b", tarfile.REGTYPE, "")),
    "a-device": _tar(("d", tarfile.CHRTYPE, "")),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_archive_that_attacks_is_refused_and_nothing_lies_outside(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "in" / "a.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(ATTACKS[name])
    with pytest.raises((Damaged, Invalid)):
        unpack(archive, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} <= {"in", "out"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_grows_beyond_reason_is_stopped_early(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
            pack.writestr("zeros", bytes(40 << 20))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            item = tarfile.TarInfo("zeros")
            item.size = 40 << 20
            tar.addfile(item, io.BytesIO(bytes(40 << 20)))
    with pytest.raises(Damaged, match="far more than"):
        unpack(archive, tmp_path / "out", bytes_max=4 << 20)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 4 << 20


@ROOT
@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_there_already_needs_no_right_to_write(mount: Path, recorded: bool) -> None:
    """A read-only image of a model, made by a pull or by other means."""
    body = BODY[:1_000_001]
    with LyingServer(body) as server:
        pull_to(server.url, mount / "out", env={}, settings=Settings())
        if not recorded:
            shutil.rmtree(mount / "out" / ".forebay-parts")
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        report = pull_to(server.url, mount / "out", env={}, settings=Settings())
        assert (report.files_had, report.bytes_network) == (1, 0)
        with pytest.raises(Denied, match="check the mount"):
            pull_to(server.url, mount / "elsewhere", env={}, settings=Settings())


def _no_folder_syncs(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real(descriptor)


def test_a_file_system_that_syncs_no_folders_takes_pulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMB's, for one."""
    monkeypatch.setattr(os, "fsync", _no_folder_syncs)
    with LyingServer(BODY) as server:
        pull_to(server.url, tmp_path / "out", env={}, settings=Settings())
    assert (tmp_path / "out" / "model.bin").read_bytes() == BODY
    root = open_root(tmp_path / "root")
    serve(root, "k", {"w": b"weights"})
    assert shown(root, "k") is not None


def test_a_file_system_that_cuts_no_files_takes_pulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "ftruncate", refuse)
    monkeypatch.setattr(os, "truncate", refuse)
    with LyingServer(BODY) as server:
        pull_to(server.url, tmp_path / "out", env={}, settings=Settings())
    assert (tmp_path / "out" / "model.bin").read_bytes() == BODY
