"""What a person is told of an error of the disk: its class, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from forebay.cache import open_root
from forebay.errors import Bug, Denied, Exhausted, ForebayError, Invalid, Unavailable
from forebay.kit.disk_errors import as_known, disk_error

TOLD = {
    errno.ENOSPC: (Exhausted, "df -i"),
    errno.EDQUOT: (Exhausted, "raise the quota"),
    errno.EFBIG: (Exhausted, "ulimit -f"),
    errno.EMFILE: (Exhausted, "ulimit -n"),
    errno.ENOMEM: (Exhausted, "more memory"),
    errno.EROFS: (Denied, "check the mount"),
    errno.EACCES: (Denied, "owner of the folder"),
    errno.EIO: (Unavailable, "the kernel's log"),
    errno.EXDEV: (Invalid, "another file system"),
    errno.ENAMETOOLONG: (Invalid, "shorter name"),
    errno.EISDIR: (Invalid, "move it away"),
    errno.ETIMEDOUT: (Unavailable, os.strerror(errno.ETIMEDOUT)),
}


@pytest.mark.parametrize("number", TOLD, ids=errno.errorcode.get)
def test_an_error_of_the_disk_says_what_to_do(number: int) -> None:
    family, step = TOLD[number]
    told = disk_error("write /m/x.part", OSError(number, os.strerror(number)))
    assert type(told) is family
    for word in ("write /m/x.part", os.strerror(number), step):
        assert word in told.message


def test_the_file_is_named_unless_it_is_already() -> None:
    busy = OSError(errno.EISDIR, "Is a directory", "/m/x.part", None, "/m/x")
    assert "(Is a directory: /m/x)" in disk_error("publish into /elsewhere", busy).message
    denied = OSError(errno.EACCES, "Permission denied", "/m/x.part")
    assert "write /m/x.part (Permission denied):" in disk_error("write /m/x.part", denied).message


@pytest.mark.parametrize(
    ("number", "family", "step"),
    [
        (errno.EMFILE, Exhausted, "ulimit -n"),
        (errno.EDQUOT, Exhausted, "raise the quota"),
        (errno.EIO, Unavailable, "the kernel's log"),
        (errno.EXDEV, Unavailable, "another file system"),
        (errno.EROFS, Unavailable, "the folder's permissions"),
    ],
    ids=str,
)
def test_a_caches_errors_say_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, family: type[ForebayError], step: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(family, match=step):
        open_root(tmp_path / "root")


def test_what_a_process_lacks_is_no_bug_and_anything_else_is_not_explained_away() -> None:
    assert isinstance(as_known("pull", MemoryError()), Exhausted)
    assert isinstance(as_known("pull", OSError(errno.ENFILE, "x")), Exhausted)
    assert as_known("pull", OSError(errno.EBADF, "x")) is None and as_known("pull", KeyError("x")) is None
    bug = Bug("x")
    assert as_known("pull", bug) is bug
