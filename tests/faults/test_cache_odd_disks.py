"""A cache on a disk that lacks something or is full, and many hands on one cache."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.fakes.cache_promises import assert_promises, shown
from tests.fakes.plain_user import plain_user
from tests.faults import cache_life

from forebay.cache import gc, manifests, open_root, reservations
from forebay.errors import Absent, Damaged, Exhausted, ForebayError, Unavailable
from forebay.pull import Settings, pull_to


@pytest.fixture(autouse=True)
def agent(tmp_path: Path) -> Iterator[None]:
    """Someone who grants whatever is asked, whatever the disk does."""
    root, over = open_root(tmp_path / "root"), threading.Event()

    def run() -> None:
        while not over.wait(0.005):
            with suppress(ForebayError, OSError):
                for said in reservations.find_all(root):
                    reservations.answer(root, said.id, "granted")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def refusing(number: int):
    def refuse(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_a_cache_says_what_it_needs(tmp_path: Path, monkeypatch, number: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refusing(number))
        with pytest.raises(Unavailable, match="no hard link can be made: a cache needs them"):
            cache_life.pull(tmp_path, "a")
    root = open_root(tmp_path / "root")
    assert manifests.find(root, "a") is None and shown(root, "a") is None
    cache_life.pull(tmp_path, "a")
    assert shown(root, "a").keys() == {*cache_life.BODIES, "name"}


def test_a_plain_pull_needs_no_hard_links(tmp_path: Path, monkeypatch) -> None:
    uri = cache_life.origin(tmp_path, "a")
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    pull_to(uri, tmp_path / "out", env={"FOREBAY_FILE_COPY": "1"}, settings=Settings())
    assert (tmp_path / "out" / "one.bin").read_bytes() == cache_life.BODIES["one.bin"]


def test_without_locks_a_cache_says_what_it_needs(tmp_path: Path, monkeypatch) -> None:
    """Two processes that both believe to be alone would break C4; a plain pull, which is one, goes on."""
    open_root(tmp_path / "root")
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with pytest.raises(Unavailable, match="which several processes on one folder need"):
        cache_life.pull(tmp_path, "a")
    assert manifests.find(open_root(tmp_path / "root"), "a") is None


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, Exhausted), (errno.EDQUOT, Exhausted), (errno.EIO, Unavailable)]
)
def test_a_disk_that_refuses_bytes_has_its_own_error_and_the_cache_goes_on(
    tmp_path: Path, monkeypatch, number: int, error: type[ForebayError]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refusing(number))
        with pytest.raises(error):
            cache_life.pull(tmp_path, "a")
    root = open_root(tmp_path / "root")
    assert_promises(root)
    cache_life.pull(tmp_path, "a")
    assert shown(root, "a") is not None


def test_pulls_that_share_content_beside_removal_and_collection_keep_the_promises(tmp_path: Path) -> None:
    """C2 and C4 with many hands: four pulls of models with common files, a remover and a collector."""
    root, over, wrong = open_root(tmp_path / "root"), threading.Event(), []
    for name in "abcd":
        cache_life.origin(tmp_path, name)

    def until_over(deed) -> threading.Thread:
        def run() -> None:
            rng = random.Random(deed.__name__)
            while not over.is_set():
                try:
                    deed(rng)
                except (Absent, Damaged, Unavailable):
                    continue  # somebody was first: the view's manifest or its content has gone meanwhile
                except BaseException as error:  # noqa: BLE001 (told by the test below)
                    wrong.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def removes(rng: random.Random) -> None:
        manifests.remove(root, rng.choice("abcd"))

    def collects(rng: random.Random) -> None:
        gc.collect(root, keep_parts=())

    hands = [until_over(removes), until_over(collects)]
    pulls = [threading.Thread(target=_pull_often, args=(tmp_path, n, wrong), daemon=True) for n in "abcd"]
    for thread in pulls:
        thread.start()
    for thread in pulls:
        thread.join(timeout=50)
        assert not thread.is_alive()
    over.set()
    for thread in hands:
        thread.join(timeout=10)
    assert wrong == []
    gc.collect(root, keep_parts=())
    assert_promises(root)
    for name in "abcd":
        cache_life.pull(tmp_path, name)
        assert shown(root, name).keys() == {*cache_life.BODIES, "name"}


def _pull_often(folder: Path, name: str, wrong: list[BaseException]) -> None:
    root = open_root(folder / "root")
    for _ in range(8):
        try:
            cache_life.pull(folder, name)
            with root.locked():
                assert_promises(root)
        except Absent:
            continue  # removed between the pull and its view
        except BaseException as error:  # noqa: BLE001 (told by the test)
            wrong.append(error)


def test_a_cache_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    code = "import sys, pathlib, forebay.cache; forebay.cache.open_root(pathlib.Path(sys.argv[1]))"
    child = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True, text=True, timeout=40, check=False, preexec_fn=plain_user,
    )  # fmt: skip
    assert child.returncode == 1
    assert "Unavailable: the cache folder" in child.stderr and "the folder's permissions" in child.stderr
