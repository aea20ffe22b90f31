"""A node's disk without one free block: what frees room works there, and nothing is left lying about."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.fakes.cache_promises import assert_promises, serve, shown
from tests.fakes.mounts import fill, mounted
from tests.faults.pulling import some_bytes

from forebay.cache import damage, entitled, manifests, open_root, pins, reservations, verify
from forebay.cache.entitled import Entitlement
from forebay.cache.manifest import Manifest
from forebay.cache.root import Root
from forebay.errors import Exhausted, ForebayError
from forebay.kit.disk import files_below
from forebay.node import act
from forebay.node.act import Hands
from forebay.node.chores import Chores
from forebay.node.decide import Answer, Remove, Withdraw
from forebay.pull.cached import pull_cached

BODY = {"w": b"weights" * 3000}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """Two models, on a small file system in memory."""
    with mounted(tmp_path / "disk", "tmpfs", "size=1m") as disk:
        made = open_root(disk / "root")
        serve(made, "a", {**BODY, "name": b"a"})
        serve(made, "b", {"w": b"other" * 3000})
        entitled.record(made, Entitlement("a", "a", "hf://test/a", "r1", "", made.now()))
        yield made


def fill_disk(root: Root) -> Path:
    return fill(root.layout.root.parent)


def leftovers(root: Root) -> list[str]:
    return [path.name for path in files_below(root.disk, root.layout.ours) if path.name.endswith(".tmp")]


def test_a_model_that_is_unwanted_goes_from_a_full_disk(root: Root) -> None:
    fill_disk(root)
    hands = Hands(root, {}, Chores(root))
    actions = (Withdraw("a", "a"), Answer("x", "refused", "no room"), Remove("a"))
    assert not hands.carry_out(actions)
    assert manifests.find(root, "a") is None and shown(root, "a") is None
    assert leftovers(root) == []
    assert hands.carry_out((Withdraw("a", "a"),))
    assert [record.withdrawn for record in entitled.find_all(root)] == [True]
    assert_promises(root)


def test_a_model_is_evicted_from_a_full_disk_and_for_whom_is_noted_once_there_is_room(root: Root) -> None:
    filled = fill_disk(root)
    hands = Hands(root, {}, Chores(root))
    assert hands.carry_out((Remove("a", evicted_for="new"),))
    assert manifests.find(root, "a") is None and hands.evictions == 1
    filled.unlink()
    hands.carry_out((Answer("x", "granted"),))
    assert root.disk.list(root.layout.evicted) == ["a.json"]


def test_a_model_that_came_again_before_its_eviction_was_noted_is_not_noted(root: Root) -> None:
    filled, notes = fill_disk(root), root.layout.evicted
    hands = Hands(root, {}, Chores(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(act, "put", _full)
        assert hands.carry_out((Remove("a", evicted_for="new"),))
    filled.unlink()
    serve(root, "a", BODY)
    hands.carry_out((Answer("x", "granted"),))
    assert root.disk.list(notes) == []


def test_nothing_is_granted_when_what_was_to_make_room_stays(root: Root, monkeypatch) -> None:
    with reservations.asking(root, key="c", model="c", uri="u") as asker:
        asker._save(state="asked", bytes_needed=1)
        name = reservations.reservation_id("c", "c")
        monkeypatch.setattr(manifests, "remove", _full)
        assert not Hands(root, {}, Chores(root)).carry_out((Remove("a", "c"), Answer(name, "granted")))
        found = reservations.find(root, name)
        assert found is not None and found.state == "asked"


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_pins_of_pods_that_are_gone_go_where_new_ones_find_no_room(root: Root) -> None:
    pins.rebuild(root, [pins.Pin("1", "default/old", ("a",))])
    fill_disk(root)
    with pytest.raises(OSError, match="No space left"):
        pins.rebuild(root, [pins.Pin("2", "default/new", ("b",))])
    assert pins.find_all(root) == [] and leftovers(root) == []


def test_damaged_content_is_set_aside_on_a_full_disk(root: Root) -> None:
    digest = hashlib.sha256(BODY["w"]).hexdigest()
    path = root.layout.blob(digest)
    path.chmod(0o644)
    with path.open("r+b") as blob:
        blob.write(b"W")
    fill_disk(root)
    model = manifests.find(root, "a")
    assert model is not None
    assert [note.digest for note in verify.check(root, model)] == [digest]
    assert not path.exists() and shown(root, "a") is None and manifests.find(root, "a") is None
    assert len([name for name in root.disk.list(root.layout.damaged) if name.endswith(".blob")]) == 1
    assert damage.wanted_again(root) >= {hashlib.sha256(b"a").hexdigest()}
    assert_promises(root)


def test_a_pull_that_meets_a_full_disk_says_what_is_kept_and_goes_on(root: Root, tmp_path: Path) -> None:
    """What it could not leave for the node's status does not take the place of what went wrong."""
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "w.bin").write_bytes(some_bytes(900_000))
    over = threading.Event()

    def grant() -> None:
        while not over.wait(0.005):
            with suppress(ForebayError, OSError):
                for said in reservations.find_all(root):
                    reservations.answer(root, said.id, "granted")

    env = {"FOREBAY_CACHE_ROOT": str(root.layout.root), "FOREBAY_STORAGE_KEY": "c", "FOREBAY_MODEL": "c"}
    ballast = root.layout.root.parent / "other"
    ballast.write_bytes(bytes(400_000))
    thread = threading.Thread(target=grant, daemon=True)
    thread.start()
    try:
        with pytest.raises(Exhausted, match="free space"):
            pull_cached(f"file://{origin}", env)
        assert manifests.find(root, "c") is None and leftovers(root) == []
        ballast.unlink()
        manifests.remove(root, "a")
        manifests.remove(root, "b")
        pull_cached(f"file://{origin}", env)
    finally:
        over.set()
        thread.join()
    assert manifests.find(root, "c") is not None
    assert_promises(root)


def served(tmp_path: Path) -> tuple[Root, Manifest]:
    root = open_root(tmp_path / "root")
    serve(root, "a", BODY)
    model = manifests.find(root, "a")
    assert model is not None
    return root, model


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_a_check_that_could_not_read_takes_nothing_away(tmp_path: Path, monkeypatch, number: int) -> None:
    """A process without memory or files to open says nothing of the content, which pods use."""
    root, model = served(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(root.disk), "raw_blocks", refusing(number))
        with pytest.raises(OSError, match=os.strerror(number)):
            verify.check(root, model)
    assert shown(root, "a") is not None and damage.notes(root) == []
    assert verify.check(root, model) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN, errno.EBADMSG])
def test_a_check_sets_aside_what_the_disk_has_lost(tmp_path: Path, monkeypatch, number: int) -> None:
    root, model = served(tmp_path)
    monkeypatch.setattr(type(root.disk), "raw_blocks", refusing(number))
    assert [note.found for note in verify.check(root, model)] == [f"unreadable: {os.strerror(number)}"]
    assert shown(root, "a") is None


def test_a_model_of_an_overlays_lower_layer_goes_and_comes(tmp_path: Path) -> None:
    """A cache that came with an image: such a folder cannot be moved."""
    lower = open_root(tmp_path / "lower" / "root")
    for key in ("a", "b"):
        serve(lower, key, {**BODY, "deep/name": key.encode()})
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    layers = ",".join(f"{layer}dir={tmp_path / layer}" for layer in ("lower", "upper", "work"))
    with mounted(tmp_path / "merged", "overlay", layers) as merged:
        root = open_root(merged / "root")
        assert manifests.remove(root, "a") and shown(root, "a") is None
        assert not root.layout.view("a").exists() and root.disk.list(root.layout.trash) == []
        serve(root, "a", {**BODY, "deep/name": b"a"})
        assert shown(root, "a") is not None and shown(root, "b") is not None
        assert_promises(root)
    shutil.rmtree(tmp_path / "work", ignore_errors=True)


def test_a_content_that_gets_no_more_names_is_said_so(tmp_path: Path, monkeypatch) -> None:
    """ext4 gives a file 65,000."""
    root = open_root(tmp_path / "root")
    serve(root, "a", BODY)

    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="one content has 2 names, and gets no more"):
        serve(root, "b", BODY)
    assert shown(root, "b") is None


def test_a_file_system_that_does_not_tell_its_size_has_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ramfs", "size=1m") as disk:
        assert open_root(disk / "root").disk.room(disk).free >= 1 << 50
