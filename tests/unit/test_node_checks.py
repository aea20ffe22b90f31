"""Checks of what lies on the disk: resumed, paused, scheduled, and never mistaken for a bad disk."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading

import pytest

from forebay.cache import damage, manifests, open_root, verify
from forebay.cache.manifest import File, Manifest
from forebay.node import chores
from forebay.node.chores import Checking, Chores

ASKED = "2026-01-31T13:00:00Z"


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path)


def a_model(root, key, *bodies):
    files = []
    for number, body in enumerate(bodies):
        digest = hashlib.sha256(body).hexdigest()
        place = root.layout.blob(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        files.append(File(f"f{number}", len(body), digest))
    manifest = Manifest(key, "u", "r", tuple(files))
    manifests.publish(root, manifest)
    return manifest


def read_by(check):
    """Bytes that a check has read."""
    read = []
    check(read.append)
    return sum(read)


def carried_out(mine, work):
    """Run the chores until `work` ends."""

    async def story():
        task = asyncio.ensure_future(mine.run(lambda: None))
        try:
            async with asyncio.timeout(20):
                await work()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_an_interrupted_check_goes_on_behind_what_it_has_found_whole(root):
    model = a_model(root, "k", b"a" * 5, b"b" * 7, b"c" * 11)
    first = sorted(model.blobs)[0]

    def stop(count, seen=[]):  # noqa: B006
        seen.append(count)
        if len(seen) == 2:
            raise chores.Stopped

    with pytest.raises(chores.Stopped):
        verify.check(root, model, pause=stop)
    known = verify.whole_since(root, model, 0.0)
    assert known.keys() == {first}
    assert read_by(lambda pause: verify.check(root, model, pause=pause, known=known)) == (
        sum(model.blobs.values()) - model.blobs[first]
    )
    assert manifests.find(root, "k").verified > 0
    assert verify.whole_since(root, model, 0.0) == {}


def test_how_far_a_check_is_takes_no_longer_to_note_the_more_files_there_are(root, monkeypatch):
    """It was written anew after each file: of 100,000 that is 450 GB."""
    model = a_model(root, "k", *(b"%d" % n for n in range(300)))
    written, put = [], verify.put

    def counted(disk, path, data, **more):
        written.append(data.count(b":"))
        put(disk, path, data, **more)

    monkeypatch.setattr(verify, "put", counted)
    assert verify.check(root, model) == []
    assert written[:20] == list(range(1, 21)) and written[-1] >= 300 / 1.06
    assert sum(written) < 30 * 300


def test_what_was_found_whole_before_a_request_is_read_again_for_it(root):
    model = a_model(root, "k", b"a" * 5, b"b" * 7)

    def stop(count, seen=[]):  # noqa: B006
        seen.append(count)
        if len(seen) == 2:
            raise chores.Stopped

    with pytest.raises(chores.Stopped):
        verify.check(root, model, pause=stop)
    assert verify.whole_since(root, model, root.now() + 1) == {}


def test_notes_of_interrupted_checks_go_with_their_models_and_nonsense_counts_as_none(root):
    model = a_model(root, "k", b"a")
    folder = root.layout.ours / "checks"
    folder.mkdir()
    for text in ("{", "[]", '{"x": "y"}', '{"x": NaN}', "[" * 100_000):
        (folder / "k.json").write_text(text)
        assert verify.whole_since(root, model, 0.0) == {}
    (folder / "gone.json").write_text("{}")
    verify.tidy(root)
    assert [path.name for path in folder.iterdir()] == ["k.json"]


def test_an_agent_that_stops_in_the_middle_of_a_check_accuses_no_disk(root):
    model = a_model(root, "k", os.urandom(9 << 20), os.urandom(9 << 20))
    mine = Chores(root)
    mine.schedule = Checking(every_s=1e-9, bytes_s=float(1 << 20))

    async def work():
        await until(lambda: mine.hashed > 0)

    carried_out(mine, work)
    deadline = threading.Event()
    while any(t.name.startswith("forebay-check") for t in threading.enumerate()):
        deadline.wait(0.01)
    assert damage.notes(root) == []
    assert manifests.find(root, "k").content == model.content
    assert mine.results == {}


def test_every_model_that_is_due_is_checked_without_being_asked_for(root, monkeypatch):
    for key in ("a", "b"):
        a_model(root, key, key.encode())
    mine = Chores(root)
    mine.schedule = Checking(every_s=3600.0)
    carried_out(mine, lambda: until(lambda: mine.results == {"clean": 2}))
    assert min(manifests.find(root, key).verified for key in ("a", "b")) > 0


def test_with_no_schedule_nothing_is_checked(root):
    a_model(root, "k", b"a")
    mine = Chores(root)
    mine.schedule = Checking(every_s=0.0)
    assert mine._check_oldest() is False
    mine.schedule = Checking(every_s=3600.0)
    assert mine._check_oldest() is True
    assert mine._check_oldest() is False


def test_a_check_that_nobody_asked_for_stands_back_and_a_pause_holds_all(root):
    a_model(root, "k", b"a" * 10)
    mine = Chores(root)
    mine.schedule, mine.busy = Checking(every_s=3600.0), True

    async def stands_back():
        await until(lambda: mine.hashed > 0)
        assert mine.results == {}
        mine.check("k", ASKED)
        mine.paused, mine.busy = True, False
        await asyncio.sleep(0)
        assert mine.results == {}
        mine.paused = False
        await until(lambda: mine.results == {"clean": 2})

    carried_out(mine, stands_back)
    assert manifests.find(root, "k").verified_for == ASKED


def test_one_that_was_asked_for_does_not_wait_for_pulls(root):
    a_model(root, "k", b"a" * 10)
    mine = Chores(root)
    mine.schedule, mine.busy = Checking(every_s=0.0), True
    mine.check("k", ASKED)
    carried_out(mine, lambda: until(lambda: mine.results == {"clean": 1}))


def test_checks_have_the_lowest_priority_and_nobody_else_gets_it(root, monkeypatch):
    model = a_model(root, "k", b"a" * 10)
    seen = []
    mine = Chores(root)
    mine.check(model.key, ASKED)
    monkeypatch.setattr(chores._Pace, "step", lambda *_: seen.append(_nice()))
    carried_out(mine, lambda: until(lambda: mine.results == {"clean": 1}))
    assert seen == [19]
    assert _nice() < 19


def _nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_disk_that_fails_ends_no_check_but_its_own(root, monkeypatch):
    """The agent ended with it."""
    a_model(root, "k", b"a" * 5)
    mine, find = Chores(root), manifests.find

    def failing(of, key):
        if key == "bad":
            raise OSError(errno.EIO, "Input/output error")
        return find(of, key)

    monkeypatch.setattr(manifests, "find", failing)
    mine.check("bad", "2026-01-01T00:00:00Z")
    mine.check("k", "2026-01-01T00:00:00Z")
    carried_out(mine, lambda: until(lambda: mine.results == {"clean": 1}))
    assert mine.checking == {"bad": (0, 0)}  # it rests


def test_a_check_reads_the_device_and_gives_every_byte(root):
    path = root.layout.ours / "x"
    for size in (0, 1, 4096, (4 << 20) + 5, 9 << 20):
        body = os.urandom(size)
        path.write_bytes(body)
        assert b"".join(bytes(block) for block in root.disk.raw_blocks(path)) == body
    with pytest.raises(FileNotFoundError):
        list(root.disk.raw_blocks(path.with_name("y")))


def test_a_check_does_not_read_by_way_of_the_page_cache(root, monkeypatch):
    """It would find what memory holds, and push models out of it."""
    model, read, blocks = a_model(root, "k", b"weights" * 1000), [], type(root.disk).blocks

    def cached(disk, path, *more):
        read.append(path)
        return blocks(disk, path, *more)

    monkeypatch.setattr(type(root.disk), "blocks", cached)
    assert verify.check(root, model) == []
    assert not [path for path in read if path.is_relative_to(root.layout.blobs)]


def test_a_file_system_that_takes_the_flag_and_not_the_read_is_no_bad_disk(root, monkeypatch):
    path = root.layout.ours / "x"
    path.write_bytes(b"abc")

    def refuse(*_):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "preadv", refuse)
    assert b"".join(root.disk.raw_blocks(path)) == b"abc"


def refusing(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


def warming(root):
    """Chores that are asked to warm a model, and check nothing unless they are asked for that, too."""
    a_model(root, "k", b"a" * 10)
    mine = Chores(root)
    mine.schedule = Checking(every_s=0.0)
    mine.warm("k", ASKED)
    return mine


def test_what_cannot_be_read_is_not_warm_and_is_checked(root, monkeypatch):
    mine, unreadable = warming(root), refusing(errno.EIO)
    monkeypatch.setattr(chores, "prewarm", unreadable)
    monkeypatch.setattr(type(root.disk), "raw_blocks", unreadable)
    carried_out(mine, lambda: until(lambda: mine.results == {"damaged": 1}))
    assert mine.warming == {"k"} and manifests.find(root, "k") is None
    assert [note.found for note in damage.notes(root)] == ["unreadable: Input/output error"]


def test_a_process_that_may_open_no_file_warms_nothing_and_takes_nothing_away(root, monkeypatch):
    mine = warming(root)
    monkeypatch.setattr(chores, "prewarm", refusing(errno.EMFILE))
    carried_out(mine, lambda: until(lambda: mine.warming == {"k"} and not mine._cold))
    assert manifests.find(root, "k").warmed_for == "" and mine.results == {}
