"""The disk refuses any one operation of a pull, or all from one on: the error is the right one, and the next
pull ends well. An ordinary run tries some operations, `EVERY_OPERATION=1` all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.fakes.os_calls import Op, OsCalls
from tests.faults.small_models import STORIES, Story, chosen, published

from forebay.errors import Denied, Exhausted, ForebayError, Unavailable

NEEDS_ROOM = {"make", "folder", "write", "rename", "link", "sync"}
OPERATIONS = 9
CHANGES = NEEDS_ROOM | {"cut", "unlink", "rmdir"}
TROUBLE: dict[str, tuple[int, set[str], bool, type[ForebayError]]] = {
    # errno, which operations, from there on all of them?, the error of ours
    "full": (errno.ENOSPC, NEEDS_ROOM, True, Exhausted),
    "quota": (errno.EDQUOT, {"make", "folder", "write"}, True, Exhausted),
    "full-for-a-moment": (errno.ENOSPC, NEEDS_ROOM, False, Exhausted),
    "broken": (errno.EIO, CHANGES | {"sync_folder"}, False, Unavailable),
    "read-only-from-now-on": (errno.EROFS, CHANGES, True, Denied),
}


class Refusing:
    """Refuses the operation number `at` of its kind (and those after it)."""

    def __init__(self, trouble: str, at: int) -> None:
        self.number, self.kinds, self.stays, _ = TROUBLE[trouble]
        self.at, self.seen, self.refused = at, 0, ""

    def __call__(self, op: Op) -> None:
        if op.what not in self.kinds:
            return
        self.seen += 1
        if self.seen == self.at or (self.stays and self.seen > self.at):
            self.refused = self.refused or f"{op.what} {op.name}"
            raise OSError(self.number, "not this time", op.name)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "trouble"),
    [(name, trouble) for name in ("hub", "archive") for trouble in TROUBLE]
    + [
        (name, trouble)
        for name in ("new-revision", "no-digest", "three-connections")
        for trouble in ("full", "broken")
    ],
)
def test_the_disk_may_refuse_at_every_operation(name: str, trouble: str, tmp_path: Path) -> None:
    with STORIES[name](tmp_path) as story:
        count = operations(story, tmp_path / "none", trouble)
        assert count > 15, "too few operations to mean anything"
        tried = [
            one_trial(story, tmp_path / str(at), trouble, at + 1)
            for at in chosen(count, OPERATIONS, name + trouble)
        ]
        assert sum(bool(refused) for refused in tried) > len(tried) // 2, "hardly anything was refused"
        mattered = [refused for refused in tried if refused not in ("", "and came through")]
        assert mattered, "refusals hardly ever mattered"


def operations(story: Story, root: Path, trouble: str) -> int:
    """How many there are to be refused."""
    (root / "out").mkdir(parents=True)
    if story.prepare is not None:
        story.prepare(root / "out")
    refusing = Refusing(trouble, 1 << 30)
    with OsCalls(root, refusing).watching():
        story.pull(root / "out")
    return refusing.seen


def one_trial(story: Story, root: Path, trouble: str, at: int) -> str:
    """What was refused, "" where there were not so many operations this time."""
    dest = root / "out"
    dest.mkdir(parents=True)
    if story.prepare is not None:
        story.prepare(dest)
    refusing, caught = Refusing(trouble, at), None
    with OsCalls(root, refusing).watching():
        try:
            story.pull(dest)
        except ForebayError as error:
            caught = error
    where = f"{trouble} at {at}: {refusing.refused}"
    if caught is None:
        assert published(dest) == story.tree, where
        return "and came through" if refusing.refused else ""
    assert isinstance(caught, TROUBLE[trouble][3]), f"{where}: {caught!r}"
    assert "not this time" in caught.message, f"{where}: {caught.message}"
    for file, body in published(dest).items():
        assert body in (story.tree.get(file), story.before.get(file)), f"{where}: {file} is wrong"
    story.pull(dest)
    assert published(dest) == story.tree, where
    return refusing.refused


def test_a_journal_that_cannot_be_removed_harms_nobody(tmp_path: Path) -> None:
    """The file has its name by then; what is left of the journal is not believed, its part being gone."""

    def refuse(op: Op) -> None:
        if op.what == "unlink" and op.name.endswith(".part.journal"):
            raise OSError(errno.EIO, "not this time", op.name)

    with STORIES["no-digest"](tmp_path) as story, OsCalls(tmp_path, refuse).watching():
        story.pull(tmp_path / "out")


@pytest.mark.parametrize("name", STORIES)
def test_a_kernel_that_writes_half_of_what_it_is_given_is_given_the_rest(name: str, tmp_path: Path) -> None:
    with STORIES[name](tmp_path) as story:
        calls = OsCalls(tmp_path, lambda op: max(1, len(op.data) // 2) if op.what == "write" else None)
        with calls.watching():
            story.pull(tmp_path / "out")
        assert published(tmp_path / "out") == story.tree
        assert sum(op.what == "write" for op in calls.ops) > 20


def test_what_fsync_refused_is_not_believed(tmp_path: Path) -> None:
    """Linux drops such pages, tells it once, and says yes the next time; only fetching anew brings them."""
    trials = 0

    def refuse(op: Op) -> None:
        nonlocal trials
        if op.what == "sync" and op.name.endswith(".part") and not trials:
            trials += 1
            raise OSError(errno.EIO, "not this time", op.name)

    with STORIES["no-digest"](tmp_path) as story:
        with OsCalls(tmp_path, refuse).watching(), pytest.raises(Unavailable, match="cannot sync"):
            story.pull(tmp_path / "out")
        (part,) = (tmp_path / "out").rglob("*.part")
        assert part.stat().st_size == 0
        again = OsCalls(tmp_path)
        with again.watching():
            story.pull(tmp_path / "out")
        written = sum(len(op.data) for op in again.ops if op.what == "write" and op.name.endswith(".part"))
        assert written == len(story.tree["model.bin"])
