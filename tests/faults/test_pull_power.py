"""The power goes between any two disk operations of a pull: nothing wrong has a name, the next one ends well.

A pull is run once with all its operations noted. Then for each of them the disk wakes up as it may after a
cut at that moment, and a pull on that disk, under another run of the kernel, has to finish. An ordinary run
looks at some of them, `EVERY_OPERATION=1` at all.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tests.fakes.lost_power import Luck, Remembered, put_back, remembered, tree_of
from tests.fakes.os_calls import Op, OsCalls
from tests.faults.small_models import STORIES, Story, chosen, published

from forebay.pull import journal

FUTURES = 1  # random ones at each operation, beside "all" and "none"
OPERATIONS = 15


def record(story: Story, root: Path) -> list[Op]:
    """The operations of one pull; they are all there are, else the folder could not be made from them."""
    root.mkdir(parents=True)
    calls = OsCalls(root)
    with calls.watching():
        if story.prepare is not None:
            story.prepare(root / "out")
        story.pull(root / "out")
    assert published(root / "out") == story.tree
    assert remembered(calls.ops).woken(Luck("all", Random(0))) == tree_of(root)
    return calls.ops


def starting(story: Story, ops: list[Op]) -> int:
    """From where on the power may go: what lay there before is safe."""
    return 0 if story.prepare is None else next(i for i, op in enumerate(ops) if ".forebay-parts" in op.name)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", STORIES)
def test_the_power_may_go_at_every_operation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with STORIES[name](tmp_path) as story:
        monkeypatch.setattr(journal, "boot_id", lambda: "before the cut")
        ops = record(story, tmp_path / "first")
        monkeypatch.setattr(journal, "boot_id", lambda: "after the cut")
        first, disk, seen = starting(story, ops), Remembered(), set()
        cuts = {first + at for at in chosen(len(ops) + 1 - first, OPERATIONS, name)} | {len(ops)}
        for at in range(len(ops) + 1):
            if at == first:
                disk.apply(Op("sync_all"))
            if at in cuts:
                for luck in [Luck("all", Random(at)), Luck("none", Random(at))] + [
                    Luck("some", Random(at * 100 + n)) for n in range(FUTURES)
                ]:
                    tree = disk.woken(luck)
                    mark = hash(tuple(sorted(tree.items())))
                    where = f"{name}: cut before {at} of {len(ops)}, luck {luck.kind}"
                    if mark not in seen:
                        wake_up(story, tree, tmp_path / f"woken-{len(seen)}", where, told=at == len(ops))
                    seen.add(mark)
            if at < len(ops):
                disk.apply(ops[at])
        assert len(seen) > len(cuts)


def test_three_connections_leave_journals_with_holes(tmp_path: Path) -> None:
    """Else the story of that name would tell nothing."""
    with STORIES["three-connections"](tmp_path) as story:
        ops = record(story, tmp_path / "first")
    saved = [journal.last(op.data) for op in ops if op.what == "write" and ".journal" in op.name]
    ranges = [list(entry.done) for entry in saved if entry is not None]
    assert any(done and done[0][0] > 0 for done in ranges)
    assert any(len(done) > 1 for done in ranges)


def wake_up(story: Story, tree: dict[str, bytes | None], root: Path, where: str, *, told: bool) -> None:
    """What has a name is right, all of it if the pull was told as done; the next pull ends well."""
    put_back(tree, root)
    dest = root / "out"
    there = published(dest)
    for file, body in there.items():
        assert body in (story.tree.get(file), story.before.get(file)), f"{where}: {file} is wrong"
    if told:
        assert there == story.tree, f"{where}: it was told as done"
    story.pull(dest)
    assert published(dest) == story.tree, where
