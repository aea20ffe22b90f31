"""One suite for the real disk and the simulated one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from forebay.errors import Unavailable
from forebay.kit.disk import RealDisk, files_below, make_folders, put, read, remove_tree
from tests.fakes.simdisk import SimDisk


@pytest.fixture(params=["real", "simulated"])
def place(request, tmp_path):
    """(disk, an empty folder on it)"""
    if request.param == "real":
        return RealDisk(), tmp_path
    disk = SimDisk()
    disk.mkdir(Path("/d"))
    return disk, Path("/d")


def test_what_is_written_is_read_and_can_be_replaced(place):
    disk, at = place
    disk.write(at / "a", b"one")
    disk.write(at / "a", iter([b"tw", b"o"]))
    assert read(disk, at / "a") == b"two"
    assert disk.info(at / "a").size == 3


def test_an_absent_name_has_no_info_and_an_absent_folder_no_names(place):
    disk, at = place
    assert disk.info(at / "x") is None
    assert disk.info(at / "x" / "y") is None
    assert disk.list(at / "x") == []
    with pytest.raises(FileNotFoundError):
        read(disk, at / "x")
    with pytest.raises(FileNotFoundError):
        disk.write(at / "x" / "y", b"")


def test_a_rename_replaces_a_file_and_takes_the_old_name_away(place):
    disk, at = place
    disk.write(at / "a", b"new")
    disk.write(at / "b", b"old")
    disk.rename(at / "a", at / "b")
    assert (disk.list(at), read(disk, at / "b")) == (["b"], b"new")


def test_renaming_one_name_of_a_file_over_another_of_its_names_does_nothing(place):
    disk, at = place
    disk.write(at / "a", b"x")
    disk.link(at / "a", at / "b")
    disk.rename(at / "a", at / "b")
    assert disk.list(at) == ["a", "b"]


def test_links_share_bytes_and_are_counted(place):
    disk, at = place
    disk.write(at / "a", b"x")
    disk.link(at / "a", at / "b")
    assert disk.info(at / "a").inode == disk.info(at / "b").inode
    assert disk.info(at / "a").links == 2
    disk.unlink(at / "a")
    assert (read(disk, at / "b"), disk.info(at / "b").links) == (b"x", 1)
    with pytest.raises(FileExistsError):
        disk.link(at / "b", at / "b")


def test_a_folder_moves_with_all_that_is_in_it(place):
    disk, at = place
    disk.mkdir(at / "old")
    disk.write(at / "old" / "f", b"x")
    disk.rename(at / "old", at / "new")
    disk.sync_dir(at)
    assert (disk.list(at), read(disk, at / "new" / "f")) == (["new"], b"x")


def test_a_folder_that_is_not_empty_stays(place):
    disk, at = place
    disk.mkdir(at / "a")
    disk.write(at / "a" / "f", b"")
    with pytest.raises(OSError, match=r"."):
        disk.rmdir(at / "a")
    with pytest.raises(FileExistsError):
        disk.mkdir(at / "a")
    remove_tree(disk, at / "a")
    assert disk.list(at) == []


def test_put_leaves_the_new_bytes_and_no_other_name(place):
    disk, at = place
    put(disk, at / "a", b"1")
    put(disk, at / "a", b"2")
    assert (disk.list(at), read(disk, at / "a")) == (["a"], b"2")


def test_files_below_lists_every_file_of_nested_folders(place):
    disk, at = place
    make_folders(disk, at / "x" / "y")
    disk.write(at / "x" / "y" / "f", b"")
    disk.write(at / "g", b"")
    assert files_below(disk, at) == [at / "g", at / "x" / "y" / "f"]


def test_a_lock_keeps_others_out_until_it_is_given_back(place):
    disk, at = place
    assert not disk.held(at / "l")
    with disk.lock(at / "l", 1):
        assert disk.held(at / "l")
        with pytest.raises(Unavailable), disk.lock(at / "l", 0.02):
            pass
    assert not disk.held(at / "l")
    with disk.lock(at / "l", 1):
        pass


def test_a_held_lock_is_got_once_its_holder_lets_go(tmp_path):
    disk, got = RealDisk(), threading.Event()

    def second():
        with disk.lock(tmp_path / "l", 10):
            got.set()

    with disk.lock(tmp_path / "l", 1):
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.05)
    assert got.wait(10)
    thread.join()


def test_the_file_system_says_how_full_it_is(place):
    disk, at = place
    room = disk.room(at)
    assert 0 < room.free <= room.total
