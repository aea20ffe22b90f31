"""The agent's decisions about room, one world each."""

from __future__ import annotations

from dataclasses import replace

from forebay.cache.evict import Space
from forebay.cache.reservations import Reservation
from forebay.node.decide import (
    Answer,
    Ask,
    Collect,
    Copy,
    Entry,
    ForgetAsk,
    Remove,
    Seen,
    Warm,
    Withdraw,
    decide,
)


def a_copy(key, size, last_used, **more):
    return Copy(key, "r", size, {key: size}, last_used, **more)


def an_ask(key, need, at=0.0, state="asked", alive=True, message=""):
    return Ask(
        Reservation(f"ask-{key}", key, key, bytes_needed=need, asked_at=at, state=state, message=message),
        alive,
    )


def full(*copies, asks=(), **more):
    """A disk of 100 bytes, all used by these copies; every key is wanted."""
    keys = [copy.key for copy in copies] + [ask.said.key for ask in asks]
    used = sum(copy.size for copy in copies)
    return Seen(
        entries=tuple(Entry(key, f"u-{key}", key) for key in dict.fromkeys(keys)),
        space=Space(100, used, 1000),
        copies={copy.key: copy for copy in copies},
        asks=tuple(asks),
        pods_known=True,
        **more,
    )


def test_room_is_made_before_it_is_granted():
    seen = full(a_copy("old", 60, 1), a_copy("new", 40, 2), asks=[an_ask("m", 50)])
    assert decide(seen) == (Remove("old", "m"), Answer("ask-m", "granted"))


def test_what_a_pod_uses_is_not_evicted():
    seen = full(a_copy("old", 60, 1), a_copy("new", 40, 2), asks=[an_ask("m", 30)], used={"old": ("p",)})
    assert decide(seen) == (Remove("new", "m"), Answer("ask-m", "granted"))


def test_what_a_live_pull_works_on_is_not_evicted():
    asks = [an_ask("m", 30), an_ask("old", 0, state="granted")]
    seen = full(a_copy("old", 60, 1), a_copy("new", 40, 2), asks=asks)
    assert decide(seen) == (Remove("new", "m"), Answer("ask-m", "granted"))


def test_room_is_not_given_twice():
    seen = full(
        a_copy("only", 40, 1, pinned=True), asks=[an_ask("first", 50, 1.0), an_ask("second", 50, 2.0)]
    )
    first, second = decide(seen)
    assert first == Answer("ask-first", "granted")
    assert second.state == "refused"
    assert "free 10 B" in second.message


def test_who_asked_first_is_answered_first():
    seen = full(a_copy("only", 40, 1, pinned=True), asks=[an_ask("late", 50, 9.0), an_ask("early", 50, 1.0)])
    assert decide(seen)[0] == Answer("ask-early", "granted")


def test_a_refusal_is_said_once_and_withdrawn_when_there_is_room():
    seen = full(a_copy("kept", 90, 1, pinned=True), asks=[an_ask("m", 50)])
    (said,) = decide(seen)
    again = full(
        a_copy("kept", 90, 1, pinned=True), asks=[an_ask("m", 50, state="refused", message=said.message)]
    )
    assert decide(again) == ()
    free = full(a_copy("kept", 20, 1), asks=[an_ask("m", 50, state="refused", message=said.message)])
    assert decide(free) == (Answer("ask-m", "granted"),)


def test_a_dead_pulls_request_is_forgotten_and_a_living_one_is_not():
    seen = full(asks=[an_ask("m", 5, state="granted", alive=False), an_ask("n", 5, state="granted")])
    assert decide(seen) == (ForgetAsk("ask-m"),)


def test_a_failed_pulls_reason_stays_as_long_as_its_entry():
    seen = full(asks=[an_ask("m", 5, state="failed", alive=False)])
    assert decide(seen) == ()
    gone = Seen(entries=(), space=seen.space, asks=seen.asks, pods_known=True)
    assert decide(gone) == (), "its entry may not have been seen yet"
    assert decide(replace(gone, now=301.0)) == (ForgetAsk("ask-m"),)


def test_a_model_that_made_room_pushes_others_out_only_for_a_pod_that_waits():
    asks = [an_ask("m", 50)]
    back = full(a_copy("a", 90, 1), asks=asks, evicted={"m": "a"})
    assert [type(action) for action in decide(back)] == [Answer]
    needed = full(a_copy("a", 90, 1), asks=asks, evicted={"m": "a"}, wanted_by_pods=frozenset({"m"}))
    assert decide(needed) == (Remove("a", "m"), Answer("ask-m", "granted"))


def test_loose_blobs_are_collected_before_a_model_is_evicted():
    seen = full(a_copy("a", 60, 1), asks=[an_ask("m", 30)], loose=40)
    used = Space(100, 100, 1000)
    actions = decide(Seen(**{**vars(seen), "space": used}))
    assert actions[:2] == (Collect(frozenset({"a", "m"})), Answer("ask-m", "granted"))
    assert not any(isinstance(action, Remove) for action in actions)


def test_nothing_is_warmed_that_has_no_view():
    seen = full(a_copy("a", 6, 1), a_copy("b", 6, 1), waiting=frozenset({"a", "b"}), views=frozenset({"a"}))
    assert decide(seen) == (Warm("a"),)


def test_a_group_leaves_alone_what_another_group_keeps_in_the_same_folder():
    theirs = Entry("theirs", "u-theirs", "a")
    seen = full(a_copy("a", 10, 1), entitled=frozenset({("theirs", "a")}), loose=3)
    gone = replace(seen, entries=())
    assert decide(replace(gone, neighbours=(theirs,))) == (Collect(frozenset({"a"})),)
    assert decide(gone)[0] == Withdraw("theirs", "a"), "nobody's entry"
    assert Remove("a") in decide(gone)
