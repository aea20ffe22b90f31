"""Manifests, paths, reservations and pins as files."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest
from tests.fakes.cache_promises import ROOT, a_pin, assert_promises, model, opened, pull, serve, shown
from tests.fakes.simdisk import SimDisk

from forebay.cache import adopt, blobs, damage, entitled, gc, manifests, pins, reservations, verify, views
from forebay.cache.layout import Layout, checked_key, checked_path
from forebay.cache.manifest import File, Manifest, load
from forebay.cache.prewarm import prewarm, resident_share
from forebay.cache.root import open_root
from forebay.errors import Absent, Clash, Damaged, Exhausted, Invalid, Unavailable
from forebay.kit.disk import make_folders, put, read

BODY = {"config.json": b"{}", "w.bin": b"weights"}


@pytest.fixture
def root():
    return opened(SimDisk())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "", "a//b", "a/./b", "a\\b", "a\nb", "."])
def test_a_path_that_could_leave_the_view_is_refused(path):
    with pytest.raises(Invalid):
        checked_path(path)


@pytest.mark.parametrize("key", ["", "../x", "A", "a/b", "-a", "x" * 64, ".hidden"])
def test_a_key_that_is_no_folder_name_is_refused(key):
    with pytest.raises(Invalid):
        checked_key(key)


def test_two_files_of_one_name_or_one_below_the_other_are_no_model():
    for paths in (["a", "a"], ["a", "a/b"], ["a/b/c", "a"]):
        with pytest.raises(Invalid):
            Manifest("k", "u", "r", tuple(File(p, 0, "0" * 64) for p in paths))


def test_a_manifest_comes_back_as_it_was():
    manifest = dataclasses.replace(model("k", BODY), phases={"resolve": 0.5}, sources={"hub": 9}, pinned=True)
    assert load(manifest.dump(), "it") == manifest


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"format": 2}', b'{"format": 1, "files": [{}]}', b"\xff"]
)
def test_a_manifest_that_is_none_is_damaged(text):
    with pytest.raises(Damaged):
        load(text, "it")


def test_a_damaged_manifest_is_set_aside_and_its_view_taken_away(root):
    serve(root, "k", BODY)
    root.disk.write(root.layout.manifest("k"), b"{")
    assert any("set the manifest of model k aside" in line for line in gc.recover(root))
    assert (manifests.find(root, "k"), shown(root, "k")) == (None, None)
    assert any(name.endswith(".manifest.json") for name in root.disk.list(root.layout.damaged))
    gc.collect(root, keep_parts=())
    assert_promises(root)


def test_a_view_in_use_is_not_removed_and_not_replaced(root):
    serve(root, "k", BODY)
    pins.rebuild(root, [a_pin("p", "k")])
    with pytest.raises(Unavailable, match="default/p"):
        manifests.remove(root, "k")
    with pytest.raises(Unavailable, match="default/p"):
        pull(root, model("k", {"new": b"new"}, "r2"), {"new": b"new"})
    assert manifests.find(root, "k").revision == "r1"
    pins.rebuild(root, [])
    pull(root, model("k", {"new": b"new"}, "r2"), {"new": b"new"})
    views.publish(root, "k")
    assert shown(root, "k").keys() == {"new"}


def test_the_same_content_under_other_names_is_another_view(root):
    serve(root, "k", {"a": b"x"})
    pull(root, model("k", {"b": b"x"}), {"b": b"x"})
    assert shown(root, "k") is None
    views.publish(root, "k")
    assert shown(root, "k").keys() == {"b"}


def test_a_folder_that_is_not_ours_is_never_replaced_or_removed(root):
    make_folders(root.disk, root.layout.view("k"))
    pull(root, model("k", BODY), BODY)
    with pytest.raises(Clash, match="was not made by Forebay"):
        views.publish(root, "k")
    manifests.remove(root, "k")
    assert root.disk.info(root.layout.view("k")) is not None


def test_c4_a_content_that_a_pull_has_claimed_outlives_its_removal_and_collection(root):
    serve(root, "k", BODY)
    digest = model("k", BODY).content["w.bin"]
    assert blobs.claim(root, "other", [(digest, 7)]) == {digest}
    manifests.remove(root, "k")
    gc.collect(root, keep_parts=("other",))
    manifests.publish(root, model("other", {"w.bin": b"weights"}))
    assert_promises(root)
    assert views.publish(root, "other")


def test_c4_a_claimed_content_is_not_collected(root):
    digest = model("k", BODY).content["w.bin"]
    make_folders(root.disk, root.layout.part_files("k"))
    root.disk.write(root.layout.part_files("k") / "p", b"weights")
    blobs.keep(root, "k", [(root.layout.part_files("k") / "p", digest)])
    gc.collect(root, keep_parts=("k",))
    assert blobs.present(root, digest, 7)
    gc.collect(root, keep_parts=())
    assert not blobs.present(root, digest, 7)


def test_c2_a_manifest_is_not_written_for_a_content_that_is_nowhere(root):
    with pytest.raises(Damaged, match="is gone; pull it again"):
        manifests.publish(root, model("k", BODY))
    assert manifests.find(root, "k") is None


def test_c5_wrong_bytes_are_moved_aside_with_a_note_and_only_they_are_fetched_again(root):
    serve(root, "k", BODY)
    serve(root, "other", {"w.bin": b"weights"})
    digest = model("k", BODY).content["w.bin"]
    root.disk._file(root.layout.blob(digest)).data = b"weiGhts"
    notes = verify.check(root, manifests.find(root, "k"))
    assert [note.digest for note in notes] == [digest]
    assert notes[0].keys == ("k", "other")
    assert (shown(root, "k"), shown(root, "other")) == (None, None)
    assert "failed its check" in damage.complaint(root, "k")
    gc.collect(root, keep_parts=())
    claimed = blobs.claim(root, "k", [(f.sha256, f.size) for f in model("k", BODY).files])
    assert claimed == {model("k", BODY).content["config.json"]}
    serve(root, "k", BODY)
    assert damage.complaint(root, "k") == ""
    kept = [n for n in root.disk.list(root.layout.damaged) if n.endswith(".blob")]
    assert [b"".join(root.disk.blocks(root.layout.damaged / n)) for n in kept] == [b"weiGhts"]
    assert_promises(root)


def test_the_model_that_was_not_checked_for_longest_is_checked_next(root):
    serve(root, "a", BODY)
    serve(root, "b", {"x": b"x"})
    root.clock.at += 100
    assert verify.check(root, manifests.find(root, "a")) == []
    assert verify.oldest(root, before=root.now()).key == "b"
    assert verify.oldest(root, before=0) is None


def test_an_adopted_model_has_observed_digests_and_a_link_among_its_files_is_refused(tmp_path):
    root = open_root(tmp_path)
    staged = root.layout.staged("k")
    make_folders(root.disk, staged)
    with pytest.raises(Absent):
        adopt.adopt(root, key="k", uri="u")
    (staged / "link").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match="plain files"):
        adopt.adopt(root, key="k", uri="u")
    (staged / "link").unlink()
    (staged / "f").write_bytes(b"x")
    (staged / "ensemble" / "1").mkdir(parents=True)
    manifest = adopt.adopt(root, key="k", uri="u")
    assert manifest.folders == ("ensemble/1",)
    assert (manifest.files[0].promised, manifest.revision[:9]) == (False, "observed-")
    assert not staged.exists()


def test_a_blob_and_its_view_are_read_only(tmp_path):
    root = open_root(tmp_path)
    serve(root, "k", BODY)
    assert (root.layout.view("k") / "w.bin").stat().st_mode & 0o777 == 0o444


def ask(root, wait_s, bytes_needed=5):
    with reservations.asking(root, key="k", model="m", uri="u") as asker:
        try:
            asker.ask(bytes_needed, "r", "", wait_s=wait_s)
        except (Exhausted, Unavailable) as error:
            asker.fail(error.message, code=error.code, sources={}, mismatches=0)
            raise
        asker.progress(reservations.Progress(2, 5))
        return reservations.find_all(root)[0]


def test_a_granted_pull_goes_on_and_what_it_still_writes_is_counted(tmp_path):
    root = open_root(tmp_path)
    stop = threading.Event()

    def agent():
        while not stop.wait(0.005):
            for said in reservations.find_all(root):
                reservations.answer(root, said.id, "granted")

    thread = threading.Thread(target=agent)
    thread.start()
    said = ask(root, 10)
    stop.set()
    thread.join()
    assert (said.state, said.progress.bytes_done) == ("granted", 2)
    assert reservations.outstanding(root, said) == 0, "its pull is over"
    with reservations.asking(root, key="k", model="m", uri="u"):
        assert reservations.outstanding(root, said) == 3


def test_a_refused_pull_ends_with_the_agents_words_and_leaves_them(tmp_path):
    root = open_root(tmp_path)
    with reservations.asking(root, key="k", model="m", uri="u") as asker:
        asker._save(state="asked")
        reservations.answer(root, asker._now.id, "refused", "no room for m")
        assert reservations.find_all(root)[0].state == "refused"
    with pytest.raises(Unavailable, match="no node agent granted room"):
        ask(root, 0.05)
    assert reservations.find_all(root)[0].state == "failed"


def test_a_dead_pulls_request_is_forgotten_and_a_living_ones_is_not(tmp_path):
    root = open_root(tmp_path)
    with reservations.asking(root, key="k", model="m", uri="u") as asker:
        asker._save(state="asked")
        (said,) = reservations.find_all(root)
        assert reservations.is_alive(root, said)
        reservations.forget(root, said.id)
        assert reservations.find_all(root) == [said]
    assert not reservations.is_alive(root, said)
    reservations.forget(root, said.id)
    assert reservations.find_all(root) == []


def test_an_answer_never_changes_a_pull_that_does_not_wait(tmp_path):
    root = open_root(tmp_path)
    with reservations.asking(root, key="k", model="m", uri="u") as asker:
        asker.fail("why", code="denied", sources={}, mismatches=0)
        reservations.answer(root, asker._now.id, "granted")
        assert reservations.find_all(root)[0].state == "failed"


def test_a_withdrawn_entitlement_is_remembered_until_it_is_forgotten(root):
    entitled.record(root, entitled.Entitlement("m", "k", "u", "r", "", 0.0))
    entitled.withdraw(root, "k", "m")
    assert [e.withdrawn for e in entitled.find_all(root)] == [True]
    entitled.forget(root, "k", "m")
    assert entitled.find_all(root) == []


def test_a_prewarmed_file_is_resident_up_to_the_budget(tmp_path):
    paths = [tmp_path / "small", tmp_path / "large", tmp_path / "empty"]
    for path, size in zip(paths, (5_000, 20 << 20, 0), strict=True):
        path.write_bytes(b"x" * size)
    done = prewarm(paths)
    assert done.bytes == done.total == 5_000 + (20 << 20)
    if done.resident is not None:
        assert done.resident > 0.99
    assert prewarm(paths, budget=6_000).bytes == 6_000
    assert prewarm(paths, stop=lambda: True).bytes == 0
    assert resident_share(paths[2]) is None


def test_a_full_or_foreign_folder_is_said_in_our_words(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(Unavailable, match="check the disk and the folder's permissions"):
        open_root(tmp_path / "f")
    assert Layout(tmp_path).view("k") == tmp_path / "models" / "k"


def test_c6_names_change_only_under_the_lock():
    """A disk that refuses to change a name in blobs, manifests, models or pins without the lock."""

    class Guarded(SimDisk):
        guard = False

        def _guarded(self, path):
            layout = Layout(ROOT)
            kept = (layout.blobs, layout.manifests, layout.models, layout.pins, layout.damaged)
            if self.guard and any(path.is_relative_to(folder) for folder in kept):
                assert self.held(layout.lock), f"{path} changes without the lock"

        def rename(self, old, new):
            self._guarded(old)
            self._guarded(new)
            super().rename(old, new)

        def link(self, old, new):
            self._guarded(new)
            super().link(old, new)

        def unlink(self, path):
            self._guarded(path)
            super().unlink(path)

    disk = Guarded()
    root = opened(disk)
    disk.guard = True
    serve(root, "k", BODY)
    pins.rebuild(root, [a_pin("p", "k")])
    manifests.touch(root, ["k"])
    manifests.set_pinned(root, "k", True)
    pins.rebuild(root, [])
    make_folders(disk, root.layout.staged("c"))
    disk.write(root.layout.staged("c") / "f", b"foreign")
    adopt.adopt(root, key="c", uri="u")
    digest = model("k", BODY).content["w.bin"]
    disk._file(root.layout.blob(digest)).data = b"x"
    verify.check(root, manifests.find(root, "k"))
    manifests.remove(root, "c")
    gc.collect(root, keep_parts=())
    gc.recover(root)


def test_a_newer_pull_and_an_older_agent_understand_each_other(root):
    with reservations.asking(root, key="k", model="m", uri="u") as asker:
        asker._save(bytes_needed=5)
        (name,) = [n for n in root.disk.list(root.layout.reservations) if n.endswith(".json")]
        path = root.layout.reservations / name
        raw = json.loads(read(root.disk, path))
        assert not {"code", "sources", "mismatches"} & raw.keys()
        put(root.disk, path, json.dumps({**raw, "colour": "blue"}).encode())
        (said,) = reservations.find_all(root)
        assert said.bytes_needed == 5
