"""Power cuts between any two disk operations: the promises hold in every state a disk may wake up in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.cache_promises import ROOT, a_pin, assert_promises, model, opened, pull, serve, shown
from tests.fakes.simdisk import PowerCut, SimDisk

from forebay.cache import adopt, blobs, damage, gc, manifests, pins, views
from forebay.kit.disk import make_folders

A = {"config.json": b"{}", "weights/one.bin": b"one" * 50, "weights/two.bin": b"two" * 50}
B = {"config.json": b"{}", "other.bin": b"other" * 40}
PART, BLOB, BODY = Path("/p/part"), Path("/b/blob"), b"body" * 9


@given(cut_after=st.integers(0, 8), data=st.data())
def test_c1_a_power_cut_leaves_the_whole_blob_or_none(cut_after, data):
    disk, told = SimDisk(), False
    for folder in (PART.parent, BLOB.parent):
        make_folders(disk, folder)
    disk.cut_after = disk.changes + cut_after
    try:
        disk.write(PART, BODY)
        blobs.commit(disk, [(PART, BLOB)])
        told = True
    except PowerCut:
        pass
    woke = disk.after_power_cut(data.draw)
    found = b"".join(woke.blocks(BLOB)) if woke.info(BLOB) else None
    assert found in (None, BODY)
    assert not told or found == BODY


def do_pull(root):
    serve(root, "b", B)


def do_refresh(root):
    pull(root, model("a", B, "r2"), B)
    views.publish(root, "a")


def do_remove(root):
    manifests.remove(root, "a")


def do_collect(root):
    manifests.remove(root, "a")
    gc.collect(root, keep_parts=())


def do_damage(root):
    damage.set_aside(root, hashlib.sha256(b"{}").hexdigest(), "else")


def do_adopt(root):
    make_folders(root.disk, root.layout.staged("c") / "sub")
    root.disk.write(root.layout.staged("c") / "sub" / "f", b"foreign")
    adopt.adopt(root, key="c", uri="s3://x/y")
    views.publish(root, "c")


def do_pin(root):
    manifests.set_pinned(root, "a", True)
    pins.rebuild(root, [a_pin("u1", "a")])
    manifests.touch(root, ["a"])


DEEDS = [do_pull, do_refresh, do_remove, do_collect, do_damage, do_adopt, do_pin]


@pytest.mark.parametrize("deed", DEEDS)
@given(data=st.data())
def test_c2_c3_c7_whatever_the_power_interrupts_what_wakes_up_keeps_the_promises(deed, data):
    disk = SimDisk()
    root = opened(disk)
    serve(root, "a", A)
    before = disk.changes
    if deed is do_damage:
        bad = root.layout.blob(hashlib.sha256(b"{}").hexdigest())
        disk._file(bad).data = disk._file(bad).safe = b"[]"
    probe = disk.changes
    cut = data.draw(st.integers(0, 120), label="changes before the cut")
    disk.cut_after = probe + cut
    finished = False
    try:
        deed(root)
        finished = True
    except PowerCut:
        pass
    woken = opened(disk.after_power_cut(data.draw))
    gc.recover(woken)
    if deed is not do_damage or finished or damage.notes(woken):
        assert_promises(woken)
    assert before <= probe
    if finished:
        _assert_done(deed, woken)
    elif deed in (do_pull, do_pin, do_adopt):
        assert shown(woken, "a") is not None, "what was whole and unconcerned is gone"


def test_c5_a_bad_blob_that_woke_up_under_both_its_names_keeps_only_the_one_aside():
    """A rename between two folders: the new name may be durable while the end of the old one is not."""
    root = opened(SimDisk())
    serve(root, "a", A)
    digest = hashlib.sha256(b"{}").hexdigest()
    bad = root.layout.blob(digest)
    root.disk._file(bad).data = b"[]"
    damage.set_aside(root, digest, "else")
    aside = next(root.layout.damaged / n for n in root.disk.list(root.layout.damaged) if n.endswith(".blob"))
    make_folders(root.disk, bad.parent)
    root.disk.link(aside, bad)
    gc.recover(root)
    assert root.disk.info(bad) is None and root.disk.info(aside) is not None
    assert_promises(root)


def _assert_done(deed, woken):
    """What was told as done is durable."""
    if deed is do_pull:
        assert shown(woken, "b").keys() == B.keys()
    if deed is do_refresh:
        assert manifests.find(woken, "a").revision == "r2"
    if deed in (do_remove, do_collect):
        assert shown(woken, "a") is None
        assert manifests.find(woken, "a") is None
    if deed is do_damage:
        assert shown(woken, "a") is None
        assert [note.found for note in damage.notes(woken)] == ["else"]
        assert any(name.endswith(".blob") for name in woken.disk.list(woken.layout.damaged))
    if deed is do_adopt:
        assert shown(woken, "c") == {"sub/f": hashlib.sha256(b"foreign").hexdigest()}
    if deed is do_pin:
        assert pins.users(woken, "a") == ["default/u1"]
        assert manifests.find(woken, "a").pinned


@given(data=st.data())
def test_c7_a_pull_that_lost_power_is_finished_by_the_next(data):
    disk = SimDisk()
    root = opened(disk)
    disk.cut_after = disk.changes + data.draw(st.integers(0, 80))
    with pytest.raises(PowerCut):
        while True:
            serve(root, "a", A)
            manifests.remove(root, "a")
    woken = opened(disk.after_power_cut(data.draw))
    gc.recover(woken)
    serve(woken, "a", A)
    assert_promises(woken)
    assert shown(woken, "a").keys() == A.keys()


def test_the_cut_reaches_every_operation_of_every_deed():
    """Else the draw of the cut above would be too small."""
    for deed in DEEDS:
        disk = SimDisk()
        root = opened(disk)
        serve(root, "a", A)
        start = disk.changes
        deed(root)
        assert disk.changes - start <= 120, deed.__name__
    assert root.layout.root == ROOT
