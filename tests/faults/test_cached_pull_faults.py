"""A pull into a cache, all of it (room, parts, blobs, manifest, view), on a disk that loses power or refuses.

As `test_pull_power.py` and `test_pull_every_operation.py`, with the cache's promises C1 to C7 after each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.fakes.lost_power import Luck, Remembered, put_back, remembered, tree_of
from tests.fakes.os_calls import Op, OsCalls
from tests.faults.small_caches import STORIES, CacheStory, after_a_fault, goes_on, shows
from tests.faults.small_models import chosen
from tests.faults.test_pull_every_operation import TROUBLE, Refusing

from forebay.cache import open_root
from forebay.cache.layout import Layout
from forebay.errors import ForebayError, Unavailable
from forebay.kit.disk import RealDisk
from forebay.pull import journal

CUTS, REFUSALS = 10, 3  # of each story in an ordinary run; EVERY_OPERATION=1: all
FUTURES = 1  # random ones at each cut, beside "all" and "none"
GUARDED = (".forebay/blobs/", ".forebay/manifests/", "models/")


def under_the_lock(folder: Path) -> Callable[[Op], None]:
    """C6: names of blobs, manifests and views change only there."""
    lock, disk = Layout(folder).lock, RealDisk()

    def check(op: Op) -> None:
        moves = op.what in ("rename", "link", "unlink", "rmdir")
        if moves and (op.name.startswith(GUARDED) or op.to.startswith(GUARDED)):
            assert disk.held(lock), f"C6: {op.what} {op.name} {op.to}"

    return check


def record(story: CacheStory, folder: Path) -> tuple[list[Op], int]:
    """The operations of a cache's life, and how many of them were before the pull."""
    folder.mkdir()
    calls = OsCalls(folder, under_the_lock(folder))
    with calls.watching():
        story.prepare(folder)
        before = len(calls.ops)
        story.pull(folder)
    assert all(shows(open_root(folder), key, tree) for key, tree in story.after.items())
    assert remembered(calls.ops).woken(Luck("all", Random(0))) == tree_of(folder)
    return calls.ops, before


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STORIES)
def test_c1_to_c7_the_power_may_go_at_every_operation_of_a_cached_pull(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with STORIES[name](tmp_path) as story:
        monkeypatch.setattr(journal, "boot_id", lambda: "before the cut")
        ops, first = record(story, tmp_path / "first")
        monkeypatch.setattr(journal, "boot_id", lambda: "after the cut")
        disk, seen = Remembered(), set[object]()
        cuts = {first + at for at in chosen(len(ops) + 1 - first, CUTS, name)} | {len(ops)}
        for at in range(len(ops) + 1):
            if at == first:
                disk.apply(Op("sync_all"))
            for n, kind in enumerate(("all", "none", *["some"] * FUTURES) if at in cuts else ()):
                same: dict[str, str] = {}
                tree = disk.woken(Luck(kind, Random(at * 100 + n)), same)
                mark = (*sorted(tree.items()), *sorted(same.items()))
                if mark not in seen:
                    root = tmp_path / f"woken-{len(seen)}"
                    put_back(tree, root, same)
                    wake_up(
                        story, root, f"{name}: cut before {at} of {len(ops)}, luck {kind}", at == len(ops)
                    )
                seen.add(mark)
            if at < len(ops):
                disk.apply(ops[at])
        assert len(seen) > len(cuts)


def wake_up(story: CacheStory, root: Path, where: str, told: bool) -> None:
    """What was told as done is there; the rest as `after_a_fault` and `goes_on` say."""
    cache = open_root(root)
    after_a_fault(story, cache, where)
    if told:
        assert all(shows(cache, key, tree) for key, tree in story.after.items()), f"{where}: told as done"
    goes_on(story, cache, where)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "trouble"),
    [("refresh", trouble) for trouble in TROUBLE]
    + [(name, trouble) for name in STORIES if name != "refresh" for trouble in ("full", "broken")],
)
def test_the_disk_may_refuse_at_every_operation_of_a_cached_pull(
    name: str, trouble: str, tmp_path: Path
) -> None:
    with STORIES[name](tmp_path) as story:
        count = one_trial(story, tmp_path / "none", trouble, 1 << 30).seen
        assert count > 20, "too few operations to mean anything"
        refused = [
            one_trial(story, tmp_path / str(at), trouble, at + 1).refused
            for at in chosen(count, REFUSALS, name + trouble)
        ]
        assert sum(map(bool, refused)) > len(refused) // 2, "hardly anything was refused"


def one_trial(story: CacheStory, root: Path, trouble: str, at: int) -> Refusing:
    """A pull to which the operation number `at` is refused, and the one after it."""
    story.prepare(root)
    refusing, caught = Refusing(trouble, at), None
    with OsCalls(root, refusing).watching():
        try:
            story.pull(root)
        except ForebayError as error:
            caught = error
    where, cache = f"{trouble} at {at}: {refusing.refused}", open_root(root)
    if caught is None:
        assert all(shows(cache, key, tree) for key, tree in story.after.items()), where
    else:
        assert isinstance(caught, expected(trouble, caught)), f"{where}: {caught!r}"
    after_a_fault(story, cache, where)
    goes_on(story, cache, where)
    return refusing


def expected(trouble: str, caught: ForebayError) -> type[ForebayError] | tuple[type[ForebayError], ...]:
    """A read-only disk refuses the cache's own files as Unavailable; an agent that cannot write its answer is
    one that does not answer."""
    silent = "no node agent granted room" in caught.message
    more = (Unavailable,) if silent or trouble == "read-only-from-now-on" else ()
    return (TROUBLE[trouble][3], *more)
