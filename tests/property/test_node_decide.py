"""The agent's decisions over small random worlds, carried out on a dictionary."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from forebay.api.wishes import moment
from forebay.cache.evict import Space
from forebay.cache.reservations import Reservation
from forebay.node.decide import (
    Adopt,
    Answer,
    Ask,
    Check,
    Collect,
    Collected,
    Copy,
    DropStaged,
    Entitle,
    Entry,
    ForgetAsk,
    ForgetRecord,
    JobView,
    Publish,
    Remove,
    Seen,
    Sweep,
    Warm,
    Withdraw,
    decide,
)  # fmt: skip
from forebay.node.status import report

MODELS, KEYS, DIGESTS = ("a", "b", "ns/c"), ("k1", "k2", "k3"), ("d1", "d2", "d3", "d4")
pairs = st.frozensets(st.tuples(st.sampled_from(MODELS), st.sampled_from(KEYS)), max_size=4)
some_keys = st.frozensets(st.sampled_from(KEYS), max_size=3)
SIZES = {"d1": 10, "d2": 20, "d3": 30, "d4": 40}


TIMES = st.sampled_from(["", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-02-01T00:00:00Z", "now"])


def an_entry(draw, model, key):
    return Entry(model, f"u-{key}", key, pinned=draw(st.booleans()), verify=draw(TIMES), warm=draw(TIMES))


@st.composite
def copies(draw):
    found = {}
    for key in draw(some_keys):
        names = draw(st.sets(st.sampled_from(DIGESTS), min_size=1, max_size=3))
        used = draw(st.integers(0, 5))
        found[key] = Copy(key, "r", 1, {n: SIZES[n] for n in names}, used, pinned=draw(st.booleans()),
                          verified_for=draw(TIMES), warmed_for=draw(TIMES))  # fmt: skip
    return found


@st.composite
def asks(draw):
    found = []
    for model, key in sorted(draw(pairs)):
        said = Reservation(
            f"{model}-{key}", key, model,
            bytes_needed=draw(st.integers(0, 80)), asked_at=draw(st.integers(0, 3)),
            state=draw(st.sampled_from(["asked", "granted", "refused", "failed"])),
        )  # fmt: skip
        found.append(Ask(said, draw(st.booleans())))
    return tuple(found)


@st.composite
def worlds(draw):
    wanted = draw(st.dictionaries(st.sampled_from(MODELS), st.sampled_from(KEYS), max_size=3))
    have = draw(copies())
    withdrawn = draw(pairs)
    loose = draw(st.integers(0, 30))
    used = sum({d: s for c in have.values() for d, s in c.blobs.items()}.values()) + loose
    return Seen(
        entries=draw(st.sampled_from([None, tuple(an_entry(draw, m, k) for m, k in wanted.items())])),
        space=Space(draw(st.sampled_from([None, 100])), used, draw(st.integers(0, 100))),
        copies=have,
        views=draw(some_keys) & have.keys(),
        asks=draw(asks()),
        jobs=draw(st.dictionaries(st.sampled_from(MODELS), st.sampled_from([
            JobView("active"), JobView("failed", "no"), JobView("succeeded"), JobView("succeeded",
            foreign=True),
            JobView("active", foreign=True)]))),
        entitled=draw(pairs) - withdrawn,
        withdrawn=withdrawn,
        used=dict.fromkeys(draw(some_keys), ("p",)),
        pods_known=draw(st.booleans()),
        waiting=draw(some_keys),
        wanted_by_pods=draw(some_keys),
        staged=draw(some_keys),
        loose=loose,
        sweep=draw(TIMES),
        collected=Collected(draw(TIMES)),
    )  # fmt: skip


def carry_out(seen: Seen) -> Seen:
    """What the hands do, on the dictionary."""
    for action in decide(seen):
        match action:
            case Withdraw(model, key):
                pair = {(model, key)}
                seen = replace(seen, entitled=seen.entitled - pair, withdrawn=seen.withdrawn | pair)
            case ForgetRecord(model, key):
                seen = replace(seen, withdrawn=seen.withdrawn - {(model, key)})
            case Entitle(entry):
                seen = replace(seen, entitled=seen.entitled | {(entry.model, entry.key)},
                               withdrawn=seen.withdrawn - {(entry.model, entry.key)})  # fmt: skip
            case Adopt(entry):
                seen = replace(seen, staged=seen.staged - {entry.key}, copies={
                    **seen.copies, entry.key: Copy(entry.key, "r", 1, {"d1": 10}, 9)})  # fmt: skip
            case DropStaged(key):
                seen = replace(seen, staged=seen.staged - {key})
            case Publish(key):
                seen = replace(seen, views=seen.views | {key})
            case Remove(key, evicted_for):
                left = {k: c for k, c in seen.copies.items() if k != key}
                evicted = {**seen.evicted, key: evicted_for} if evicted_for else seen.evicted
                seen = replace(seen, copies=left, views=seen.views - {key}, evicted=evicted)
            case Answer(name, state, message):
                seen = replace(seen, asks=tuple(
                    replace(a, said=replace(a.said, state=state, message=message)) if a.said.id == name else a
                    for a in seen.asks))  # fmt: skip
            case ForgetAsk(name):
                seen = replace(seen, asks=tuple(a for a in seen.asks if a.said.id != name))
            case Collect():
                seen = replace(seen, loose=0, stale_parts=False)
            case Warm(key, ""):
                seen = replace(seen, waiting=seen.waiting - {key})
            case Warm(key, request):
                seen = amended(seen, key, warmed_for=request)
            case Check(key, request):
                seen = amended(seen, key, verified_for=request)
            case Sweep(request, keys, _):
                left = {k: c for k, c in seen.copies.items() if k not in keys}
                seen = replace(seen, copies=left, views=seen.views - set(keys), loose=0, stale_parts=False,
                               collected=Collected(request))  # fmt: skip
    return measured(seen)


def amended(seen: Seen, key, **more) -> Seen:
    return replace(seen, copies={**seen.copies, key: replace(seen.copies[key], **more)})


def measured(seen: Seen) -> Seen:
    used = sum({d: s for c in seen.copies.values() for d, s in c.blobs.items()}.values()) + seen.loose
    promised = sum(a.said.bytes_needed for a in seen.asks if a.alive and a.said.state == "granted")
    free = seen.space.free + seen.space.used - used
    return replace(seen, space=Space(seen.space.limit, used, free, promised))


@given(worlds())
def test_it_settles_and_then_stays_still(seen):
    for _ in range(8):
        seen = carry_out(seen)
    assert decide(seen) == ()


@given(worlds())
def test_nothing_in_use_is_removed_and_nothing_at_all_before_the_pods_are_known(seen):
    removed = {action.key for action in decide(seen) if isinstance(action, Remove)}
    assert not removed & seen.used.keys()
    assert seen.pods_known or not removed
    pulling = {a.said.key for a in seen.asks if a.alive and a.said.state != "failed"}
    assert not removed & pulling


@given(worlds())
def test_only_what_was_evicted_for_room_or_has_lost_its_entry_is_removed(seen):
    recorded = {key for _, key in seen.withdrawn | seen.entitled}
    for action in decide(seen):
        if isinstance(action, Remove) and action.evicted_for:
            assert not is_pinned(seen, action.key)
        elif isinstance(action, Remove):
            assert seen.entries is not None
            assert action.key in recorded
            assert action.key not in {entry.key for entry in seen.entries}


def is_pinned(seen, key):
    return seen.copies[key].pinned or any(e.pinned and e.key == key for e in seen.entries or ())


@given(worlds())
def test_a_request_to_collect_takes_only_what_nobody_names_uses_or_pins(seen):
    pulling = {a.said.key for a in seen.asks if a.alive and a.said.state != "failed"}
    for action in decide(seen):
        if isinstance(action, Sweep):
            assert not set(action.keys) & (seen.used.keys() | pulling | {e.key for e in seen.entries})
            assert not any(is_pinned(seen, key) for key in action.keys)


@given(worlds())
def test_a_request_is_done_once_and_the_latest_of_several_counts(seen):
    asked = [a for a in decide(seen) if isinstance(a, Check)]
    assert len({a.key for a in asked}) == len(asked)
    for action in asked:
        times = [moment(e.verify) for e in seen.entries if e.key == action.key]
        assert moment(action.request) == max(times) > moment(seen.copies[action.key].verified_for)
    assert not [a for a in decide(carry_out(seen)) if isinstance(a, Check) and a in asked]


@given(worlds())
def test_room_is_granted_only_where_it_is(seen):
    seen = measured(seen)
    before = seen.space.available
    after = carry_out(seen)
    granted = [a for a in decide(seen) if isinstance(a, Answer) and a.state == "granted"]
    if granted and before:
        limit = after.space.free if after.space.limit is None else after.space.limit - after.space.used
        assert min(limit, after.space.free) >= after.space.promised or not _grants_bytes(seen, granted)


def _grants_bytes(seen, granted):
    names = {action.id for action in granted}
    return any(a.said.bytes_needed for a in seen.asks if a.said.id in names)


@given(worlds())
def test_a_model_is_downloaded_only_with_a_view_and_an_entitlement_of_its_own(seen):
    said = report(seen, "g")
    for entry in seen.entries or ():
        downloaded = said.states[entry.model] == "ModelDownloaded"
        right = (entry.model, entry.key) in seen.entitled
        assert downloaded == (right and entry.key in seen.views and entry.key in seen.copies)
    published = {action.key for action in decide(seen) if isinstance(action, Publish)}
    for key in published:
        assert any(e.key == key and (e.model, key) in seen.entitled for e in seen.entries)


@given(worlds(), st.randoms())
def test_the_order_of_what_is_seen_does_not_matter(seen, random):
    shuffled = list(seen.asks)
    random.shuffle(shuffled)
    entries = seen.entries
    if entries is not None:
        entries = tuple(random.sample(entries, len(entries)))
    copies = dict(sorted(seen.copies.items(), reverse=True))
    other = replace(seen, asks=tuple(shuffled), entries=entries, copies=copies)
    assert set(decide(other)) == set(decide(seen))
