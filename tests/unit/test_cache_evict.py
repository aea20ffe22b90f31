"""Who makes room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.cache.evict import Held, Request, Space, human, plan_room

FULL = Space(limit=100, used=100, free=1000)


def held(key, size, last_used, **more):
    return Held(key, {f"blob-{key}": size}, last_used, **more)


def test_with_room_nobody_goes():
    plan = plan_room(Request("m", "m", 10), Space(100, 80, 50), [held("a", 80, 1)])
    assert (plan.evict, plan.refusal) == ((), "")


def test_the_least_recently_used_goes_first():
    plan = plan_room(Request("m", "m", 30), FULL, [held("new", 40, 9), held("old", 60, 1)])
    assert plan.evict == ("old",)


def test_no_more_goes_than_is_needed():
    plan = plan_room(
        Request("m", "m", 50), FULL, [held("small", 10, 1), held("large", 60, 2), held("last", 30, 3)]
    )
    assert plan.evict == ("large",)


def test_what_no_cache_names_goes_before_what_one_does():
    plan = plan_room(
        Request("m", "m", 10), FULL, [held("named", 50, 1), held("nobodys", 50, 9, wanted=False)]
    )
    assert plan.evict == ("nobodys",)


def test_loose_blobs_go_before_any_model():
    plan = plan_room(Request("m", "m", 10), FULL, [held("a", 80, 1)], loose=20)
    assert (plan.evict, plan.collect) == ((), True)


def test_a_shared_blob_gives_room_only_when_its_last_model_goes():
    shared = [Held("a", {"s": 90}, 1), Held("b", {"s": 90, "own": 5}, 2)]
    assert plan_room(Request("m", "m", 50), FULL, shared).evict == ("a", "b")


def test_what_the_model_itself_still_holds_gives_no_room():
    """Found by the agent's property: a pull of a model that is here in part was promised its own bytes."""
    both = [Held("m", {"s": 60}, 1), Held("a", {"s": 60, "own": 10}, 1)]
    assert plan_room(Request("m", "m", 30), FULL, both).refusal


class Counted(dict[str, int]):
    """Notes how often somebody walks over it."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()

    def items(self):
        self.walks += 1
        return super().items()


def test_each_models_files_are_looked_at_a_few_times_however_many_models_there_are():
    """Each was looked at again for each other one: 50 models of 5,000 files took eight seconds."""
    models = [Held(f"m{n}", Counted({f"{n}-{i}": 1 for i in range(3)}), n) for n in range(40)]
    plan = plan_room(Request("m", "m", 120), Space(None, 0, 0), models)
    assert len(plan.evict) == 40 and max(model.blobs.walks for model in models) <= 4


def test_a_refusal_names_what_is_full_the_disk_or_the_limit_or_both():
    def ways(space):
        return plan_room(Request("m", "m", 50), space, []).refusal.partition("; ")[2]

    assert "disk" not in ways(Space(100, 80, 1000)) and "storageLimit of 100 B" in ways(Space(100, 80, 1000))
    assert "storageLimit" not in ways(Space(1000, 10, 5)) and "the node's disk" in ways(Space(1000, 10, 5))
    assert "storageLimit" not in ways(Space(None, 10, 5))
    assert "storageLimit" in ways(Space(100, 80, 5)) and "the node's disk" in ways(Space(100, 80, 5))


def test_a_refusal_says_what_is_needed_free_and_could_be_collected():
    held_back = [held("a", 50, 1, pinned=True), held("b", 20, 1), held("c", 30, 1, in_use=True)]
    plan = plan_room(Request("m", "m", 90), FULL, held_back)
    assert plan.evict == ()
    assert plan.refusal.startswith("no room for m (needs 90 B, free 0 B, could be collected 20 B)")


def test_one_that_was_evicted_may_only_push_out_what_nobody_names():
    models = [held("named", 60, 1), held("nobodys", 40, 9, wanted=False)]
    assert plan_room(Request("m", "m", 30, may_evict=False), FULL, models).evict == ("nobodys",)
    assert plan_room(Request("m", "m", 60, may_evict=False), FULL, models).refusal


def test_the_file_system_counts_as_well_as_the_limit():
    assert Space(None, 100, 7, promised=3).available == 4
    assert Space(1000, 100, 7).available == 7
    assert Space(100, 90, 1000, promised=20).available == 0


def test_bytes_for_people():
    assert [human(n) for n in (0, 1023, 1536, 3 << 30, 2 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
        "2.0 TiB",
    ]


models = st.lists(
    st.builds(
        Held,
        key=st.sampled_from("abcdef"),
        blobs=st.dictionaries(st.sampled_from("1234"), st.just(10), min_size=1),
        last_used=st.integers(0, 3),
        pinned=st.booleans(),
        in_use=st.booleans(),
        reserved=st.booleans(),
    ),
    unique_by=lambda model: model.key,
)


@given(models, st.integers(0, 60), st.integers(0, 60))
def test_a_plan_gives_the_room_or_takes_nothing_and_never_what_must_stay(held_models, need, used):
    space = Space(60, used, 1000)
    plan = plan_room(Request("m", "m", need), space, held_models)
    going = [m for m in held_models if m.key in plan.evict]
    assert all(m.may_go for m in going)
    staying = {d for m in held_models if m.key not in plan.evict for d in m.blobs}
    freed = 10 * len({d for m in going for d in m.blobs} - staying)
    assert plan.refusal or space.available + freed >= need
    assert not (plan.refusal and plan.evict)
    for model in going:  # not one could be spared
        kept = staying | set(model.blobs)
        spared = 10 * len({d for m in going if m is not model for d in m.blobs} - kept)
        assert space.available + spared < need
