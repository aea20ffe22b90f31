"""What a new process keeps of a part that an earlier one has left."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from forebay.pull import engine, journal, parts
from forebay.pull.opening import open_transfer, transfer_of
from forebay.pull.plan import Ranges
from forebay.pull.state import Transfer, entry_of
from forebay.sources.types import Listing, RemoteFile

BODY = bytes(range(256)) * 64
CAME = Ranges([(0, 4096), (8192, 12288)])


def reopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, boots: tuple[str, str], sha256: str = "",
             md5: str = "", void: bool = False, on_disk: int = len(BODY),
             etags: tuple[str, ...] = ("e",)) -> Transfer:  # fmt: skip
    """A part left under the first run of the kernel and opened under the second."""
    file = RemoteFile("model.bin", len(BODY), sha256=sha256, md5=md5, etag="e")
    left, transfer = (
        transfer_of(Listing("https://h/model.bin", "r", (file,)), tmp_path, file) for _ in range(2)
    )
    left.path.write_bytes(BODY[:on_disk])
    left.done, left.prefix, left.digests.md5_void = CAME, (4096, "d" * 64), void
    left.etags = dict.fromkeys(etags, "e")
    monkeypatch.setattr(journal, "boot_id", lambda: boots[0])
    entry = entry_of(left)
    journal.save(transfer.journal, entry)
    monkeypatch.setattr(journal, "boot_id", lambda: boots[1])
    assert open_transfer(transfer, direct=False, have=lambda _: False) == "open"
    assert transfer.part is not None
    transfer.part.close()
    transfer.lock.release()
    return transfer


def test_under_the_same_kernel_all_that_came_is_kept(tmp_path, monkeypatch):
    assert reopened(tmp_path, monkeypatch, boots=("b1", "b1")).done == CAME


def test_after_another_start_of_the_machine_only_the_hashed_prefix_is_kept(tmp_path, monkeypatch):
    """Nobody promised a digest, and a power cut may have undone any write: the prefix's own hash decides."""
    kept = reopened(tmp_path, monkeypatch, boots=("b1", "b2"))
    assert kept.done == Ranges([(0, 4096)]) and kept.expect == (4096, "d" * 64)


def test_where_nobody_names_the_kernel_s_run_it_counts_as_another(tmp_path, monkeypatch):
    assert reopened(tmp_path, monkeypatch, boots=("", "")).done == Ranges([(0, 4096)])


def test_without_digest_etag_and_date_nothing_is_kept(tmp_path, monkeypatch):
    """Nobody can tell whether the rest is of the same version."""
    kept = reopened(tmp_path, monkeypatch, boots=("b1", "b1"), etags=())
    assert kept.done.total == 0 and kept.expect == (0, "") and kept.path.stat().st_size == 0
    assert reopened(tmp_path, monkeypatch, boots=("b1", "b1"), sha256="a" * 64, etags=()).done == CAME


def test_with_a_promised_digest_all_is_kept_whoever_ran(tmp_path, monkeypatch):
    """The digest decides in the end."""
    assert reopened(tmp_path, monkeypatch, boots=("b1", "b2"), sha256="a" * 64).done == CAME


def test_a_promise_that_turned_out_to_be_none_is_none_to_the_next_process(tmp_path, monkeypatch):
    """The ETag of an object under a key of its own looks like an MD5: what a power cut undid was kept, and
    published, as nothing is compared with it in the end."""
    kept = reopened(tmp_path, monkeypatch, boots=("b1", "b2"), md5="a" * 32, void=True)
    assert kept.done == Ranges([(0, 4096)]) and not kept.digests.promised
    assert reopened(tmp_path, monkeypatch, boots=("b1", "b1"), md5="a" * 32, void=True).done == CAME
    assert reopened(tmp_path, monkeypatch, boots=("b1", "b2"), md5="a" * 32).done == CAME


def test_what_the_file_is_too_short_for_is_not_kept(tmp_path, monkeypatch):
    kept = reopened(tmp_path, monkeypatch, boots=("b1", "b1"), on_disk=8192 + 100)
    assert kept.done == Ranges([(0, 4096), (8192, 8292)])
    short = reopened(tmp_path, monkeypatch, boots=("b1", "b1"), on_disk=100)
    assert short.done.total == 0 and short.expect == (0, "")


def test_a_journal_that_cannot_be_read_means_nothing_came(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "encode", lambda entry: b"torn")
    kept = reopened(tmp_path, monkeypatch, boots=("b1", "b1"))
    assert kept.done.total == 0 and kept.path.stat().st_size == 0


def test_a_journal_about_other_bytes_means_nothing_came(tmp_path, monkeypatch):
    """Of one digest and another size, say: the part has the same name."""
    file = RemoteFile("model.bin", len(BODY), sha256="a" * 64)
    transfer = transfer_of(Listing("https://h/model.bin", "r", (file,)), tmp_path, file)
    journal.save(transfer.journal, journal.Entry(f"sha256:{'a' * 64}:{len(BODY) + 1}", CAME))
    assert journal.load(transfer.journal, transfer.identity) is None


def test_a_lock_whose_name_went_between_opening_and_locking_is_nobodys(tmp_path, monkeypatch):
    """The holder before us removes the file as it lets go; a third would make a new one and lock that."""
    flock, path = fcntl.flock, tmp_path / "x.lock"

    def late(descriptor: int, operation: int) -> None:
        path.unlink()
        monkeypatch.setattr(parts.fcntl, "flock", flock)
        flock(descriptor, operation)

    monkeypatch.setattr(parts.fcntl, "flock", late)
    lock, other = parts.Lock(path), parts.Lock(path)
    assert not lock.take()
    assert other.take() and not lock.take()
    other.release()
    assert lock.take()
    lock.release()
    assert not path.exists()


def test_a_folder_that_is_not_locked_yet_is_not_lost_to_who_looks_for_dead_ones(tmp_path, monkeypatch):
    flock, others = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(engine.fcntl, "flock", flock)
        others.append(engine.SmallFolder(tmp_path, needed=True))
        flock(descriptor, operation)

    monkeypatch.setattr(engine.fcntl, "flock", late)
    mine = engine.SmallFolder(tmp_path, needed=True)
    assert mine.path.is_dir() and others[0].path.is_dir() and mine.path != others[0].path
    third = engine.SmallFolder(tmp_path, needed=True)
    for folder in (mine, *others, third):
        assert folder.path.is_dir()
        folder.remove()
    assert list(tmp_path.iterdir()) == []
