"""What a data folder on an odd file system says."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from forebay.errors import Unavailable
from forebay.home.lock import DataFolder, read_running


def test_a_file_system_without_locks_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`forebay up` said no more than `the system refused: No locks available`."""

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Unavailable, match=rf"cannot lock the data folder {tmp_path}.*--data"):
        DataFolder(tmp_path).take()
    with pytest.raises(Unavailable, match="cannot lock the data folder"):
        read_running(tmp_path)
