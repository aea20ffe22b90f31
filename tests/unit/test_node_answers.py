"""What agents say of requests, of caches made anew, and of pins."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from forebay.api.kinds import Job, LocalModelNode
from forebay.cache import damage, entitled, manifests, open_root
from forebay.cache.entitled import Entitlement
from forebay.cache.evict import Space
from forebay.cache.manifest import File, Manifest
from forebay.cache.reservations import Reservation
from forebay.node import chores
from forebay.node.decide import Answer, Ask, Check, Collected, Copy, Entry, Remove, Seen, Warm, decide
from forebay.node.sight import Eyes, Told, entries_of, jobs_of
from forebay.node.status import applied, is_urgent, report

EARLY, LATE = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z"
COPY = Copy("k", "r", 7, {"d": 7}, 0.0, files=3, created=1.0)
BASE = Seen(
    entries=(Entry("a", "hf://x/a", "k", "u1"),), space=Space(100, 7, 0), copies={"k": COPY},
    views=frozenset("k"), entitled=frozenset({("a", "k")}), pods_known=True,
)  # fmt: skip


def said(seen):
    return report(seen, "g").models["a"]


def asking(seen, **more):
    return replace(seen, entries=(replace(seen.entries[0], **more),))


def with_copy(seen, **more):
    return replace(seen, copies={"k": replace(COPY, **more)})


def test_a_check_is_asked_for_once_and_its_answer_names_the_request():
    assert decide(asking(BASE, verify=LATE)) == (Check("k", LATE),)
    assert decide(replace(asking(BASE, verify=LATE), checking={"k": (1, 7)})) == ()
    done = with_copy(asking(BASE, verify=LATE), verified=1e9, verified_for=LATE)
    assert decide(done) == ()
    assert said(done)["verified"] == {
        "requested": LATE, "time": "2001-09-09T01:46:40Z", "files": 3, "damaged": [],
    }  # fmt: skip


def test_of_two_caches_with_one_content_the_later_request_counts_for_both():
    other = Entry("ns/b", "hf://x/a", "k", "u2", verify=LATE)
    seen = replace(BASE, entries=(replace(BASE.entries[0], verify=EARLY), other))
    assert decide(seen) == (Check("k", LATE),)
    done = with_copy(seen, verified=1e9, verified_for=LATE)
    assert decide(done) == ()


def test_warming_for_people_and_for_pods_are_told_apart():
    seen = replace(asking(BASE, warm=LATE), waiting=frozenset("k"))
    assert decide(seen) == (Warm("k"), Warm("k", LATE))
    done = with_copy(asking(BASE, warm=LATE), warmed=1e9, warmed_for=LATE, resident=0.5)
    assert decide(done) == ()
    assert said(done)["warmed"] == {"requested": LATE, "time": "2001-09-09T01:46:40Z", "residentShare": 0.5}


def test_what_makes_room_for_another_is_neither_checked_nor_warmed():
    large = Ask(Reservation("b-k2", "k2", "b", "hf://x/b", 99, "asked"), alive=True)
    full = replace(BASE, space=Space(100, 7, 93), waiting=frozenset("k"), asks=(large,))
    seen = asking(full, warm=LATE, verify=LATE)
    assert decide(seen) == (Remove("k", "b"), Answer("b-k2", "granted"))


def test_damage_is_told_while_the_model_is_away_and_after_it_has_healed():
    away = replace(
        BASE, copies={}, views=frozenset(), complaints={"k": "set aside"}, damaged={"k": ("f.bin",)}
    )
    more = said(away)
    assert (more["reason"], more["message"], more["verified"]) == (
        "Damaged",
        "set aside",
        {"damaged": ["f.bin"]},
    )
    healed = with_copy(replace(BASE, damaged={"k": ("f.bin",)}), verified=1e9, verified_for=LATE)
    assert said(healed)["verified"]["damaged"] == ["f.bin"]


def test_a_pin_in_the_entry_keeps_the_model_when_room_is_wanted():
    wants = Ask(Reservation("i", "k2", "b", bytes_needed=5, asked_at=1.0, state="asked"), True)
    seen = replace(BASE, entries=(*BASE.entries, Entry("b", "u", "k2")), asks=(wants,))
    assert Remove("k", "b") in decide(seen)
    pinned = replace(seen, entries=(replace(BASE.entries[0], pinned=True), seen.entries[1]))
    (answer,) = decide(pinned)
    assert isinstance(answer, Answer) and answer.state == "refused"
    assert said(pinned)["pinned"] is True


def test_why_another_revision_is_not_here_is_told_beside_the_one_that_serves():
    failed = Ask(Reservation("i", "k", "a", state="failed", message="in use by d/p"), False)
    seen = replace(BASE, asks=(failed,))
    assert said(seen)["refused"] == "in use by d/p"
    assert report(seen, "g").states == {"a": "ModelDownloaded"}


def test_progress_of_a_check_is_not_urgent_but_its_end_is_and_so_is_what_was_collected():
    def status(seen):
        return applied({}, report(seen, "g"), "g", frozenset("a"))

    busy = [replace(BASE, checking={"k": (at, 7)}) for at in (1, 2)]
    assert not is_urgent(status(busy[0]), status(busy[1]))
    assert is_urgent(status(busy[1]), status(with_copy(BASE, verified=1e9)))
    swept = replace(BASE, collected=Collected(LATE, 5, 1, 1e9))
    assert is_urgent(status(BASE), status(swept))
    assert status(swept)["groups"]["g"]["collected"] == {
        "requested": LATE, "time": "2001-09-09T01:46:40Z", "bytes": 5, "models": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("record", "cache", "same"),
    [("u1", "u1", True), ("u1", "u2", False), ("", "u2", True), ("u1", "", True)],
)
def test_an_entitlement_is_its_caches_own(record, cache, same):
    assert Entitlement("a", "k", "u", "r", "", 0.0, cache_uid=record).is_of(cache) == same


def test_a_job_of_an_earlier_cache_of_the_name_says_nothing():
    entry = {
        "modelName": "a",
        "sourceModelUri": "hf://x/a",
        "cacheUid": "u2",
        "pinned": True,
        "verifyRequested": LATE,
    }
    node = LocalModelNode.new("n", spec={"localModels": [entry]})
    old = Job.new(
        "a-n", "jobs", labels={"model": "a", "forebay.dev/cache-uid": "u1", "forebay.dev/attempt": "7"}
    )
    new = Job.new("a-n-2", "jobs", labels={"model": "a", "forebay.dev/cache-uid": "u2"})
    old.raw["status"] = {"succeeded": 1}
    assert jobs_of(node, [old]) == {}
    assert jobs_of(node, [old, new])["a"].phase == "active"
    assert entries_of(node, "g") == (
        Entry("a", "hf://x/a", entries_of(node, "g")[0].key, "u2", True, LATE, ""),
    )


def a_model(root, *bodies):
    """A whole model in a real root."""
    files = []
    for number, body in enumerate(bodies):
        digest = hashlib.sha256(body).hexdigest()
        place = root.layout.blob(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        files.append(File(f"f{number}", len(body), digest))
    manifest = Manifest("0123456789abcdef", "u", "r", tuple(files))
    manifests.publish(root, manifest)
    return manifest


def looked(root, *entries):
    told = Told(entries, (), None, {}, (), True, frozenset(), frozenset(), False, {}, frozenset(), "")
    return Eyes(root).look(told)


def test_a_cache_made_anew_while_the_agent_was_away_does_not_inherit_what_its_forerunner_showed(tmp_path):
    root = open_root(tmp_path)
    model = a_model(root, b"one")
    entitled.record(root, Entitlement("a", model.key, "u", "r", "", 0.0, cache_uid="u1"))
    same = looked(root, Entry("a", "u", model.key, "u1"))
    assert (same.entitled, same.withdrawn) == ({("a", model.key)}, frozenset())
    anew = looked(root, Entry("a", "u", model.key, "u2"))
    assert (anew.entitled, anew.withdrawn) == (frozenset(), {("a", model.key)})
    assert report(anew, "g").states == {"a": "ModelDownloadPending"}
    assert not [action for action in decide(anew) if isinstance(action, Remove)]


def carried_out(root, work):
    """Run the chores until `work` is satisfied."""

    async def story():
        mine, told = chores.Chores(root), []
        task = asyncio.ensure_future(mine.run(lambda: told.append(1)))
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(10):
                await work(mine, told)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_the_chores_note_their_answers_where_a_restart_finds_them(tmp_path):
    root = open_root(tmp_path)
    model = a_model(root, b"one", b"two")

    async def work(mine, told):
        mine.check(model.key, LATE)
        mine.warm(model.key, EARLY)
        while mine.checking or mine.warming:
            await asyncio.sleep(0.01)
        assert told and mine.results == {"clean": 1}

    carried_out(root, work)
    found = manifests.find(root, model.key)
    assert (found.verified_for, found.warmed_for) == (LATE, EARLY)
    assert found.verified > 0 and found.warmed > 0


def test_damage_is_noted_with_the_files_and_the_request(tmp_path):
    root = open_root(tmp_path)
    model = a_model(root, b"one", b"two")
    root.layout.blob(model.files[1].sha256).write_bytes(b"tw0")

    async def work(mine, told):
        mine.check(model.key, LATE)
        while mine.checking:
            await asyncio.sleep(0.01)
        assert mine.results == {"damaged": 1}

    carried_out(root, work)
    (note,) = damage.notes(root)
    assert (note.paths, note.wish, note.keys) == (("f1",), LATE, (model.key,))
    assert [m.revision for m in damage.set_aside_manifests(root, model.key)] == ["r"]


def test_what_cannot_be_read_rests_instead_of_being_tried_at_once_again(tmp_path):
    root = open_root(tmp_path)
    model = a_model(root, b"one")
    root.layout.manifest(model.key).write_text("{")

    async def work(mine, told):
        mine.check(model.key, LATE)
        while not told:
            await asyncio.sleep(0.01)
        assert model.key in mine.checking

    carried_out(root, work)
